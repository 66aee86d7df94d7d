"""The channel's cells: addresses follow from the terms, data is read strictly, bodies fit."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cocoon_sdk.errors import ChainDataError, ConfigError
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Builder, cell_to_boc
from cocoon_sdk.ton.contract.channel import (
    CODE_HASH,
    ChannelData,
    ChannelTerms,
    Op,
    channel_address,
    close_auth_cell,
    code_cell,
    coop_close_body,
    data_cell,
    parse_channel_data,
    provider_close_body,
    redeem_body,
    signing_input,
    state_init,
    voucher_cell,
)

CLIENT = Address(0, b"\x01" * 32)
PROVIDER = Address(0, b"\x02" * 32)
TERMS = ChannelTerms(b"\x03" * 32, b"\x04" * 32, 86_400, 7)
LARGEST = (1 << 120) - 1


def test_the_code_is_the_committed_one() -> None:
    assert code_cell().hash == CODE_HASH
    assert len(cell_to_boc(code_cell())) < 1_500


def test_every_term_and_party_changes_the_address() -> None:
    addresses = {
        channel_address(TERMS, CLIENT, PROVIDER),
        channel_address(TERMS, PROVIDER, CLIENT),
        channel_address(TERMS, CLIENT, CLIENT),
        *(
            channel_address(dataclasses.replace(TERMS, **change), CLIENT, PROVIDER)
            for change in (
                {"client_key": bytes(32)},
                {"provider_key": bytes(32)},
                {"close_delay": 1},
                {"salt": 8},
            )
        ),
    }
    assert len(addresses) == 7
    assert {address.workchain for address in addresses} == {0}


def test_the_address_is_the_hash_of_code_and_unopened_data() -> None:
    init = state_init(TERMS, CLIENT, PROVIDER)
    assert channel_address(TERMS, CLIENT, PROVIDER).hash == init.hash
    code, data = init.refs
    assert code.hash == CODE_HASH
    assert parse_channel_data(cell_to_boc(data)) == ChannelData(0, 0, 0, CLIENT, PROVIDER, TERMS)


@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, LARGEST),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**64 - 1),
)
def test_data_round_trips(epoch: int, close_at: int, redeemed: int, key: bytes, salt: int) -> None:
    terms = ChannelTerms(key, key[::-1], close_at, salt)
    data = ChannelData(epoch, close_at, redeemed, CLIENT, PROVIDER, terms)
    assert parse_channel_data(cell_to_boc(data_cell(data))) == data


def test_odd_data_is_refused() -> None:
    whole = data_cell(ChannelData(1, 0, 0, CLIENT, PROVIDER, TERMS))
    terms = whole.refs[0]
    no_party = Builder().store_uint(1, 64).store_uint(0, 32).store_coins(0)
    no_party.store_address(None).store_address(PROVIDER).store_ref(terms)
    bits = whole.begin_parse().load_uint(whole.bit_length)
    for cell in (
        Builder().end_cell(),
        Builder().store_cell(whole).store_uint(0, 1).end_cell(),
        Builder().store_cell(whole).store_ref(terms).end_cell(),
        Builder().store_uint(bits, whole.bit_length).end_cell(),
        Builder().store_uint(bits >> 1, whole.bit_length - 1).store_ref(terms).end_cell(),
        Builder()
        .store_uint(bits, whole.bit_length)
        .store_ref(Builder().store_cell(terms).store_uint(0, 1).end_cell())
        .end_cell(),
        no_party.end_cell(),
    ):
        with pytest.raises(ChainDataError):
            parse_channel_data(cell_to_boc(cell))
    with pytest.raises(ChainDataError):
        parse_channel_data(b"junk")


def test_odd_terms_are_refused() -> None:
    for change in (
        {"client_key": bytes(31)},
        {"provider_key": b""},
        {"close_delay": -1},
        {"close_delay": 1 << 32},
        {"salt": 1 << 64},
    ):
        with pytest.raises(ConfigError):
            dataclasses.replace(TERMS, **change)
    for parties in ((Address(-1, bytes(32)), PROVIDER), (CLIENT, Address(-1, bytes(32)))):
        with pytest.raises(ConfigError):
            channel_address(TERMS, *parties)


def test_signed_bytes_are_49_and_differ_by_kind() -> None:
    channel = channel_address(TERMS, CLIENT, PROVIDER)
    voucher = voucher_cell(-217, channel, 5, 10)
    auth = close_auth_cell(-217, channel, 5, 10)
    assert signing_input(voucher) == b"cocoon-channel-v1" + voucher.hash
    assert len(signing_input(voucher)) == 49
    assert signing_input(voucher) != signing_input(auth)
    assert voucher.begin_parse().load_bytes(4) == b"CNV1"
    assert auth.begin_parse().load_bytes(4) == b"CNC1"


def test_bodies_fit_with_the_largest_amounts() -> None:
    voucher = voucher_cell(-(2**31), CLIENT, 2**64 - 1, LARGEST)
    for op, body in (
        (Op.REDEEM, redeem_body(2**64 - 1, LARGEST, bytes(64), voucher)),
        (Op.PROVIDER_CLOSE, provider_close_body(2**64 - 1, LARGEST, bytes(64), voucher)),
        (Op.COOP_CLOSE, coop_close_body(2**64 - 1, bytes(64), voucher)),
    ):
        assert body.begin_parse().load_uint(32) == op
        assert body.refs == (voucher,)


def test_halves_of_a_signed_promise_are_refused() -> None:
    voucher = voucher_cell(-217, CLIENT, 1, 1)
    with pytest.raises(ConfigError):
        redeem_body(0, 1, bytes(63), voucher)
    with pytest.raises(ConfigError):
        provider_close_body(0, 1, bytes(64), None)
    with pytest.raises(ConfigError):
        provider_close_body(0, 1, None, voucher)
    assert provider_close_body(0, 1).refs == ()
