"""Keys on several machines: a draft goes round, each holder looks and signs, the folder takes it in.

draft_registry / rotate  → the draft file → cosign (elsewhere, any number of times) → accept → publish
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import Signer, format_public_key
from cocoon_sdk.operator.build import seal, shortfall
from cocoon_sdk.operator.drafts import (
    add_signatures,
    beside,
    kind_of,
    merge,
    missing_shards,
    read_draft,
    write_draft,
)
from cocoon_sdk.operator.folder import OperatorFolder
from cocoon_sdk.operator.inspection import Inspection, inspect_registry, inspect_root
from cocoon_sdk.operator.keyring import signers_for
from cocoon_sdk.operator.public import PublicFolder
from cocoon_sdk.operator.rotation import RootChange, next_root, root_roles
from cocoon_sdk.operator.signers import Ask
from cocoon_sdk.operator.signing import Proposal, install_registry, propose
from cocoon_sdk.operator.state import load_root, previous, read_registry, read_root, trusted_set
from cocoon_sdk.registry.model import RootPayload
from cocoon_sdk.registry.sources import REGISTRY_FILE, ROOT_FILE


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a folder took in: `kind` is root or registry."""

    kind: str
    version: int


def draft_registry(
    folder: OperatorFolder,
    path: Path,
    *,
    now: int,
    signers: Sequence[Signer],
    shards: bool | None = None,
) -> tuple[Proposal, str | None]:
    """Write the next registry.json to `path`, signed by those who are here.

    Shards that the last version did not have go to the folder `shards` beside it. Returns the
    proposal with what its signatures still lack (None: nothing). The folder is not changed.
    """
    with folder.lock():
        proposal = propose(folder, now=now, shards=shards)
        role = load_root(folder).registry
        before = previous(folder)
    held = before.digests if before else frozenset()
    raw = seal(proposal.payload, signers)
    fresh = {name: shard for name, shard in proposal.shards.items() if name not in held}
    write_draft(path, raw, fresh)
    return proposal, shortfall(raw, {"registry": role}, what=REGISTRY_FILE)


def plan_root(
    folder: OperatorFolder, change: RootChange, *, now: int
) -> tuple[RootPayload, Inspection]:
    """The next root before anybody signed it, and what it changes.

    Raises:
        ConfigError: an impossible change.
        RegistryFormatError: a mirror that is not an https URL.
    """
    old = load_root(folder)
    root = next_root(old, change, now=now)
    return root, inspect_root(seal(root, ()), old, now=now)


def rotate_root(
    folder: OperatorFolder,
    root: RootPayload,
    *,
    specs: Sequence[str] = (),
    ask: Ask | None = None,
    draft: Path | None = None,
) -> str | None:
    """Sign a planned root by the thresholds of the old and the new root keys.

    Args:
        folder: the operator's folder.
        root: from `plan_root`.
        specs: texts that name signers, in place of the folder's.
        ask: gives PINs and passphrases by name.
        draft: write it there, however many signed, and leave the folder as it is.

    Returns what its signatures still lack; None where the folder has taken it in.

    Raises:
        ConfigError: too few root keys without `draft`.
        RegistryError: another command made a root meanwhile.
    """
    with folder.lock():
        roles = root_roles(root, load_root(folder))
        keys = [key for role in roles.values() for key in role.public_keys]
        raw = seal(root, signers_for(folder, "root", keys, specs, ask=ask))
        lacking = shortfall(raw, roles, what=ROOT_FILE)
        if draft is not None:
            write_draft(draft, raw)
            return lacking
        if lacking is not None:
            raise ConfigError(
                f"{lacking}; where other people hold the others, add --draft FILE and let them run: "
                "cocoon registry cosign FILE"
            )
        trusted_set(folder).update_root(raw)
        folder.write_root(raw, root.version)
    return None


def inspect(
    path: Path, *, now: int, root: Path | None = None, before: Path | None = None
) -> Inspection:
    """Check a draft and compare it with what was before.

    Args:
        path: the draft.
        now: unix seconds.
        root: the root.json in force; needed but for a draft of the first root.
        before: the folder of the published registry; None compares with nothing.

    Raises:
        RegistryError: what clients would refuse.
        ConfigError: a file is missing.
    """
    raw = read_draft(path)
    trusted = None if root is None else read_root(read_draft(root))
    if kind_of(raw) == "root":
        return inspect_root(raw, trusted, now=now)
    if trusted is None:
        raise ConfigError(f"pass --root: the root.json under which {path} is to be signed")
    last = None if before is None else PublicFolder(before)
    return inspect_registry(raw, trusted, now=now, places=[beside(path)], before=last)


def cosign(path: Path, inspection: Inspection, signers: Sequence[Signer]) -> str | None:
    """Add signatures to a draft that was inspected; what it still lacks (None: nothing).

    Raises:
        ConfigError: a key that does not count here, or that signed already; or the file is not the one
            that was inspected any more.
    """
    if read_draft(path) != inspection.raw:
        raise ConfigError(f"{path} has changed since it was shown; nothing was signed, look again")
    for signer in signers:
        shown = format_public_key(signer.public_key)
        if signer.public_key not in inspection.allowed:
            raise ConfigError(f"{shown} is none of the keys that may sign this {inspection.kind}")
        if signer.public_key in inspection.signed:
            raise ConfigError(f"{shown} has signed this draft already")
    raw = add_signatures(inspection.raw, signers)
    write_draft(path, raw)
    return shortfall(raw, inspection.roles, what="the draft")


def accept(folder: OperatorFolder, paths: Sequence[Path], *, now: int) -> Accepted:
    """Take a draft into the folder once enough keys signed; several files are copies of one draft.

    Raises:
        ConfigError: too few signatures, copies of different drafts, a missing shard.
        RegistryError: it does not follow what the folder holds, or clients would refuse it.
    """
    raw = merge([read_draft(path) for path in paths])
    with folder.lock():
        if kind_of(raw) == "root":
            return _accept_root(folder, raw, now)
        lacking = shortfall(raw, {"registry": load_root(folder).registry}, what="the draft")
        if lacking is not None:
            raise ConfigError(f"{lacking}; send it to the next: cocoon registry cosign FILE")
        shards = missing_shards(read_registry(raw).shards, folder, *map(beside, paths))
        registry, _ = install_registry(folder, raw, shards, now=now)
    return Accepted("registry", registry.payload.version)


def _accept_root(folder: OperatorFolder, raw: bytes, now: int) -> Accepted:
    old = None if not folder.has_root() else load_root(folder)
    lacking = inspect_root(raw, old, now=now).lacking
    if lacking is not None:
        raise ConfigError(f"{lacking}; send it to the next: cocoon registry cosign FILE")
    root = read_root(raw) if old is None else trusted_set(folder).update_root(raw)
    folder.write_root(raw, root.version)
    return Accepted("root", root.version)
