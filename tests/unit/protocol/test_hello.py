"""The layouts of the handshake messages, byte by byte, and what is refused before any key is touched."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cocoon_sdk.protocol.constants import CLOSE_CLIENT_AUTH, CLOSE_PROTOCOL, CLOSE_TOO_LARGE
from cocoon_sdk.protocol.errors import LocalProtocolError, RemoteProtocolError
from cocoon_sdk.protocol.hello import (
    ClientAuth,
    ClientHello,
    ServerHello,
    seal_client_auth,
    sealed_client_auth,
)
from cocoon_sdk.protocol.tlv import encode_tlv

bytes32 = st.binary(min_size=32, max_size=32)
HELLO = ClientHello(1, 1, 1, b"e" * 32, b"p" * 32).encode()
CLEAR = ServerHello.encode_clear(1, 1, auth_required=True, ephemeral=b"E" * 32)
SERVER = CLEAR + b"a" * 80


def with_extensions(hello: bytes, size: int, extensions: bytes, rest: bytes = b"") -> bytes:
    return hello[: size - 2] + struct.pack("<H", len(extensions)) + extensions + rest


def test_client_hello_layout() -> None:
    raw = ClientHello(1, 3, 0x01020304, b"e" * 32, b"p" * 32, 7, b"d" * 32).encode()
    assert raw == (
        b"\x01\x01\x03\x00" + b"\x04\x03\x02\x01" + b"e" * 32 + b"p" * 32
        + b"\x07" + bytes(7) + b"d" * 32 + b"\0\0"
    )  # fmt: skip
    assert len(raw) == 114


def test_the_registry_is_no_fingerprint_in_the_clear() -> None:
    assert HELLO[72:] == bytes(42)


def test_server_hello_layout() -> None:
    assert CLEAR == b"\x02\x01\x01\x01" + b"E" * 32 + b"\0\0"
    assert len(CLEAR) == 38
    assert ServerHello.encode_clear(1, 1, auth_required=False, ephemeral=bytes(32))[3] == 0


@given(
    st.builds(
        ClientHello,
        *(st.integers(0, 255), st.integers(0, 255), st.integers(0, 2**32 - 1)),
        *(bytes32, bytes32, st.integers(0, 2**64 - 1), bytes32),
    )
)
def test_client_hellos_round_trip(hello: ClientHello) -> None:
    assert ClientHello.decode(hello.encode()) == hello


def test_unknown_extensions_are_ignored_and_stay_in_the_transcript() -> None:
    extensions = encode_tlv({7: b"x", 99: b""})
    known = ClientHello.decode(with_extensions(HELLO, 114, extensions))
    assert known == ClientHello.decode(HELLO)
    hello = ServerHello.decode(with_extensions(CLEAR, 38, extensions, b"a" * 80))
    assert hello.clear == with_extensions(CLEAR, 38, extensions)
    assert (hello.auth, hello.auth_required) == (b"a" * 80, True)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", CLOSE_PROTOCOL),
        (HELLO[:-1], CLOSE_PROTOCOL),
        (HELLO + b"\0", CLOSE_PROTOCOL),
        (b"\x02" + HELLO[1:], CLOSE_PROTOCOL),
        (HELLO[:3] + b"\x01" + HELLO[4:], CLOSE_PROTOCOL),
        (HELLO[:3] + b"\x80" + HELLO[4:], CLOSE_PROTOCOL),
        (HELLO[:112] + b"\x01\0", CLOSE_PROTOCOL),
        (with_extensions(HELLO, 114, b"\x07\0\x05\0x"), CLOSE_PROTOCOL),
        (with_extensions(HELLO, 114, encode_tlv({7: b""}) * 2), CLOSE_PROTOCOL),
        (with_extensions(HELLO, 114, encode_tlv({7: bytes(4096)})), CLOSE_TOO_LARGE),
    ],
)
def test_client_hellos_that_are_refused(raw: bytes, code: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        ClientHello.decode(raw)
    assert caught.value.close_code == code


def test_the_largest_hello() -> None:
    room = 4096 - 114 - 4
    assert ClientHello.decode(with_extensions(HELLO, 114, encode_tlv({7: bytes(room)}))).suites == 1
    with pytest.raises(RemoteProtocolError):
        ClientHello.decode(with_extensions(HELLO, 114, encode_tlv({7: bytes(room + 1)})))


@pytest.mark.parametrize(
    "raw",
    [
        SERVER[:-1],
        b"\x01" + SERVER[1:],
        SERVER[:3] + b"\x03" + SERVER[4:],
        SERVER[:36] + b"\x01\0" + SERVER[38:],  # the extensions eat into the signature
        with_extensions(CLEAR, 38, b"\x02\0\xff\xffx", b"a" * 80),
        with_extensions(CLEAR, 38, b"", b"a" * 4096),
    ],
)
def test_server_hellos_that_are_refused(raw: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        ServerHello.decode(raw)


def test_client_auth_layout() -> None:
    raw = ClientAuth(1, b"k" * 32, b"s" * 64, b"params").encode()
    assert raw == b"\x01" + b"k" * 32 + b"s" * 64 + b"\x06\0" + b"params" + bytes(151)
    assert ClientAuth.decode(raw) == ClientAuth(1, b"k" * 32, b"s" * 64, b"params")
    assert len(ClientAuth(0, bytes(32), bytes(64), b"").encode()) == len(raw) == 256


def test_parameters_fill_client_auth_and_no_more() -> None:
    full = ClientAuth(1, b"k" * 32, b"s" * 64, b"p" * 157)
    assert ClientAuth.decode(full.encode()) == full
    with pytest.raises(LocalProtocolError, match="158 bytes"):
        full._replace(params=b"p" * 158).encode()


AUTH = ClientAuth(1, b"k" * 32, b"s" * 64, b"p" * 3).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"\x02" + AUTH[1:],
        AUTH[:97] + struct.pack("<H", 158) + AUTH[99:],
        AUTH[:97] + b"\x02\0" + AUTH[99:],  # the last byte of the parameters is no padding
        AUTH[:-1] + b"\x01",
        b"\x00" + AUTH[1:],
        ClientAuth(0, b"k" + bytes(31), bytes(64), b"").encode(),
        ClientAuth(0, bytes(32), bytes(63) + b"s", b"").encode(),
    ],
)
def test_client_auths_that_are_refused(raw: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        ClientAuth.decode(raw)
    assert caught.value.close_code == CLOSE_CLIENT_AUTH


def test_the_sealed_message_is_always_273_bytes() -> None:
    sealed = bytes(range(256)) + bytes(16)
    message = seal_client_auth(sealed)
    assert (len(message), message[0]) == (273, 3)
    assert sealed_client_auth(message) == sealed
    for wrong in (message[:-1], message + b"\0", b"\x01" + message[1:], b""):
        with pytest.raises(RemoteProtocolError):
            sealed_client_auth(wrong)
