"""Channels on the chain: open, top up, and compare the ledger with what the chain says (payments.md §1–3).

An account counts as a channel of ours only if its code hash is the contract's and its data names our
terms. A state from an older block than the last one seen changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container
from dataclasses import replace

from sqlalchemy import Connection

from cocoon_sdk.errors import (
    ChainDataError,
    ChainUnavailableError,
    ChannelDesyncError,
    ConfigError,
    PaymentError,
)
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.payments import ledger, moves
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus
from cocoon_sdk.payments.channel import PaymentChannel, channel_signer
from cocoon_sdk.payments.opening import Opening, plan_opening
from cocoon_sdk.payments.sending import send_moves
from cocoon_sdk.store.database import Database
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import AccountState, ChainClient
from cocoon_sdk.ton.contract.channel import (
    CODE_HASH,
    ChannelData,
    ChannelTerms,
    parse_channel_data,
)
from cocoon_sdk.ton.wallet import Wallet

logger = logging.getLogger("cocoon_sdk.payments")

OPENING_EXPIRES = 600
"""Seconds after which an opening that the chain does not show cannot happen any more."""

_POLLS = 30
_POLL_PAUSE = 0.5


async def list_channels(database: Database) -> list[ChannelState]:
    """Every channel in the ledger, the oldest first."""
    return await database.run(ledger.all_channels)


async def load_channels(database: Database, master: Ed25519Key) -> list[PaymentChannel]:
    """The open channels whose vouchers `master` can sign."""
    found = []
    for state in await list_channels(database):
        if state.status is not ChannelStatus.OPEN:
            continue
        try:
            found.append(PaymentChannel(database, state, channel_signer(master, state)))
        except ChannelDesyncError as error:
            logger.warning("channel skipped: %s", error)
    return found


async def open_channel(
    *,
    chain: ChainClient,
    wallet: Wallet,
    database: Database,
    master: Ed25519Key,
    provider_key: bytes,
    payout: Address,
    close_delay: int,
    deposit: int,
    min_deposit: int = 0,
) -> PaymentChannel:
    """Open a channel with `deposit` nano and wait until the chain shows it.

    The ledger knows the channel before any money leaves, so that a crash cannot lose its keys. Of the
    deposit, `RENT_RESERVE` and the fee of opening cannot be spent.

    Raises:
        ConfigError: terms that nobody should accept, or a deposit too small for the provider.
        InsufficientFundsError: the wallet holds too little.
        TransactionFailedError: the opening failed; the money came back less fees.
        ChainUnavailableError: it is unknown whether the opening was executed; `refresh` finds out.
    """
    opening = await plan_opening(
        chain=chain, wallet=wallet, master=master, provider_key=provider_key, payout=payout,
        close_delay=close_delay, deposit=deposit, min_deposit=min_deposit,
    )  # fmt: skip
    return await carry_out_opening(chain=chain, wallet=wallet, database=database, opening=opening)


async def carry_out_opening(
    *, chain: ChainClient, wallet: Wallet, database: Database, opening: Opening
) -> PaymentChannel:
    """The second half of `open_channel`."""
    sent = await send_moves(chain, wallet, database, [opening.move])
    sent.check()
    number = sent.moves[0].channel_id or 0  # of an earlier opening, where that was this wish
    state = await database.run(lambda c: ledger.load_channel(c, number))
    opened = await refresh_until(chain, database, state, {ChannelStatus.OPEN})
    return PaymentChannel(database, opened, channel_signer(opening.master, opened))


async def top_up(
    *, chain: ChainClient, wallet: Wallet, database: Database, state: ChannelState, amount: int
) -> ChannelState:
    """Add `amount` nano to an open channel.

    Raises:
        PaymentError: the channel is not open.
    """
    state = await refresh(chain, database, state)
    if state.status is not ChannelStatus.OPEN:
        raise PaymentError(f"the channel {state.address.raw} is {state.status}; nothing was sent")
    (await send_moves(chain, wallet, database, [moves.topping_up(state, amount)])).check()
    return await refresh(chain, database, state)


async def refresh(chain: ChainClient, database: Database, state: ChannelState) -> ChannelState:
    """Bring the ledger's view of one channel up to the newest confirmed state of the chain.

    Raises:
        ChainDataError: the account is not the channel that was opened.
        ConfigError: the channel is on another network.
    """
    if chain.network != state.network:
        raise ConfigError(f"a channel of network {state.network}, a chain of {chain.network}")
    account = await chain.get_account(state.address)
    data = _channel_data(state, account)
    return await database.run(lambda c: _observe(c, state.id, account, data))


async def refresh_until(
    chain: ChainClient, database: Database, state: ChannelState, wanted: Container[ChannelStatus]
) -> ChannelState:
    """Refresh until the channel has one of the wanted statuses: another replica may lag behind.

    Raises:
        ChainUnavailableError: it has not after fifteen seconds.
    """
    for _ in range(_POLLS):
        state = await refresh(chain, database, state)
        if state.status in wanted:
            return state
        await asyncio.sleep(_POLL_PAUSE)
    raise ChainUnavailableError(
        f"the transaction is confirmed, but the channel {state.address.raw} still shows as "
        f"{state.status}; look again with: cocoon wallet show"
    )


def _channel_data(state: ChannelState, account: AccountState) -> ChannelData | None:
    """The account's data if it is the contract with our terms; None where there is no contract."""
    if account.status in {"nonexist", "uninit"}:
        return None
    if account.status != "active" or account.code_hash != CODE_HASH or account.data is None:
        raise ChainDataError(
            f"the account {state.address.raw} is {account.status} and not a channel contract"
        )
    data = parse_channel_data(account.data)
    terms = ChannelTerms(state.client_key, state.provider_key, state.close_delay, state.salt)
    if (data.terms, data.client, data.provider) != (terms, state.client, state.payout):
        raise ChainDataError(f"the contract {state.address.raw} has other terms than were opened")
    return data


def _observe(
    connection: Connection, channel_id: int, account: AccountState, data: ChannelData | None
) -> ChannelState:
    # An epoch never comes twice: a closed channel that the chain shows again was never gone, whatever
    # an API said, and its money must be within reach.
    state = ledger.load_channel(connection, channel_id)
    if account.block_time < state.seen_at:
        return state
    if data is None or data.epoch == 0:
        waited = account.block_time - state.created_at
        if state.status is ChannelStatus.OPENING and waited <= OPENING_EXPIRES:
            return state
        return ledger.close_channel(connection, channel_id, seen_at=account.block_time)
    if state.epoch not in {0, data.epoch}:  # destroyed, and opened again at the same address
        return ledger.close_channel(connection, channel_id, seen_at=account.block_time)
    state = replace(
        state,
        epoch=data.epoch,
        status=ChannelStatus.CLOSING if data.close_at else ChannelStatus.OPEN,
        balance=account.balance,
        redeemed=data.redeemed,
        close_at=data.close_at,
        seen_at=account.block_time,
        # The contract pays only against our signature: this much was signed, whatever a restored
        # ledger remembers.
        signed=max(state.signed, data.redeemed),
    )
    ledger.save_channel(connection, state)
    return state
