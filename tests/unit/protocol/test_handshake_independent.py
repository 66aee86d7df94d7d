"""The handshake against a second implementation: `cryptography` and hashlib, written from the layout.

It plays the server against our client and the client against our server, with random inputs.
"""

from __future__ import annotations

import hashlib
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.protocol.errors import LocalProtocolError
from cocoon_sdk.protocol.handshake import ClientHandshake, ServerHandshake

seeds = st.binary(min_size=32, max_size=32)
params = st.binary(max_size=157)


def lp(*parts: bytes) -> bytes:
    joined = b"".join(struct.pack("<I", len(part)) + part for part in parts)
    return hashlib.blake2b(joined, digest_size=32).digest()


def kdf(key: bytes, label: bytes, data: bytes = b"", size: int = 32) -> bytes:
    return hashlib.blake2b(bytes([len(label)]) + label + data, key=key, digest_size=size).digest()


def raw(key: X25519PrivateKey | Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def final_keys(hs: bytes, th3: bytes) -> tuple[bytes, ...]:
    app = kdf(hs, b"app", th3)
    parts = (kdf(app, b"c2s"), kdf(app, b"s2c"), kdf(app, b"exp"), kdf(app, b"sid", size=16))
    return (*parts, th3)


@settings(max_examples=30, deadline=None)
@given(
    seeds,
    seeds,
    seeds,
    seeds,
    params,
    st.binary(max_size=40),
    st.booleans(),
    st.sampled_from([1, 2]),
)
def test_our_client_meets_an_independent_server(
    identity: bytes,
    voucher: bytes,
    client_eph: bytes,
    server_eph: bytes,
    client_params: bytes,
    server_params: bytes,
    anonymous: bool,
    suite: int,
) -> None:
    provider = Ed25519PrivateKey.from_private_bytes(identity)
    client = ClientHandshake(
        provider_id=raw(provider),
        signer=None if anonymous else Ed25519Key(voucher),
        params=client_params,
        random=lambda size: (client_eph * 2)[:size],
        suites=range(1, suite + 1),
    )
    hello = client.hello
    assert hello[:8] == bytes([1, 1, 1, 0, 2**suite - 1, 0, 0, 0])
    assert hello[40:72] == raw(provider)
    assert hello[72:112] == bytes(40)  # neither registry version nor digest in the clear

    ephemeral = X25519PrivateKey.from_private_bytes(server_eph)
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(hello[8:40]))
    extensions = b""
    if suite == 2:
        assert hello[112:118] == struct.pack("<HHH", 1188, 1, 1184)
        encapsulated = MLKEM768PublicKey.from_public_bytes(hello[118:]).encapsulate()
        shared += encapsulated[0]
        extensions = struct.pack("<HH", 2, 1088) + encapsulated[1]
    else:
        assert hello[112:] == bytes(2)
    clear = bytes([2, 1, suite, 0]) + raw(ephemeral)
    clear += struct.pack("<H", len(extensions)) + extensions
    th1 = lp(b"cocoon-e2e/1", hello, clear)
    hs = kdf(th1, b"hs", shared)
    signature = provider.sign(b"cocoon/1 server-auth\0" + th1)
    auth = ChaCha20Poly1305(kdf(hs, b"s-hs", th1)).encrypt(
        bytes(12), signature + server_params, th1
    )
    result = client.finish(clear + auth)

    th2 = lp(th1, auth)
    assert len(result.client_auth) == 273
    assert result.client_auth[0] == 3
    plain = ChaCha20Poly1305(kdf(hs, b"c-hs", th1)).decrypt(bytes(12), result.client_auth[1:], th2)
    assert len(plain) == 256
    assert plain[97:] == (struct.pack("<H", len(client_params)) + client_params).ljust(159, b"\0")
    if anonymous:
        assert plain[:97] == bytes(97)
    else:
        key = Ed25519PrivateKey.from_private_bytes(voucher)
        assert plain[:33] == b"\1" + raw(key)
        key.public_key().verify(plain[33:97], b"cocoon/1 client-auth\0" + th2)
    assert (result.server_params, result.suite) == (server_params, suite)
    assert tuple(result.keys) == final_keys(hs, lp(th2, result.client_auth[1:]))


