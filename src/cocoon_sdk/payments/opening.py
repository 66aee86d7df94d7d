"""What opening a channel would send, with the terms checked first (payments.md §1)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import Ed25519Key, derive_channel_key, is_valid_public_key
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus
from cocoon_sdk.payments.amounts import format_amount
from cocoon_sdk.payments.moves import Move, opening
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import ChainClient
from cocoon_sdk.ton.contract.channel import (
    MAX_CLOSE_DELAY,
    MIN_OPENING,
    RENT_RESERVE,
    ChannelTerms,
    channel_address,
    state_init,
)
from cocoon_sdk.ton.wallet import Wallet

OPENING_GAS = 5_000_000
"""Nano of a deposit that the opening itself may use up, with room."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A channel as it would be opened under a master key. Nothing is stored or sent yet."""

    move: Move
    master: Ed25519Key


async def plan_opening(
    *,
    chain: ChainClient,
    wallet: Wallet,
    master: Ed25519Key,
    provider_key: bytes,
    payout: Address,
    close_delay: int,
    deposit: int,
    min_deposit: int = 0,
) -> Opening:
    """What would be sent to open a channel with a fresh key and salt.

    Raises:
        ConfigError: terms that nobody should accept, or a deposit too small for the provider.
    """
    _check_terms(provider_key, close_delay, deposit, min_deposit)
    salt = secrets.randbits(63)  # the ledger's integers are signed
    key = derive_channel_key(
        master.seed, network=chain.network, provider_key=provider_key, salt=salt
    )
    terms = ChannelTerms(key.public_key, provider_key, close_delay, salt)
    address = channel_address(terms, wallet.address, payout)
    now = await chain.time()
    state = ChannelState(
        id=0, network=chain.network, address=address, epoch=0, provider_key=provider_key,
        client_key=key.public_key, salt=salt, close_delay=close_delay, client=wallet.address,
        payout=payout, status=ChannelStatus.OPENING, created_at=now, deposit=deposit, balance=0,
        redeemed=0, close_at=0, seen_at=now, signed=0, spent=0, seq=0,
    )  # fmt: skip
    return Opening(opening(state, state_init(terms, wallet.address, payout)), master)


def _check_terms(provider_key: bytes, close_delay: int, deposit: int, min_deposit: int) -> None:
    if not is_valid_public_key(provider_key):
        raise ConfigError(f"{provider_key.hex()} is no provider key: not a valid Ed25519 point")
    if not 0 <= close_delay <= MAX_CLOSE_DELAY:
        raise ConfigError(
            f"a close delay of {close_delay} s would lock the money beyond {MAX_CLOSE_DELAY} s (7 days)"
        )
    least = max(MIN_OPENING, min_deposit + RENT_RESERVE + OPENING_GAS)
    if deposit < least:
        raise ConfigError(
            f"a deposit of {format_amount(deposit)} coins is too small for this provider; "
            f"deposit at least {format_amount(least)}"
        )
