"""Signing the next version of the list (registry.md, "Operator and provider sides")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import Signer
from cocoon_sdk.operator.build import build_registry, seal, shortfall
from cocoon_sdk.operator.config import read_settings
from cocoon_sdk.operator.folder import OperatorFolder, Policy
from cocoon_sdk.operator.keyring import signers_for
from cocoon_sdk.operator.sharding import pack_shards
from cocoon_sdk.operator.state import (
    PreviousRegistry,
    entries_before,
    load_root,
    previous,
    trusted_set,
)
from cocoon_sdk.operator.verifying import judge
from cocoon_sdk.registry.descriptor import CLOCK_SKEW, check_descriptor
from cocoon_sdk.registry.model import Descriptor, RegistryPayload, RootPayload
from cocoon_sdk.registry.sources import ROOT_FILE
from cocoon_sdk.registry.verify import VerifiedRegistry


@dataclass(frozen=True, slots=True)
class Proposal:
    """The next version before anybody signed it.

    `shards` are the files that its index names, by SHA-256; `skipped` the entries left out, by
    provider id, with the reason.
    """

    payload: RegistryPayload
    shards: dict[str, bytes]
    skipped: dict[str, str]


@dataclass(frozen=True, slots=True)
class Signed:
    """The outcome of a signing: the file as clients will see it, and the entries left out."""

    registry: VerifiedRegistry
    skipped: dict[str, str]
    listed: int
    new_shards: int = 0


def sign(
    folder: OperatorFolder,
    *,
    now: int,
    signers: Sequence[Signer] | None = None,
    shards: bool | None = None,
) -> Signed:
    """Sign the next version over all entries that a client would accept.

    Args:
        folder: the operator's folder.
        now: unix seconds.
        signers: hold registry keys; None takes those in the folder.
        shards: whether to cut the list into shards; None does above the number in operator.toml.

    Raises:
        ConfigError: too few registry keys are here; see `draft` for keys on several machines.
        RegistryError: clients would refuse the result, for instance because the root expired.
    """
    with folder.lock():
        proposal = propose(folder, now=now, shards=shards)
        role = load_root(folder).registry
        if signers is None:
            signers = signers_for(folder, "registry", role.public_keys)
        raw = seal(proposal.payload, signers)
        lacking = shortfall(raw, {"registry": role}, what="registry.json")
        if lacking is not None:
            raise ConfigError(
                f"{lacking}; name keys that lie elsewhere with --key file:PATH; where other people "
                "hold the others, run sign with --draft FILE and let them run: "
                "cocoon registry cosign FILE"
            )
        registry, added = install_registry(folder, raw, proposal.shards, now=now)
    return Signed(registry, proposal.skipped, len_listed(proposal.payload), added)


def propose(folder: OperatorFolder, *, now: int, shards: bool | None = None) -> Proposal:
    """The next version of what lies in the folder; the caller holds its lock."""
    folder.write(ROOT_FILE, folder.read_root())  # a crash may have left it one version behind
    root, policy = load_root(folder), folder.read_policy()
    entries = folder.read_entries()
    judged = judge(
        entries,
        network=root.network,
        now=now,
        min_seq=policy.min_seq,
        revoked=policy.revoked,
        known=entries_before(folder),  # an hour ago, nearly all of them
    )
    kept = {provider: entries[provider] for provider in entries if not judged[provider].problem}
    skipped = {provider: one.problem for provider, one in judged.items() if one.problem}
    cut = len(kept) > read_settings(folder).shards.above if shards is None else shards
    packed = pack_shards(kept) if cut else None
    before = previous(folder)
    payload = build_registry(
        root=root,
        version=before.payload.version + 1 if before else 1,
        prev=before.digest if before else None,
        issued=_issued(now, before),
        entries=list(kept.values()) if packed is None else None,
        shards=None if packed is None else [shard.line for shard in packed],
        revoked=policy.revoked,
        min_seq=policy.min_seq,
    )
    return Proposal(payload, {shard.line.sha256: shard.raw for shard in packed or ()}, skipped)


def _issued(now: int, before: PreviousRegistry | None) -> int:
    """Not before the version before, unless a clock that ran far ahead signed that one."""
    last = before.payload.issued if before else now
    return last if now < last <= now + CLOCK_SKEW else now


def install_registry(
    folder: OperatorFolder, raw: bytes, shards: Mapping[str, bytes], *, now: int
) -> tuple[VerifiedRegistry, int]:
    """Judge a signed registry as a client that knows the one before, and store it.

    The caller holds the lock. Returns it with the number of shards that are new.
    """
    before = previous(folder)
    verified = trusted_set(folder, seen=before.seen if before else None).update_registry(raw, now)
    index = verified.payload.shards or ()
    added = folder.write_shards(shards)
    kept = {shard.sha256 for shard in index}
    dropped = [shard for shard in before.shards if shard.sha256 not in kept] if before else []
    folder.retire_shards(dropped, now=now)
    folder.write_registry(raw)
    folder.prune_shards(index, before=now - read_settings(folder).shards.grace)
    return verified, len(added)


def len_listed(payload: RegistryPayload) -> int:
    """How many providers a registry lists, in itself or in its shards."""
    if payload.shards is not None:
        return sum(shard.n for shard in payload.shards)
    return len(payload.entries or ())


def check(descriptor: Descriptor, root: RootPayload, policy: Policy, now: int) -> None:
    """What a client checks of a genuine descriptor.

    Raises:
        RegistryError: the subclass says why it would be refused.
    """
    check_descriptor(
        descriptor,
        network=root.network,
        now=now,
        min_seq=policy.min_seq.get(descriptor.id, 0),
        revoked=descriptor.id in policy.revoked,
    )
