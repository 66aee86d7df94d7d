"""wire.md, Key schedule, against a second computation straight from its formulas."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from cocoon_sdk.protocol.keyschedule import (
    derive,
    handshake_keys,
    session_keys,
    transcript_hash,
)

parts = st.lists(st.binary(max_size=40), max_size=4)


def h(*parts: bytes) -> bytes:
    message = b"".join(len(part).to_bytes(4, "little") + part for part in parts)
    return hashlib.blake2b(message, digest_size=32).digest()


def kdf(key: bytes, label: str, data: bytes, size: int = 32) -> bytes:
    message = bytes([len(label)]) + label.encode() + data
    return hashlib.blake2b(message, key=key, digest_size=size).digest()


@given(parts, parts)
def test_transcripts_are_equal_only_if_all_parts_are(one: list[bytes], two: list[bytes]) -> None:
    assert transcript_hash(*one) == h(*one)
    assert (transcript_hash(*one) == transcript_hash(*two)) == (one == two)


def test_labels_and_data_do_not_run_into_each_other() -> None:
    key = bytes(32)
    assert derive(key, b"ab", b"c") != derive(key, b"a", b"bc")
    assert derive(key, b"a", size=16) != derive(key, b"a")[:16]


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=1, max_size=64))
def test_every_key_by_its_formula(th: bytes, shared: bytes) -> None:
    hs = kdf(th, "hs", shared)
    handshake = handshake_keys(th, shared)
    assert tuple(handshake) == (hs, kdf(hs, "s-hs", th), kdf(hs, "c-hs", th))
    keys = session_keys(hs, th)
    app = kdf(hs, "app", th)
    assert keys._asdict() == {
        "c2s": kdf(app, "c2s", b""),
        "s2c": kdf(app, "s2c", b""),
        "exporter": kdf(app, "exp", b""),
        "session_id": kdf(app, "sid", b"", 16),
        "transcript": th,
    }


def test_keys_are_never_shown() -> None:
    handshake = handshake_keys(b"t" * 32, b"s" * 32)
    keys = session_keys(handshake.secret, b"t" * 32)
    text = f"{handshake} {handshake!r} {keys} {keys!r} {[handshake, keys]}"
    for secret in (*handshake, keys.c2s, keys.s2c, keys.exporter):
        assert secret.hex() not in text
        assert repr(secret)[2:-1] not in text
    assert keys.session_id.hex() in text
