"""Frame numbers, bodies, buckets and sealed records."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from .msgpack import pack
from .secretstream import TAG_FINAL, TAG_MESSAGE, TAG_REKEY, SecretStream

NUMBERS = {
    "REQUEST": 1,
    "DELTA": 2,
    "RECEIPT": 3,
    "VOUCHER": 4,
    "ERROR": 5,
    "CANCEL": 6,
    "PING": 7,
    "PONG": 8,
    "COVER": 9,
    "METER": 10,
    "ATTEST_CHALLENGE": 11,
    "ATTEST": 12,
    "RESULT": 13,
    "QUEUE": 14,
    "CLOSE": 15,
    "ACK": 16,
    "CLOSE_REQUEST": 17,
    "CLOSE_AUTH": 18,
    "RECEIPT_GET": 19,
    "STATE_GET": 20,
    "STATE": 21,
}
RAW = {"RECEIPT", "PING", "PONG", "COVER", "CLOSE"}
END, MORE = 1, 2
BUCKETS = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)


def body_of(frame: str, value: Any) -> bytes:
    return bytes(value) if frame in RAW else pack(value)


def padded_size(used: int, *, request: bool = False) -> int:
    return next(size for size in BUCKETS if size >= max(used, 1024 if request else 0))


def plaintexts(
    frame: str,
    body: bytes,
    *,
    stream: int = 0,
    end: bool = False,
    largest: int = 65536,
    padded: bool = True,
) -> Iterator[tuple[bytes, int]]:
    """The plaintext and the tag of each record of a body."""
    room = largest - 10
    parts = [body[i : i + room] for i in range(0, len(body), room)] or [b""]
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        flags = (END if end else 0) if last else MORE
        tag = TAG_REKEY if flags & END else TAG_FINAL if frame == "CLOSE" else TAG_MESSAGE
        plain = struct.pack("<BBII", NUMBERS[frame], flags, stream, len(part)) + part
        if padded:
            plain = plain.ljust(padded_size(len(plain), request=frame == "REQUEST"), b"\0")
        yield plain, tag


class Flow:
    """The records of one direction."""

    def __init__(self, key: bytes, header: bytes, *, padded: bool = True) -> None:
        self._stream = SecretStream(key, header)
        self._head = b"\x10" + header
        self.padded = padded
        self.largest = 65536

    def seal(self, plaintext: bytes, tag: int) -> bytes:
        message = self._head + self._stream.push(plaintext, b"\x10", tag)
        self._head = b"\x10"
        return message

    def frame(self, frame: str, value: Any, *, stream: int = 0, end: bool = False) -> list[bytes]:
        """The honest records of a frame."""
        body = body_of(frame, value)
        cut = plaintexts(
            frame, body, stream=stream, end=end, largest=self.largest, padded=self.padded
        )
        return [self.seal(plaintext, tag) for plaintext, tag in cut]

    def forged(
        self,
        number: int,
        body: bytes = b"",
        *,
        stream: int = 1,
        flags: int = 0,
        tag: int | None = None,
        claim: int | None = None,
        size: int | None = None,
        padding: bytes | None = None,
    ) -> bytes:
        """A record that is authentic and holds whatever is asked for."""
        used = 10 + len(body)
        if tag is None:
            tag = TAG_REKEY if flags & END else TAG_FINAL if number == 15 else TAG_MESSAGE
        if padding is None:
            padding = bytes((padded_size(used) if size is None else size) - used)
        head = struct.pack("<BBII", number, flags, stream, len(body) if claim is None else claim)
        return self.seal(head + body + padding, tag)
