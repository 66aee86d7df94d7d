"""The encrypted records of one direction: secretstream under the message type as associated data."""

from __future__ import annotations

from nacl import bindings as sodium
from nacl.exceptions import CryptoError

from cocoon_sdk.protocol.constants import CLOSE_TOO_LARGE, MAX_PLAINTEXT, MAX_RECORDS, TYPE_DATA
from cocoon_sdk.protocol.errors import RemoteProtocolError
from cocoon_sdk.protocol.frames import FRAME_HEADER
from cocoon_sdk.protocol.padding import BUCKETS

_TYPE = bytes([TYPE_DATA])
_HEADER = sodium.crypto_secretstream_xchacha20poly1305_HEADERBYTES
_PREFIX = len(_TYPE) + sodium.crypto_secretstream_xchacha20poly1305_ABYTES
_PADDED_SIZES = frozenset(size + _PREFIX for size in BUCKETS)
_ANY_SIZES = range(FRAME_HEADER.size + _PREFIX, MAX_PLAINTEXT + _PREFIX + 1)


class RecordWriter:
    """Seals plaintexts. The first message carries the stream header that libsodium draws."""

    __slots__ = ("_prefix", "_state", "count")

    def __init__(self, key: bytes) -> None:
        self._state = sodium.crypto_secretstream_xchacha20poly1305_state()
        self._prefix = _TYPE + sodium.crypto_secretstream_xchacha20poly1305_init_push(
            self._state, key
        )
        self.count = 0

    def seal(self, plaintext: bytes, tag: int) -> bytes:
        """One websocket message."""
        message = self._prefix + sodium.crypto_secretstream_xchacha20poly1305_push(
            self._state, plaintext, _TYPE, tag
        )
        self._prefix = _TYPE
        self.count += 1
        return message


class RecordReader:
    """Opens messages, after their size has been checked."""

    __slots__ = ("_key", "_sizes", "_state", "count")

    def __init__(self, key: bytes, *, padded: bool) -> None:
        self._key: bytes | None = key
        self._state = sodium.crypto_secretstream_xchacha20poly1305_state()
        self._sizes = _PADDED_SIZES if padded else _ANY_SIZES
        self.count = 0

    def open(self, message: bytes) -> tuple[bytes, int]:
        """The plaintext and the tag of one websocket message.

        Raises:
            RemoteProtocolError: wrong type or size, one record too many, or not authentic.
        """
        if message[:1] != _TYPE:
            raise RemoteProtocolError("a message that is no DATA after the handshake")
        start = 1 if self._key is None else 1 + _HEADER
        size = len(message) - start + 1
        if size not in self._sizes:
            if size > MAX_PLAINTEXT + _PREFIX:
                raise RemoteProtocolError(f"a record of {len(message)} bytes", CLOSE_TOO_LARGE)
            raise RemoteProtocolError(f"a record of {len(message)} bytes fills no bucket")
        if self.count >= MAX_RECORDS:
            raise RemoteProtocolError(f"more than {MAX_RECORDS} records in one session")
        if self._key is not None:
            sodium.crypto_secretstream_xchacha20poly1305_init_pull(
                self._state, message[1:start], self._key
            )
            self._key = None
        try:
            opened = sodium.crypto_secretstream_xchacha20poly1305_pull(
                self._state, message[start:], _TYPE
            )
        except CryptoError as error:
            raise RemoteProtocolError("a record is not authentic") from error
        self.count += 1
        return opened
