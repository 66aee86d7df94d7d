"""What a folder of registry files says, read back: its root, the version before, the entries listed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

from cocoon_sdk.errors import RegistryError, RegistryFormatError
from cocoon_sdk.operator.public import PublicFolder
from cocoon_sdk.registry.dsse import decode_envelope
from cocoon_sdk.registry.listing import list_entries
from cocoon_sdk.registry.model import Entry, RegistryPayload, RootPayload, Shard
from cocoon_sdk.registry.shards import read_shard
from cocoon_sdk.registry.strict import decode_strict
from cocoon_sdk.registry.trust import PinnedRoot
from cocoon_sdk.registry.verify import MAX_REGISTRY_BYTES, Seen, TrustedSet


@dataclass(frozen=True, slots=True)
class PreviousRegistry:
    """The payload that the next version continues."""

    payload: RegistryPayload
    digest: bytes

    @property
    def shards(self) -> Sequence[Shard]:
        """The shards that it names; none where it is a single file."""
        return self.payload.shards or ()

    @property
    def digests(self) -> frozenset[str]:
        """The SHA-256 of its shards, in hex."""
        return frozenset(shard.sha256 for shard in self.shards)

    @property
    def seen(self) -> Seen:
        """Its place in the order of all versions."""
        return Seen(self.payload.root_version, self.payload.version, self.digest)

    @property
    def count(self) -> int:
        """How many providers it lists."""
        if self.payload.shards is not None:
            return sum(shard.n for shard in self.payload.shards)
        return len(self.payload.entries or ())


def load_root(folder: PublicFolder) -> RootPayload:
    """The folder's newest root, which must meet its own threshold."""
    return read_root(folder.read_root())


def read_root(raw: bytes) -> RootPayload:
    """A root.json that meets its own threshold.

    Raises:
        RegistryError: it does not.
    """
    trusted = TrustedSet(PinnedRoot(raw))  # which reads and judges it, or raises
    return cast("RootPayload", trusted.root)


def trusted_set(folder: PublicFolder, *, seen: Seen | None = None) -> TrustedSet:
    """What a client believes that followed the roots of this folder, and saw `seen` last.

    Raises:
        RegistryError: a root does not follow the one before.
    """
    chain = list(folder.read_roots().values()) or [folder.read_root()]
    trusted = TrustedSet(PinnedRoot(chain[0]), seen=seen)
    for raw in chain[1:]:
        trusted.update_root(raw)
    return trusted


def previous(folder: PublicFolder) -> PreviousRegistry | None:
    """The registry signed last; its signatures are not judged, they may be of replaced keys."""
    raw = folder.read_registry()
    return None if raw is None else read_registry(raw)


def read_registry(raw: bytes) -> PreviousRegistry:
    """The payload of a registry.json, signatures not judged.

    Raises:
        RegistryFormatError: malformed.
    """
    what = "registry.json"
    payload = decode_envelope(raw, what=what, limit=MAX_REGISTRY_BYTES).payload
    decoded = decode_strict(payload, RegistryPayload, what=what, limit=MAX_REGISTRY_BYTES)
    return PreviousRegistry(decoded, hashlib.sha256(payload).digest())


def listed_entries(
    registry: PreviousRegistry,
    *places: PublicFolder,
    without: Collection[str] = (),
    lenient: bool = False,
) -> dict[str, Entry]:
    """The entries by provider id.

    Args:
        registry: the file, or the index of shards.
        places: where to look for its shards, in this order.
        without: digests of shards to leave out.
        lenient: leave out shards that cannot be found, too.

    Raises:
        RegistryFormatError: a shard is missing everywhere or is not what the index says.
    """
    found = {one.id: one.entry for one in list_entries(registry.payload.entries or ()).entries}
    for shard in registry.shards:
        if shard.sha256 in without:
            continue
        raw = next((raw for place in places if (raw := place.read_shard(shard.sha256))), None)
        if raw is not None:
            found |= {one.id: one.entry for one in read_shard(raw, shard).entries}
        elif not lenient:
            where = ", ".join(str(place.path) for place in places)
            raise RegistryFormatError(
                f"shard {shard.name} ({shard.sha256}) is not in {where}; copy the folder shards as well"
            )
    return found


def entries_before(folder: PublicFolder) -> dict[str, Entry]:
    """The entries listed last, whose signatures were checked then; none where they cannot be read."""
    try:
        before = previous(folder)
        return {} if before is None else listed_entries(before, folder)
    except RegistryError:
        return {}
