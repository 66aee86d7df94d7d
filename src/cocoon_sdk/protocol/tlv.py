"""Type-length-value lists of extensions and parameters: (u16 type, u16 length, bytes)*, types rising."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from cocoon_sdk.protocol.constants import CLOSE_PROTOCOL
from cocoon_sdk.protocol.errors import RemoteProtocolError

_ITEM = struct.Struct("<HH")


def encode_tlv(items: Mapping[int, bytes]) -> bytes:
    """The list in canonical order."""
    return b"".join(
        part
        for kind, value in sorted(items.items())
        for part in (_ITEM.pack(kind, len(value)), value)
    )


def decode_tlv(raw: bytes, close_code: int = CLOSE_PROTOCOL) -> dict[int, bytes]:
    """The items by type; the caller ignores those it does not know.

    Raises:
        RemoteProtocolError: an item overruns the list, or types do not strictly increase.
    """
    items: dict[int, bytes] = {}
    offset, last = 0, -1
    while offset < len(raw):
        if offset + _ITEM.size > len(raw):
            raise RemoteProtocolError("a TLV item is cut off in its header", close_code)
        kind, length = _ITEM.unpack_from(raw, offset)
        if kind <= last:
            raise RemoteProtocolError(
                f"TLV types must strictly increase: {kind} after {last}", close_code
            )
        offset += _ITEM.size
        if offset + length > len(raw):
            raise RemoteProtocolError(
                f"TLV item {kind} of {length} bytes overruns its list", close_code
            )
        items[kind] = raw[offset : offset + length]
        offset += length
        last = kind
    return items
