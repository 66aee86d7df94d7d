"""Layouts of the three handshake messages (wire.md, "Messages"). Sizes are checked before anything else."""

from __future__ import annotations

import struct
from typing import NamedTuple

from cocoon_sdk.protocol.constants import (
    CLOSE_CLIENT_AUTH,
    CLOSE_TOO_LARGE,
    MAX_HELLO,
    TYPE_CLIENT_AUTH,
    TYPE_CLIENT_HELLO,
    TYPE_SERVER_HELLO,
)
from cocoon_sdk.protocol.errors import LocalProtocolError, RemoteProtocolError
from cocoon_sdk.protocol.tlv import decode_tlv, encode_tlv

_CLIENT_HELLO = struct.Struct("<BBBBI32s32sQ32sH")
_SERVER_HELLO = struct.Struct("<BBBB32sH")
_AUTH = struct.Struct("<B32s64sH")

SIGNATURE_BYTES = 64
AEAD_OVERHEAD = 16
AUTH_PLAINTEXT = 256
CLIENT_AUTH_BYTES = 1 + AUTH_PLAINTEXT + AEAD_OVERHEAD
_MIN_SERVER_AUTH = SIGNATURE_BYTES + AEAD_OVERHEAD

FLAG_AUTH_REQUIRED = 0x01

EXT_KEM_KEY = 0x0001  # of CLIENT_HELLO
EXT_KEM_CIPHERTEXT = 0x0002  # of SERVER_HELLO

KIND_ANONYMOUS = 0
KIND_ED25519 = 1


class ClientHello(NamedTuple):
    """CLIENT_HELLO. `suites` is a bit mask; registry fields are zeros unless a test says otherwise."""

    version_min: int
    version_max: int
    suites: int
    ephemeral: bytes
    provider_id: bytes
    registry_version: int = 0
    registry_digest: bytes = bytes(32)
    kem_key: bytes | None = None

    def encode(self) -> bytes:
        """The message; suite 1 needs no extension."""
        extensions = _extensions(EXT_KEM_KEY, self.kem_key)
        head = _CLIENT_HELLO.pack(TYPE_CLIENT_HELLO, *self[:2], 0, *self[2:-1], len(extensions))
        return head + extensions

    @classmethod
    def decode(cls, raw: bytes) -> ClientHello:
        """Parse a peer's hello; unknown extensions are checked for form and ignored.

        Raises:
            RemoteProtocolError: malformed.
        """
        _check_hello(raw, TYPE_CLIENT_HELLO, _CLIENT_HELLO.size, "CLIENT_HELLO")
        _, low, high, flags, *fields, ext_len = _CLIENT_HELLO.unpack_from(raw)
        if flags != 0:
            raise RemoteProtocolError(f"CLIENT_HELLO has unknown flags {flags:#04x}")
        if len(raw) != _CLIENT_HELLO.size + ext_len:
            raise RemoteProtocolError(
                f"CLIENT_HELLO of {len(raw)} bytes claims {ext_len} at its end"
            )
        extensions = decode_tlv(raw[_CLIENT_HELLO.size :])
        return cls(low, high, *fields)._replace(kem_key=extensions.get(EXT_KEM_KEY))


