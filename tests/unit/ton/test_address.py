"""Addresses: what real wallets print is read back; everything else is refused."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.ton.address import Address

ELECTOR_RAW = "-1:3333333333333333333333333333333333333333333333333333333333333333"
ELECTOR_FRIENDLY = "Ef8zMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzM0vF"


def test_a_known_address_in_both_forms() -> None:
    assert Address.parse(ELECTOR_FRIENDLY) == Address.parse(ELECTOR_RAW)
    assert Address.parse(ELECTOR_RAW).friendly() == ELECTOR_FRIENDLY
    assert Address.parse(ELECTOR_RAW).raw == ELECTOR_RAW


@given(
    st.sampled_from([0, -1]),
    st.binary(min_size=32, max_size=32),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_friendly_round_trip(
    workchain: int, digest: bytes, bounceable: bool, testnet: bool, standard: bool
) -> None:
    address = Address(workchain, digest)
    text = address.friendly(bounceable=bounceable, testnet=testnet)
    if standard:
        text = text.replace("-", "+").replace("_", "/")
    assert Address.parse(text) == address
    assert Address.parse(address.raw) == address


def _with_checksum(packed: bytes) -> str:
    import binascii

    checksum = binascii.crc_hqx(packed, 0).to_bytes(2, "big")
    return base64.urlsafe_b64encode(packed + checksum).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0:12",
        "0:" + "g" * 64,
        "0:" + "0" * 63,
        "0:" + "0" * 65,
        "1:" + "0" * 64,
        "00:" + "0" * 64,
        "+0:" + "0" * 64,
        " 0:" + "0" * 64,
        "0:" + "0" * 64 + "\n",
        "0:" + "\u0660" * 64,
        ELECTOR_FRIENDLY + "=",
        ELECTOR_FRIENDLY[:-1],
        ELECTOR_FRIENDLY[:-1] + "E",
        ELECTOR_FRIENDLY[:20] + "\n" + ELECTOR_FRIENDLY[20:],
        "Ef9zMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzM0vF",
        _with_checksum(b"\x11\x01" + bytes(32)),
        _with_checksum(b"\x12\x00" + bytes(32)),
        "+_" * 24,
    ],
)
def test_odd_text_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Address.parse(text)


@pytest.mark.parametrize(("workchain", "digest"), [(0, b""), (0, bytes(33)), (128, bytes(32))])
def test_odd_parts_are_refused(workchain: int, digest: bytes) -> None:
    with pytest.raises(ConfigError):
        Address(workchain, digest)
