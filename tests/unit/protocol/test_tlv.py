from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cocoon_sdk.protocol.constants import CLOSE_CLIENT_AUTH, CLOSE_PROTOCOL
from cocoon_sdk.protocol.errors import RemoteProtocolError
from cocoon_sdk.protocol.tlv import decode_tlv, encode_tlv


def test_layout() -> None:
    assert encode_tlv({0x0102: b"ab", 1: b""}) == bytes.fromhex("0100 0000 0201 0200 6162")


@given(st.dictionaries(st.integers(0, 0xFFFF), st.binary(max_size=300), max_size=10))
def test_round_trip(items: dict[int, bytes]) -> None:
    assert decode_tlv(encode_tlv(items)) == items


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ("00", "cut off"),
        ("010000", "cut off"),
        ("01000100", "overruns"),
        ("0100020061", "overruns"),
        ("01000000 01000000", "strictly increase"),
        ("02000000 01000000", "strictly increase"),
        ("01000100ff 01", "cut off"),
    ],
)
def test_malformed(raw: str, complaint: str) -> None:
    with pytest.raises(RemoteProtocolError, match=complaint) as caught:
        decode_tlv(bytes.fromhex(raw))
    assert caught.value.close_code == CLOSE_PROTOCOL
    with pytest.raises(RemoteProtocolError) as caught:
        decode_tlv(bytes.fromhex(raw), CLOSE_CLIENT_AUTH)
    assert caught.value.close_code == CLOSE_CLIENT_AUTH


@given(st.binary(max_size=60))
def test_decoding_is_canonical(raw: bytes) -> None:
    try:
        items = decode_tlv(raw)
    except RemoteProtocolError:
        return
    assert encode_tlv(items) == raw
