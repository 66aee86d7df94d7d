"""Every check of a channel that is shown to us for the first time (payments.md §3)."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import pytest

from cocoon_provider.refusals import Refusal
from cocoon_provider.registration import (
    ChannelPolicy,
    StaleStateError,
    check_acceptable,
    read_channel,
)
from cocoon_sdk.errors import WireCode
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import cell_to_boc
from cocoon_sdk.ton.chain import AccountState
from cocoon_sdk.ton.contract.channel import (
    CODE_HASH,
    ChannelData,
    ChannelTerms,
    data_cell,
)
from tests.provider_world import FakeChain, FakeChannel, make_channel

NOW = 1_800_000_000
PROVIDER = Ed25519Key(b"\x01" * 32).public_key
PAYOUT = Address(0, b"\x02" * 32)
POLICY = ChannelPolicy(
    provider_key=PROVIDER,
    payout=PAYOUT,
    min_deposit=50_000_000,
    min_close_delay=3_600,
    max_state_age=60,
)
SMALL_ORDER_POINT = bytes(31) + b"\x80"


def account(channel: FakeChannel, **changes: object) -> AccountState:
    return dataclasses.replace(channel.account(), block_time=NOW, **changes)


def channel_with(
    *,
    data: Callable[[ChannelData], ChannelData] = lambda d: d,
    terms: dict[str, object] | None = None,
    provider: Address = PAYOUT,
) -> FakeChannel:
    """A good channel with one thing wrong, at the address that these very terms give."""
    channel = make_channel(FakeChain(), PROVIDER, provider)
    if terms:
        changed = dataclasses.replace(channel.data.terms, **terms)
        channel.data = dataclasses.replace(channel.data, terms=changed)
    channel.data = data(channel.data)
    return channel


def refused(state: AccountState) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read_channel(state, POLICY, now=NOW)
    return caught.value


def test_a_good_channel_is_read() -> None:
    channel = channel_with()
    facts = read_channel(account(channel), POLICY, now=NOW)
    assert facts.key.address == channel.address.raw
    assert (facts.key.epoch, facts.client_key) == (channel.data.epoch, channel.key.public_key)
    assert (facts.balance, facts.available) == (500_000_000, 490_000_000)
    check_acceptable(facts, POLICY)


def test_terms_at_the_edge_are_read() -> None:
    for delay in (3_600, 7 * 86_400):
        read_channel(account(channel_with(terms={"close_delay": delay})), POLICY, now=NOW)


@pytest.mark.parametrize(
    ("channel", "reason"),
    [
        (channel_with(terms={"close_delay": 3_599}), "close delay"),
        (channel_with(terms={"close_delay": 7 * 86_400 + 1}), "close delay"),
        (
            channel_with(terms={"provider_key": Ed25519Key(b"\x09" * 32).public_key}),
            "another provider",
        ),
        (channel_with(provider=Address(0, b"\x03" * 32)), "another provider"),
        (channel_with(terms={"client_key": bytes(32)}), "Ed25519"),
        (channel_with(terms={"client_key": SMALL_ORDER_POINT}), "Ed25519"),
        (channel_with(data=lambda d: dataclasses.replace(d, epoch=0)), "never opened"),
        (channel_with(data=lambda d: dataclasses.replace(d, epoch=2**63)), "never opened"),
    ],
)
def test_wrong_terms_are_refused(channel: FakeChannel, reason: str) -> None:
    refusal = refused(account(channel))
    assert refusal.code is WireCode.CHANNEL_UNKNOWN
    assert reason in refusal.message


def test_an_address_that_the_terms_do_not_hash_to_is_refused() -> None:
    channel = channel_with()
    other = dataclasses.replace(channel.data, client=Address(0, b"\x05" * 32))
    state = account(channel, data=cell_to_boc(data_cell(other)))
    assert "do not hash" in refused(state).message


@pytest.mark.parametrize("party", ["client", "provider"])
def test_a_party_outside_workchain_0_is_refused(party: str) -> None:
    channel = channel_with()
    address = Address(-1, b"\x05" * 32)
    data = dataclasses.replace(channel.data, **{party: address})
    state = account(channel, data=cell_to_boc(data_cell(data)))
    assert "workchain" in refused(state).message


def test_the_channel_itself_outside_workchain_0_is_refused() -> None:
    channel = channel_with()
    assert (
        "workchain" in refused(account(channel, address=Address(-1, channel.address.hash))).message
    )


def test_another_code_is_refused() -> None:
    assert "code" in refused(account(channel_with(), code_hash=bytes(32))).message


@pytest.mark.parametrize(
    "data", [b"", b"\xb5\xee\x9c\x72", cell_to_boc(data_cell(channel_with().data))[:-9]]
)
def test_unreadable_data_is_refused(data: bytes) -> None:
    assert "not a channel's" in refused(account(channel_with(), data=data)).message


@pytest.mark.parametrize("status", ["uninit", "nonexist", "frozen"])
def test_an_account_that_is_not_active_is_refused(status: str) -> None:
    state = account(channel_with(), status=status, code_hash=None, data=None)
    assert status in refused(state).message


def test_a_state_from_an_old_block_proves_nothing() -> None:
    state = dataclasses.replace(account(channel_with()), block_time=NOW - 61)
    with pytest.raises(StaleStateError):
        read_channel(state, POLICY, now=NOW)
    read_channel(dataclasses.replace(state, block_time=NOW - 60), POLICY, now=NOW)


def test_a_closing_channel_is_not_accepted() -> None:
    channel = channel_with(data=lambda d: dataclasses.replace(d, close_at=NOW + 9))
    facts = read_channel(account(channel), POLICY, now=NOW)
    with pytest.raises(Refusal) as caught:
        check_acceptable(facts, POLICY)
    assert caught.value.code is WireCode.CHANNEL_CLOSING


def test_a_deposit_below_the_minimum_is_not_accepted() -> None:
    channel = channel_with()
    at_limit = read_channel(account(channel, balance=60_000_000), POLICY, now=NOW)
    check_acceptable(at_limit, POLICY)
    below = read_channel(account(channel, balance=59_999_999), POLICY, now=NOW)
    with pytest.raises(Refusal) as caught:
        check_acceptable(below, POLICY)
    assert caught.value.code is WireCode.INSUFFICIENT_FUNDS
    assert caught.value.detail == {"required": 50_000_000, "available": 49_999_999}


def test_the_code_hash_is_the_contracts() -> None:
    assert channel_with().account().code_hash == CODE_HASH
    assert isinstance(channel_with().data.terms, ChannelTerms)
    assert time.time() > 0