@settings(max_examples=30, deadline=None)
@given(seeds, seeds, seeds, seeds, params, st.booleans(), st.sampled_from([1, 2]))
def test_our_server_meets_an_independent_client(
    identity: bytes,
    voucher: bytes,
    client_eph: bytes,
    server_eph: bytes,
    client_params: bytes,
    require_auth: bool,
    suite: int,
) -> None:
    provider = Ed25519Key(identity)
    server = ServerHandshake(
        identity=provider, params=b"sp", random=lambda _: server_eph, require_auth=require_auth
    )
    ephemeral = X25519PrivateKey.from_private_bytes(client_eph)
    kem = MLKEM768PrivateKey.from_seed_bytes(client_eph + voucher)
    extensions = struct.pack("<HH", 0x7777, 3) + b"ext"
    if suite == 2:
        extensions = struct.pack("<HH", 1, 1184) + kem.public_key().public_bytes_raw() + extensions
    hello = (
        bytes([1, 0, 9, 0])
        + struct.pack("<I", 0xFFFF0000 | 2**suite - 1)  # suites that nobody knows yet are ignored
        + raw(ephemeral)
        + provider.public_key
        + struct.pack("<Q", 42)
        + bytes(32)
        + struct.pack("<H", len(extensions))
        + extensions
    )
    reply, pending = server.respond(hello)
    split = 38 if suite == 1 else 38 + 4 + 1088
    clear, auth = reply[:split], reply[split:]
    assert clear[:4] == bytes([2, 1, suite, int(require_auth)])
    assert clear[36:42] == (bytes(2) if suite == 1 else struct.pack("<HHH", 1092, 2, 1088))
    th1 = lp(b"cocoon-e2e/1", hello, clear)
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(clear[4:36]))
    if suite == 2:
        shared += kem.decapsulate(clear[42:])
    hs = kdf(th1, b"hs", shared)
    plain = ChaCha20Poly1305(kdf(hs, b"s-hs", th1)).decrypt(bytes(12), auth, th1)
    Ed25519PrivateKey.from_private_bytes(identity).public_key().verify(
        plain[:64], b"cocoon/1 server-auth\0" + th1
    )
    assert plain[64:] == b"sp"

    th2 = lp(th1, auth)
    key = Ed25519PrivateKey.from_private_bytes(voucher)
    signature = key.sign(b"cocoon/1 client-auth\0" + th2)
    inner = b"\1" + raw(key) + signature + struct.pack("<H", len(client_params)) + client_params
    sealed = ChaCha20Poly1305(kdf(hs, b"c-hs", th1)).encrypt(
        bytes(12), inner.ljust(256, b"\0"), th2
    )
    result = pending.finish(b"\3" + sealed)
    assert result.client_key == raw(key)
    assert (result.client_params, result.suite) == (client_params, suite)
    assert tuple(result.keys) == final_keys(hs, lp(th2, sealed))


def test_the_representation_of_keys_shows_none() -> None:
    provider = Ed25519Key(b"p" * 32)
    client = ClientHandshake(
        provider_id=provider.public_key, signer=None, params=b"", random=lambda n: b"c" * n
    )
    server = ServerHandshake(
        identity=provider, params=b"", random=lambda n: b"s" * n, require_auth=False
    )
    hello, pending = server.respond(client.hello)
    result = pending.finish(client.finish(hello).client_auth)
    keys = result.keys
    assert keys.session_id.hex() in repr(result)
    for secret in (keys.c2s, keys.s2c, keys.exporter):
        assert repr(secret) not in repr(result)
    for secret in pending.keys:
        assert repr(secret) not in repr(pending)


def test_parameters_that_do_not_fit() -> None:
    provider = Ed25519Key(b"p" * 32)
    client = ClientHandshake(
        provider_id=provider.public_key, signer=None, params=bytes(158), random=lambda n: b"c" * n
    )
    server = ServerHandshake(
        identity=provider, params=b"", random=lambda n: b"s" * n, require_auth=False
    )
    with pytest.raises(LocalProtocolError, match="158 bytes of parameters"):
        client.finish(server.respond(client.hello)[0])
