from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cocoon_sdk.protocol.constants import CLOSE_CLIENT_AUTH, MAX_PLAINTEXT
from cocoon_sdk.protocol.errors import LocalProtocolError, RemoteProtocolError
from cocoon_sdk.protocol.padding import PaddingPolicy
from cocoon_sdk.protocol.params import (
    ChannelId,
    ClientParams,
    RegistryRef,
    decode_server_params,
    encode_server_params,
)
from cocoon_sdk.protocol.tlv import encode_tlv

hash32 = st.binary(min_size=32, max_size=32)
channels = st.builds(ChannelId, st.integers(-(2**31), 2**31 - 1), hash32)
registries = st.builds(
    RegistryRef, st.binary(min_size=8, max_size=32), st.integers(0, 2**64 - 1), hash32
)
client_params = st.builds(
    ClientParams,
    st.none() | channels,
    st.sampled_from(PaddingPolicy),
    st.none() | registries,
)


@given(client_params)
def test_round_trip(params: ClientParams) -> None:
    raw = params.encode()
    assert len(raw) <= 157  # what CLIENT_AUTH has room for
    assert ClientParams.decode(raw) == params


def test_layout() -> None:
    raw = ClientParams(ChannelId(-1, b"c" * 32), registry=RegistryRef(b"r" * 8, 5, b"d" * 32))
    assert raw.encode() == (
        b"\x01\0\x24\0" + b"\xff\xff\xff\xff" + b"c" * 32
        + b"\x04\0\x30\0" + b"\x05" + bytes(7) + b"d" * 32 + b"r" * 8
    )  # fmt: skip
    assert ClientParams().encode() == b""
    assert ClientParams(padding=PaddingPolicy.OFF).encode() == b"\x03\0\x01\0\x02"


def test_unknown_and_unwanted_parameters_are_ignored() -> None:
    assert ClientParams.decode(encode_tlv({2: b"app/1.0", 99: b"?"})) == ClientParams()
    assert decode_server_params(encode_tlv({2: b"?"})) == MAX_PLAINTEXT


@pytest.mark.parametrize(
    "items",
    [
        {1: bytes(35)},
        {1: bytes(37)},
        {3: b""},
        {3: b"\0\0"},
        {3: b"\3"},
        {4: bytes(47)},
        {4: bytes(73)},
    ],
)
def test_malformed_client_parameters(items: dict[int, bytes]) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        ClientParams.decode(encode_tlv(items))
    assert caught.value.close_code == CLOSE_CLIENT_AUTH


@pytest.mark.parametrize(
    "params",
    [
        ClientParams(ChannelId(0, bytes(31))),
        ClientParams(ChannelId(2**31, bytes(32))),
        ClientParams(registry=RegistryRef(bytes(7), 0, bytes(32))),
        ClientParams(registry=RegistryRef(bytes(33), 0, bytes(32))),
        ClientParams(registry=RegistryRef(bytes(8), -1, bytes(32))),
        ClientParams(registry=RegistryRef(bytes(8), 0, bytes(31))),
    ],
)
def test_our_own_mistakes_are_local(params: ClientParams) -> None:
    with pytest.raises(LocalProtocolError):
        params.encode()


@pytest.mark.parametrize(
    ("announced", "used"),
    [(1024, 1024), (1025, 1024), (40_000, 32_768), (65_536, 65_536), (2**32 - 1, 65_536)],
)
def test_the_servers_record_size_rounds_down_to_a_bucket(announced: int, used: int) -> None:
    assert decode_server_params(encode_server_params(announced)) == used


@pytest.mark.parametrize("value", [b"", b"\0\0\1", bytes(4), (1023).to_bytes(4, "little")])
def test_unusable_record_sizes(value: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_server_params(encode_tlv({1: value}))
