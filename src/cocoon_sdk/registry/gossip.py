"""What a provider says when it knows another registry of a version (wire.md, "Registry fork gossip").

A registry is far larger than a frame. So an ERROR on stream 0 only names it, and the file is served in
pieces on the provider's public port. Nothing here is trusted: the client judges the file by its own root.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from cocoon_sdk.errors import RegistryFormatError, WireCode
from cocoon_sdk.protocol.messages import U64, Error, Hash
from cocoon_sdk.registry.dsse import decode_envelope
from cocoon_sdk.registry.model import REGISTRY_TYPE, Name, Version
from cocoon_sdk.registry.network import registry_id
from cocoon_sdk.registry.verify import MAX_REGISTRY_BYTES

PIECE_BYTES = 1024 * 1024  # what one GET costs a provider in memory, whoever asks


class ForkHint(NamedTuple):
    """Another registry of one version: SHA-256 of its payload, and the bytes of its envelope."""

    registry_id: bytes
    version: int
    digest: bytes
    size: int

    def frame(self) -> Error:
        """The ERROR that says it. It fits the smallest bucket, so that its size tells nothing."""
        return Error(
            WireCode.REGISTRY_FORK,
            "this version has another content here",
            detail={
                "registry": self.registry_id,
                "version": self.version,
                "digest": self.digest,
                "size": self.size,
            },
        )

    @property
    def pages(self) -> list[tuple[str, int]]:
        """The paths of its pieces and the bytes of each, in order."""
        return [
            (f"/registry/{self.digest.hex()}/{start // PIECE_BYTES}",
             min(PIECE_BYTES, self.size - start))
            for start in range(0, self.size, PIECE_BYTES)
        ]  # fmt: skip


class _Detail(Struct, frozen=True):
    registry: Annotated[bytes, Meta(min_length=8, max_length=32)]
    version: U64
    digest: Hash
    size: Annotated[int, Meta(ge=1, le=MAX_REGISTRY_BYTES)]


def read_hint(frame: Error) -> ForkHint | None:
    """What an ERROR of this code says, or None where it makes no sense."""
    try:
        detail = msgspec.convert(frame.detail, _Detail)
    except msgspec.ValidationError:
        return None
    return ForkHint(detail.registry, detail.version, detail.digest, detail.size)


class Claim(NamedTuple):
    """What a registry file says of itself, whoever signed it. `digest` is SHA-256 of its payload."""

    registry_id: bytes
    version: int
    digest: bytes


class _Brief(Struct, frozen=True, gc=False):
    network: Name
    version: Version


def read_claim(raw: bytes) -> Claim:
    """Name an envelope without judging it.

    Raises:
        RegistryFormatError: it is no registry.
    """
    what = "registry.json"
    envelope = decode_envelope(raw, what=what, limit=MAX_REGISTRY_BYTES)
    if envelope.payload_type != REGISTRY_TYPE:
        raise RegistryFormatError(f"{what} is of another type: {envelope.payload_type[:80]!r}")
    try:
        brief = msgspec.json.decode(envelope.payload, type=_Brief)
    except (ValueError, RecursionError) as error:
        raise RegistryFormatError(f"{what} does not parse: {error}") from None
    digest = hashlib.sha256(envelope.payload).digest()
    return Claim(registry_id(brief.network), brief.version, digest)
