"""Channels on the chain: open, top up, and compare the ledger with what the chain says (payments.md §1–3).

An account counts as a channel of ours only if its code hash is the contract's and its data names our
terms. A state from an older block than the last one seen changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Container
from dataclasses import replace

from sqlalchemy import Connection

from cocoon_sdk.errors import (
    ChainDataError,
    ChainUnavailableError,
    ChannelDesyncError,
    ConfigError,
    PaymentError,
    TransactionFailedError,
)
from cocoon_sdk.keys import Ed25519Key, derive_channel_key, is_valid_public_key
from cocoon_sdk.payments import ledger
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus
from cocoon_sdk.payments.amounts import format_amount
from cocoon_sdk.payments.channel import PaymentChannel, channel_signer
from cocoon_sdk.store.database import Database
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import AccountState, ChainClient
from cocoon_sdk.ton.contract.channel import (
    CODE_HASH,
    MAX_CLOSE_DELAY,
    MIN_OPENING,
    RENT_RESERVE,
    ChannelData,
    ChannelTerms,
    channel_address,
    deposit_body,
    parse_channel_data,
    state_init,
)
from cocoon_sdk.ton.wallet import OutMessage, Wallet

logger = logging.getLogger("cocoon_sdk.payments")

OPENING_GAS = 5_000_000
"""Nano of a deposit that the opening itself may use up, with room."""
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
    _check_terms(provider_key, close_delay, deposit, min_deposit)
    salt = secrets.randbits(63)  # the ledger's integers are signed
    key = derive_channel_key(
        master.seed, network=chain.network, provider_key=provider_key, salt=salt
    )
    terms = ChannelTerms(key.public_key, provider_key, close_delay, salt)
    address = channel_address(terms, wallet.address, payout)
    init = state_init(terms, wallet.address, payout)
    message = OutMessage(to=address, value=deposit, body=deposit_body(), state_init=init)
    await wallet.check_funds(chain, [message])  # before the ledger knows of a channel
    now = await chain.time()
    state = ChannelState(
        id=0, network=chain.network, address=address, epoch=0, provider_key=provider_key,
        client_key=key.public_key, salt=salt, close_delay=close_delay, client=wallet.address,
        payout=payout, status=ChannelStatus.OPENING, created_at=now, deposit=deposit, balance=0,
        redeemed=0, close_at=0, seen_at=now, signed=0, spent=0, seq=0,
    )  # fmt: skip
    state = replace(state, id=await database.run(lambda c: ledger.add_channel(c, state)))
    try:
        await wallet.send(chain, [message])
    except (ConfigError, PaymentError, TransactionFailedError):  # certainly not opened
        await database.run(lambda c: _close(c, state.id))
        raise
    opened = await refresh_until(chain, database, state, {ChannelStatus.OPEN})
    return PaymentChannel(database, opened, key)


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
    await wallet.send(chain, [OutMessage(to=state.address, value=amount, body=deposit_body())])

    def book(connection: Connection) -> ChannelState:
        now = ledger.load_channel(connection, state.id)
        now = replace(now, deposit=now.deposit + amount)
        ledger.save_channel(connection, now)
        return now

    return await refresh(chain, database, await database.run(book))


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
        return _close(connection, channel_id, seen_at=account.block_time)
    if state.epoch not in {0, data.epoch}:  # destroyed, and opened again at the same address
        return _close(connection, channel_id, seen_at=account.block_time)
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


def _close(connection: Connection, channel_id: int, *, seen_at: int = 0) -> ChannelState:
    ledger.delete_streams(connection, channel_id)
    state = ledger.load_channel(connection, channel_id)
    seen_at = max(seen_at, state.seen_at)
    state = replace(state, status=ChannelStatus.CLOSED, balance=0, close_at=0, seen_at=seen_at)
    ledger.save_channel(connection, state)
    return state