class ServerHello(NamedTuple):
    """SERVER_HELLO: the clear part's fields, its bytes for the transcript, and the sealed rest."""

    version: int
    suite: int
    auth_required: bool
    ephemeral: bytes
    clear: bytes
    auth: bytes
    kem_ciphertext: bytes | None = None

    @staticmethod
    def encode_clear(
        version: int,
        suite: int,
        *,
        auth_required: bool,
        ephemeral: bytes,
        kem_ciphertext: bytes | None = None,
    ) -> bytes:
        """The clear part; suite 1 needs no extension."""
        flags = FLAG_AUTH_REQUIRED if auth_required else 0
        extensions = _extensions(EXT_KEM_CIPHERTEXT, kem_ciphertext)
        head = _SERVER_HELLO.pack(
            TYPE_SERVER_HELLO, version, suite, flags, ephemeral, len(extensions)
        )
        return head + extensions

    @classmethod
    def decode(cls, raw: bytes) -> ServerHello:
        """Parse a peer's hello.

        Raises:
            RemoteProtocolError: malformed.
        """
        _check_hello(raw, TYPE_SERVER_HELLO, _SERVER_HELLO.size + _MIN_SERVER_AUTH, "SERVER_HELLO")
        _, version, suite, flags, ephemeral, ext_len = _SERVER_HELLO.unpack_from(raw)
        if flags & ~FLAG_AUTH_REQUIRED:
            raise RemoteProtocolError(f"SERVER_HELLO has unknown flags {flags:#04x}")
        split = _SERVER_HELLO.size + ext_len
        if len(raw) < split + _MIN_SERVER_AUTH:
            raise RemoteProtocolError(f"SERVER_HELLO of {len(raw)} bytes is cut off")
        extensions = decode_tlv(raw[_SERVER_HELLO.size : split])
        return cls(
            version,
            suite,
            bool(flags),
            ephemeral,
            raw[:split],
            raw[split:],
            extensions.get(EXT_KEM_CIPHERTEXT),
        )


class ClientAuth(NamedTuple):
    """The plaintext of CLIENT_AUTH, always 256 bytes."""

    kind: int
    public_key: bytes
    signature: bytes
    params: bytes

    def encode(self) -> bytes:
        """The padded plaintext.

        Raises:
            LocalProtocolError: the parameters do not fit.
        """
        if len(self.params) > AUTH_PLAINTEXT - _AUTH.size:
            raise LocalProtocolError(
                f"{len(self.params)} bytes of parameters do not fit CLIENT_AUTH"
            )
        head = _AUTH.pack(self.kind, self.public_key, self.signature, len(self.params))
        return (head + self.params).ljust(AUTH_PLAINTEXT, b"\0")

    @classmethod
    def decode(cls, raw: bytes) -> ClientAuth:
        """Parse the 256 bytes.

        Raises:
            RemoteProtocolError: malformed, with close code 4401.
        """
        kind, public_key, signature, size = _AUTH.unpack_from(raw)
        if kind not in {KIND_ANONYMOUS, KIND_ED25519}:
            raise RemoteProtocolError(f"unknown client kind {kind}", CLOSE_CLIENT_AUTH)
        end = _AUTH.size + size
        if end > len(raw) or any(raw[end:]):
            raise RemoteProtocolError("CLIENT_AUTH parameters overrun", CLOSE_CLIENT_AUTH)
        if kind == KIND_ANONYMOUS and any(public_key + signature):
            raise RemoteProtocolError("an anonymous client sent a key", CLOSE_CLIENT_AUTH)
        return cls(kind, public_key, signature, raw[_AUTH.size : end])


def sealed_client_auth(raw: bytes) -> bytes:
    """The ciphertext inside a CLIENT_AUTH message.

    Raises:
        RemoteProtocolError: another type or size.
    """
    if len(raw) != CLIENT_AUTH_BYTES or raw[0] != TYPE_CLIENT_AUTH:
        raise RemoteProtocolError(f"expected CLIENT_AUTH, got a message of {len(raw)} bytes")
    return raw[1:]


def seal_client_auth(ciphertext: bytes) -> bytes:
    """The CLIENT_AUTH message around its ciphertext."""
    return bytes([TYPE_CLIENT_AUTH]) + ciphertext


def _extensions(kind: int, value: bytes | None) -> bytes:
    return b"" if value is None else encode_tlv({kind: value})


def _check_hello(raw: bytes, kind: int, least: int, name: str) -> None:
    if len(raw) > MAX_HELLO:
        raise RemoteProtocolError(f"{name} of {len(raw)} bytes", CLOSE_TOO_LARGE)
    if len(raw) < least or raw[0] != kind:
        raise RemoteProtocolError(f"expected {name}, got a message of {len(raw)} bytes")
