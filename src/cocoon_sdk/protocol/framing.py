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
    start = 0
    while len(body) - start > limit:
        chunk = body[start : start + limit]
        yield _plaintext(kind, FLAG_MORE, stream, chunk, padded=padded), TAG_MESSAGE
        start += limit
    yield pack_frame(kind, stream, body[start:], end=end, padded=padded)


def pack_frame(
    kind: FrameType, stream: int, body: bytes, *, end: bool, padded: bool
) -> tuple[bytes, int]:
    """The plaintext of a body that fits one record, or of its last part, with its tag."""
    flags, tag = (FLAG_END, TAG_REKEY) if end else (0, TAG_MESSAGE)
    if kind is FrameType.CLOSE:
        tag = TAG_FINAL
    return _plaintext(kind, flags, stream, body, padded=padded), tag


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


def _plaintext(kind: FrameType, flags: int, stream: int, chunk: bytes, *, padded: bool) -> bytes:
    plaintext = FRAME_HEADER.pack(kind, flags, stream, len(chunk)) + chunk
    if not padded:
        return plaintext
    # Only the last record counts for a REQUEST; the others are full anyway.
    size = (request_bucket if kind is FrameType.REQUEST else bucket)(len(plaintext))
    return plaintext.ljust(size, b"\0")
