"""Whether a channel is one that we can be paid from: the list of payments.md §3, check by check."""

from __future__ import annotations

from dataclasses import dataclass

from cocoon_provider.refusals import Refusal
from cocoon_provider.tables import ChannelKey
from cocoon_sdk.errors import ChainDataError, WireCode
from cocoon_sdk.keys import is_valid_public_key
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import AccountState
from cocoon_sdk.ton.contract.channel import (
    CODE_HASH,
    MAX_CLOSE_DELAY,
    RENT_RESERVE,
    ChannelData,
    channel_address,
    parse_channel_data,
)

MAX_INT64 = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class ChannelPolicy:
    """What this provider demands of a channel. Amounts nano, times seconds.

    Attributes:
        provider_key: Our identity key, which the terms must name.
        payout: Our wallet, which the channel must pay to.
        max_state_age: How old the masterchain block behind a state may be.
    """

    provider_key: bytes
    payout: Address
    min_deposit: int
    min_close_delay: int
    max_state_age: int


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """What the chain says about a channel, with the unix time of asking."""

    key: ChannelKey
    client_key: bytes
    close_delay: int
    balance: int
    redeemed: int
    close_at: int
    checked_at: int

    @property
    def available(self) -> int:
        """Nano above what is kept back for rent."""
        return max(0, self.balance - RENT_RESERVE)


class StaleStateError(Refusal):
    """The chain API lags behind; what it says proves nothing about now."""


def read_channel(state: AccountState, policy: ChannelPolicy, *, now: int) -> ChannelFacts:
    """The facts of an open channel of ours.

    Raises:
        StaleStateError: the state is too old to trust a deposit or an open channel on.
        Refusal: `channel_unknown`, naming the check that failed.
    """
    check_age(state, policy, now=now)
    if state.status != "active" or state.data is None:
        raise _unknown(
            f"the account is {state.status}; wait for the opening transaction", retry=True
        )
    if state.code_hash != CODE_HASH:
        raise _unknown("its code is not the channel contract of this version")
    try:
        data = parse_channel_data(state.data)
    except ChainDataError:
        raise _unknown("its data is not a channel's") from None
    _check_terms(state.address, data, policy)
    if not 0 < data.epoch <= MAX_INT64:
        raise _unknown("it was deployed but never opened")
    return ChannelFacts(
        key=ChannelKey(state.address.raw, data.epoch),
        client_key=data.terms.client_key,
        close_delay=data.terms.close_delay,
        balance=state.balance,
        redeemed=data.redeemed,
        close_at=data.close_at,
        checked_at=now,
    )


def check_age(state: AccountState, policy: ChannelPolicy, *, now: int) -> None:
    """Whether a state is young enough to conclude anything from.

    Raises:
        StaleStateError: it is not.
    """
    if now - state.block_time > policy.max_state_age:
        raise StaleStateError(
            WireCode.INTERNAL,
            f"the chain API's newest state is {now - state.block_time} s old; try again later",
            retry_after_ms=10_000,
        )


def check_acceptable(facts: ChannelFacts, policy: ChannelPolicy) -> None:
    """What is asked of a channel when it is first seen.

    Raises:
        Refusal: `channel_closing`, or `insufficient_funds` with the shortfall.
    """
    if facts.close_at:
        raise Refusal(
            WireCode.CHANNEL_CLOSING, "the channel is being closed on chain; cancel the close first"
        )
    if facts.available < policy.min_deposit:
        raise Refusal(
            WireCode.INSUFFICIENT_FUNDS,
            f"the channel holds {facts.available} nano, this provider asks for at least "
            f"{policy.min_deposit}; top it up",
            required=policy.min_deposit,
            available=facts.available,
        )


def _check_terms(address: Address, data: ChannelData, policy: ChannelPolicy) -> None:
    terms = data.terms
    workchains = {address.workchain, data.client.workchain, data.provider.workchain}
    if workchains != {0}:
        raise _unknown("an address is outside workchain 0, where payouts can fail")
    if channel_address(terms, data.client, data.provider) != address:
        raise _unknown("its terms do not hash to its address")
    if terms.provider_key != policy.provider_key or data.provider != policy.payout:
        raise _unknown("it pays another provider")
    if not is_valid_public_key(terms.client_key):
        raise _unknown("its client key is not a valid Ed25519 point; signatures could be forged")
    if not policy.min_close_delay <= terms.close_delay <= MAX_CLOSE_DELAY:
        raise _unknown(
            f"its close delay is {terms.close_delay} s, accepted are {policy.min_close_delay} "
            f"to {MAX_CLOSE_DELAY}"
        )


def _unknown(reason: str, *, retry: bool = False) -> Refusal:
    return Refusal(
        WireCode.CHANNEL_UNKNOWN,
        f"this channel is not accepted: {reason}",
        retry_after_ms=5_000 if retry else 0,
    )
