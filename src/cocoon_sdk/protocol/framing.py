"""From a body to the plaintexts of its records, and back from one plaintext to its frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from nacl.bindings import crypto_secretstream_xchacha20poly1305_TAG_FINAL as TAG_FINAL
from nacl.bindings import crypto_secretstream_xchacha20poly1305_TAG_MESSAGE as TAG_MESSAGE
from nacl.bindings import crypto_secretstream_xchacha20poly1305_TAG_REKEY as TAG_REKEY

from cocoon_sdk.protocol.errors import RemoteProtocolError
from cocoon_sdk.protocol.frames import FLAG_END, FLAG_MORE, FRAME_HEADER, KNOWN_FLAGS
from cocoon_sdk.protocol.messages import FrameType
from cocoon_sdk.protocol.padding import bucket, request_bucket

_HEADER_BYTES = FRAME_HEADER.size
_FRAME_TYPES = {int(kind): kind for kind in FrameType}


class Frame(NamedTuple):
    """One record's part of a body."""

    kind: FrameType
    flags: int
    stream: int
    chunk: bytes


def pack_frames(
    kind: FrameType, stream: int, body: bytes, *, end: bool, limit: int, padded: bool
) -> Iterator[tuple[bytes, int]]:
    """The plaintexts of a body with the tag of each; no plaintext holds more than `limit` of it."""
    start, view = 0, memoryview(body)
    while len(body) - start > limit:
        yield _plaintext(kind, FLAG_MORE, stream, view[start : start + limit], padded), TAG_MESSAGE
        start += limit
    flags, tag = (FLAG_END, TAG_REKEY) if end else (0, TAG_MESSAGE)
    if kind is FrameType.CLOSE:
        tag = TAG_FINAL
    yield _plaintext(kind, flags, stream, view[start:], padded), tag


def unpack_frame(plaintext: bytes, tag: int) -> Frame:
    """The frame inside a record.

    Raises:
        RemoteProtocolError: overrun, padding that is not zero, an unknown type or flag, wrong tag.
    """
    number, flags, stream, size = FRAME_HEADER.unpack_from(plaintext)
    end = _HEADER_BYTES + size
    if end > len(plaintext):
        raise RemoteProtocolError(f"a body of {size} bytes overruns its record")
    if plaintext[end:] != bytes(len(plaintext) - end):
        raise RemoteProtocolError("padding that is not zero")
    kind = _FRAME_TYPES.get(number)
    if kind is None:
        raise RemoteProtocolError(f"unknown frame type {number}")
    if flags & ~KNOWN_FLAGS:
        raise RemoteProtocolError(f"unknown flags {flags:#04x}")
    # The tag is what ratchets the key at each end; a flag alone would promise it without doing it.
    closing = kind is FrameType.CLOSE
    if tag != (TAG_FINAL if closing else TAG_REKEY if flags & FLAG_END else TAG_MESSAGE):
        raise RemoteProtocolError(f"tag {tag} on a {kind.name} with flags {flags:#04x}")
    return Frame(kind, flags, stream, plaintext[_HEADER_BYTES:end])


def _plaintext(kind: FrameType, flags: int, stream: int, chunk: memoryview, padded: bool) -> bytes:
    used = _HEADER_BYTES + len(chunk)
    padding = b""
    if padded:
        # Only the last record counts for a REQUEST; the others are full anyway.
        padding = bytes((request_bucket if kind is FrameType.REQUEST else bucket)(used) - used)
    return b"".join((FRAME_HEADER.pack(kind, flags, stream, len(chunk)), chunk, padding))
