"""What an operator does to a registry, one function for each command."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cocoon_sdk.errors import ConfigError, RegistryError, RegistryRollbackError
from cocoon_sdk.keys import Ed25519Key, save_key
from cocoon_sdk.operator.build import ROOT_LIFETIME, make_registry, make_role, make_root
from cocoon_sdk.operator.folder import OperatorFolder, Policy, write_file
from cocoon_sdk.registry.descriptor import check_descriptor, decode_entry, read_descriptor
from cocoon_sdk.registry.dsse import decode_envelope
from cocoon_sdk.registry.endpoint import parse_endpoint
from cocoon_sdk.registry.model import Descriptor, Entry, RegistryPayload, RootPayload
from cocoon_sdk.registry.strict import decode_strict
from cocoon_sdk.registry.trust import PinnedRoot
from cocoon_sdk.registry.verify import MAX_REGISTRY_BYTES, TrustedSet, VerifiedRegistry


@dataclass(frozen=True, slots=True)
class Signed:
    """The outcome of a signing: the file as clients will see it, and the entries left out."""

    registry: VerifiedRegistry
    skipped: dict[str, str]  # provider id to reason


@dataclass(frozen=True, slots=True)
class PreviousRegistry:
    """The payload that the next version continues."""

    payload: RegistryPayload
    digest: bytes


def init(
    path: str | Path,
    *,
    network: str,
    now: int,
    root_keys: int = 1,
    root_threshold: int | None = None,
    registry_keys: int = 1,
    registry_threshold: int | None = None,
    root_public: Sequence[bytes] = (),
    registry_public: Sequence[bytes] = (),
    lifetime: int = ROOT_LIFETIME,
) -> RootPayload:
    """Make keys and root version 1 in a new folder.

    Args:
        path: the folder.
        network: chain id and registry name, as in "-239/main".
        now: unix seconds.
        root_keys: how many root keys to make here.
        root_threshold: how many root keys must sign; a strict majority when None.
        registry_keys: how many registry keys to make here.
        registry_threshold: how many registry keys must sign; a strict majority when None.
        root_public: root keys that are held elsewhere.
        registry_public: registry keys that are held elsewhere.
        lifetime: seconds until the root expires.

    Raises:
        ConfigError: the folder holds a registry, impossible thresholds, or too few root keys here.
        RegistryFormatError: not a network text.
    """
    new_root = [Ed25519Key.generate() for _ in range(root_keys)]
    new_registry = [Ed25519Key.generate() for _ in range(registry_keys)]
    all_root = [*(key.public_key for key in new_root), *root_public]
    all_registry = [*(key.public_key for key in new_registry), *registry_public]
    raw = make_root(
        network=network,
        version=1,
        expires=now + lifetime,
        root=make_role(all_root, root_threshold or len(all_root) // 2 + 1),
        registry=make_role(all_registry, registry_threshold or len(all_registry) // 2 + 1),
        signers=new_root,
    )
    folder = OperatorFolder(path)
    folder.create()
    with folder.lock():
        for name, keys in (("root", new_root), ("registry", new_registry)):
            for number, key in enumerate(keys, 1):
                save_key(key, folder.keys / f"{name}-{number}.key")
        folder.write_policy(Policy())
        folder.write_root(raw, 1)
    return load_root(folder)


def add(folder: OperatorFolder, raw: bytes, *, now: int) -> Descriptor:
    """Take a provider's entry file in, or a newer one of the same provider.

    Raises:
        RegistryError: what a client would refuse is refused here; so is an older sequence number.
    """
    entry = decode_entry(raw)
    descriptor = read_descriptor(entry)
    with folder.lock():
        root, policy = load_root(folder), folder.read_policy()
        _check(descriptor, root, policy, now)
        for url in descriptor.endpoints:
            parse_endpoint(url)
        held = folder.read_entries().get(descriptor.id)
        if held is not None and held.d != entry.d:
            seq = read_descriptor(held).seq
            if descriptor.seq <= seq:
                raise RegistryRollbackError(
                    f"provider {descriptor.id} is listed with seq {seq}, this entry has "
                    f"{descriptor.seq}; the provider must register again"
                )
        folder.write_entry(descriptor.id, entry)
    return descriptor


def remove(folder: OperatorFolder, provider: str) -> str:
    """Take a provider out; it may be added again. Returns its id.

    Raises:
        ConfigError: it is not listed.
    """
    with folder.lock():
        found = folder.find_provider(provider)
        if not folder.remove_entry(found):
            raise ConfigError(f"provider {found} is not listed")
    return found


def revoke(folder: OperatorFolder, provider: str, *, below: int | None = None) -> str:
    """Declare an identity key stolen, or (`below`) only its descriptors under a sequence number.

    Raises:
        ConfigError: not an id.
    """
    with folder.lock():
        found = folder.find_provider(provider)
        policy = folder.read_policy()
        if below is None:
            revoked = sorted({*policy.revoked, found})
            changed = Policy(revoked=revoked, min_seq=policy.min_seq)
            folder.remove_entry(found)
        else:
            floor = max(below, policy.min_seq.get(found, 0))
            changed = Policy(revoked=policy.revoked, min_seq={**policy.min_seq, found: floor})
        try:
            msgspec.convert(msgspec.to_builtins(changed), Policy)
        except msgspec.ValidationError as error:
            raise ConfigError(f"not a provider id or sequence number: {error}") from None
        folder.write_policy(changed)
    return found


def sign(folder: OperatorFolder, *, now: int) -> Signed:
    """Sign the next version over all entries that a client would accept.

    Raises:
        ConfigError: too few registry keys are in the folder.
        RegistryError: clients would refuse the result, for instance because the root expired.
    """
    with folder.lock():
        raw_root = folder.read_root()
        root, policy = load_root(folder), folder.read_policy()
        entries, skipped = _acceptable(folder.read_entries(), root, policy, now)
        before = previous(folder)
        raw = make_registry(
            root=root,
            version=before.payload.version + 1 if before else 1,
            prev=before.digest if before else None,
            issued=max(now, before.payload.issued) if before else now,
            entries=entries,
            signers=folder.signers(root.registry),
            revoked=policy.revoked,
            min_seq=policy.min_seq,
        )
        verified = TrustedSet(PinnedRoot(raw_root)).update_registry(raw, now)
        folder.write_registry(raw)
    return Signed(verified, skipped)


def publish(folder: OperatorFolder, target: Path, *, now: int) -> list[str]:
    """Copy the public files to a folder that a web server serves; the names that were written.

    Raises:
        RegistryError: the registry is not signed, expired, or older than the one published.
        ConfigError: the target cannot be written.
    """
    with folder.lock():
        raw = folder.read_registry()
        if raw is None:
            raise ConfigError("nothing is signed yet; run: cocoon registry sign")
        registry = TrustedSet(PinnedRoot(folder.read_root())).update_registry(raw, now)
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{target} cannot be made: {error.strerror}") from None
        published = previous(OperatorFolder(target))
        if published is not None and published.payload.version > registry.payload.version:
            raise RegistryRollbackError(
                f"{target} holds version {published.payload.version}, this folder only "
                f"{registry.payload.version}; clients would refuse it"
            )
        names = []
        for path in folder.public_files():
            write_file(target / path.name, path.read_bytes())
            names.append(path.name)
    return names


def load_root(folder: OperatorFolder) -> RootPayload:
    """The folder's newest root, which must meet its own threshold."""
    root = TrustedSet(PinnedRoot(folder.read_root())).root
    if root is None:  # a pinned root is read by the constructor, or it raises
        raise ConfigError(f"{folder.path} holds no root")
    return root


def previous(folder: OperatorFolder) -> PreviousRegistry | None:
    """The registry signed last; its signatures are not judged, they may be of replaced keys."""
    raw = folder.read_registry()
    if raw is None:
        return None
    what = "registry.json"
    payload = decode_envelope(raw, what=what, limit=MAX_REGISTRY_BYTES).payload
    decoded = decode_strict(payload, RegistryPayload, what=what, limit=MAX_REGISTRY_BYTES)
    return PreviousRegistry(decoded, hashlib.sha256(payload).digest())


def _acceptable(
    entries: dict[str, Entry], root: RootPayload, policy: Policy, now: int
) -> tuple[list[Entry], dict[str, str]]:
    kept: list[Entry] = []
    skipped: dict[str, str] = {}
    for provider, entry in entries.items():
        try:
            _check(read_descriptor(entry), root, policy, now)
        except RegistryError as error:
            skipped[provider] = str(error)
        else:
            kept.append(entry)
    return kept, skipped


def _check(descriptor: Descriptor, root: RootPayload, policy: Policy, now: int) -> None:
    check_descriptor(
        descriptor,
        network=root.network,
        now=now,
        min_seq=policy.min_seq.get(descriptor.id, 0),
        revoked=descriptor.id in policy.revoked,
    )
