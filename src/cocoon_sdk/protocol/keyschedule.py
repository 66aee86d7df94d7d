"""Transcript hashes and key derivation (wire.md, "Key schedule")."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

_KEY_BYTES = 32
_SESSION_ID_BYTES = 16


class HandshakeKeys(NamedTuple):
    """Secrets of one handshake. Each AEAD key seals one message, so its nonce may be 0."""

    secret: bytes
    server: bytes
    client: bytes

    def __repr__(self) -> str:
        return "HandshakeKeys(...)"


class SessionKeys(NamedTuple):
    """What a finished handshake leaves behind."""

    c2s: bytes
    s2c: bytes
    exporter: bytes
    session_id: bytes
    transcript: bytes

    def __repr__(self) -> str:
        return f"SessionKeys(session_id={self.session_id.hex()})"


def transcript_hash(*parts: bytes) -> bytes:
    """H: BLAKE2b-256 over the parts, each behind its length as u32."""
    state = hashlib.blake2b(digest_size=_KEY_BYTES)
    for part in parts:
        state.update(len(part).to_bytes(4, "little"))
        state.update(part)
    return state.digest()


def derive(key: bytes, label: bytes, data: bytes = b"", *, size: int = _KEY_BYTES) -> bytes:
    """KDF: keyed BLAKE2b over the label, behind its length as u8, and the data."""
    return hashlib.blake2b(
        len(label).to_bytes(1, "little") + label + data, key=key, digest_size=size
    ).digest()


def handshake_keys(th1: bytes, shared: bytes) -> HandshakeKeys:
    """From the first transcript hash and the shared secret."""
    secret = derive(th1, b"hs", shared)
    return HandshakeKeys(secret, derive(secret, b"s-hs", th1), derive(secret, b"c-hs", th1))


def session_keys(handshake_secret: bytes, th3: bytes) -> SessionKeys:
    """From the handshake secret and the last transcript hash."""
    app = derive(handshake_secret, b"app", th3)
    return SessionKeys(
        c2s=derive(app, b"c2s"),
        s2c=derive(app, b"s2c"),
        exporter=derive(app, b"exp"),
        session_id=derive(app, b"sid", size=_SESSION_ID_BYTES),
        transcript=th3,
    )
