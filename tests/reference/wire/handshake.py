"""The handshake messages and the keys, computed with the secrets of both sides at hand."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

SERVER_LABEL = b"cocoon/1 server-auth\0"
CLIENT_LABEL = b"cocoon/1 client-auth\0"


def seeded(label: str, size: int = 32) -> bytes:
    """Reproducible bytes for a label."""
    return hashlib.shake_256(f"cocoon-e2e/1 vectors: {label}".encode()).digest(size)


def h(*parts: bytes) -> bytes:
    joined = b"".join(struct.pack("<I", len(part)) + part for part in parts)
    return hashlib.blake2b(joined, digest_size=32).digest()


def kdf(key: bytes, label: bytes, data: bytes = b"", size: int = 32) -> bytes:
    return hashlib.blake2b(bytes([len(label)]) + label + data, key=key, digest_size=size).digest()


def tlv(items: Mapping[int, bytes]) -> bytes:
    """In the order given, right or wrong."""
    return b"".join(struct.pack("<HH", k, len(v)) + v for k, v in items.items())


def x25519_public(secret: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def x25519(secret: bytes, point: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(secret).exchange(
        X25519PublicKey.from_public_bytes(point)
    )


def ed25519_public(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def ed25519_sign(seed: bytes, message: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def mlkem_public(seed: bytes) -> bytes:
    """The 1,184-byte encapsulation key that FIPS 203 derives from the 64 bytes d || z."""
    return MLKEM768PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw()


def mlkem_decapsulate(seed: bytes, ciphertext: bytes) -> bytes:
    return MLKEM768PrivateKey.from_seed_bytes(seed).decapsulate(ciphertext)


def seal(key: bytes, plaintext: bytes, ad: bytes) -> bytes:
    """ChaCha20-Poly1305 with nonce 0: each handshake key seals one message."""
    return ChaCha20Poly1305(key).encrypt(bytes(12), plaintext, ad)


@dataclass(frozen=True)
class ClientHello:
    """The fields of CLIENT_HELLO; every one may be set wrong."""

    ephemeral: bytes
    provider_id: bytes
    kind: int = 1
    versions: tuple[int, int] = (1, 1)
    flags: int = 0
    suites: int = 1
    registry_version: int = 0
    registry_digest: bytes = bytes(32)
    extensions: bytes = b""
    ext_len: int | None = None

    def encode(self) -> bytes:
        size = len(self.extensions) if self.ext_len is None else self.ext_len
        head = bytes([self.kind, *self.versions, self.flags]) + struct.pack("<I", self.suites)
        registry = struct.pack("<Q", self.registry_version) + self.registry_digest
        tail = struct.pack("<H", size) + self.extensions
        return head + self.ephemeral + self.provider_id + registry + tail


@dataclass(frozen=True)
class ServerHello:
    """The fields of SERVER_HELLO's clear part."""

    ephemeral: bytes
    kind: int = 2
    version: int = 1
    suite: int = 1
    flags: int = 0
    extensions: bytes = b""
    ext_len: int | None = None

    def encode(self) -> bytes:
        size = len(self.extensions) if self.ext_len is None else self.ext_len
        head = bytes([self.kind, self.version, self.suite, self.flags])
        return head + self.ephemeral + struct.pack("<H", size) + self.extensions


@dataclass(frozen=True)
class AuthPlaintext:
    """The 256 bytes inside CLIENT_AUTH."""

    kind: int = 0
    key: bytes = bytes(32)
    signature: bytes = bytes(64)
    params: bytes = b""
    params_len: int | None = None
    tail: bytes = b""

    def encode(self) -> bytes:
        size = len(self.params) if self.params_len is None else self.params_len
        head = bytes([self.kind]) + self.key + self.signature + struct.pack("<H", size)
        used = len(head) + len(self.params) + len(self.tail)
        return head + self.params + bytes(256 - used) + self.tail


@dataclass
class Schedule:
    """Every value of wire.md, "Key schedule", as far as the handshake has come."""

    client_hello: bytes
    server_clear: bytes
    shared: bytes
    th1: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.th1 = h(b"cocoon-e2e/1", self.client_hello, self.server_clear)
        self.hs = kdf(self.th1, b"hs", self.shared)
        self.k_s_hs = kdf(self.hs, b"s-hs", self.th1)
        self.k_c_hs = kdf(self.hs, b"c-hs", self.th1)

    def seal_server(self, plaintext: bytes) -> bytes:
        """The sealed part of SERVER_HELLO."""
        self.auth = seal(self.k_s_hs, plaintext, self.th1)
        self.th2 = h(self.th1, self.auth)
        return self.auth

    def seal_client(self, plaintext: bytes) -> bytes:
        """The sealed part of CLIENT_AUTH."""
        self.client_sealed = seal(self.k_c_hs, plaintext, self.th2)
        self.th3 = h(self.th2, self.client_sealed)
        app = kdf(self.hs, b"app", self.th3)
        self.c2s, self.s2c = kdf(app, b"c2s"), kdf(app, b"s2c")
        self.exporter, self.session_id = kdf(app, b"exp"), kdf(app, b"sid", size=16)
        return self.client_sealed
