"""Leaving a channel: alone after the close delay, or at once with the provider's consent (payments.md §1)."""

from __future__ import annotations

from cocoon_sdk.durations import format_duration
from cocoon_sdk.errors import ChannelDesyncError, PaymentError
from cocoon_sdk.payments import moves
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus
from cocoon_sdk.payments.channels import refresh, refresh_until
from cocoon_sdk.payments.sending import send_moves
from cocoon_sdk.payments.voucher import CloseAuth, verify_close_auth
from cocoon_sdk.protocol import messages
from cocoon_sdk.store.database import Database
from cocoon_sdk.ton.chain import ChainClient
from cocoon_sdk.ton.contract.channel import close_auth_cell
from cocoon_sdk.ton.wallet import Wallet


async def request_close(
    *, chain: ChainClient, wallet: Wallet, database: Database, state: ChannelState
) -> ChannelState:
    """Start the close delay; `close_at` of the result says when it ends. A second call changes nothing.

    Raises:
        PaymentError: the channel is neither open nor closing.
    """
    state = await refresh(chain, database, state)
    if state.status is ChannelStatus.CLOSING:
        return state
    _require(state, ChannelStatus.OPEN)
    (await send_moves(chain, wallet, database, [moves.requesting_close(state)])).check()
    return await refresh_until(chain, database, state, {ChannelStatus.CLOSING})


async def cancel_close(
    *, chain: ChainClient, wallet: Wallet, database: Database, state: ChannelState
) -> ChannelState:
    """Take `request_close` back: the channel can be used again.

    Raises:
        PaymentError: the channel is not closing.
    """
    state = await refresh(chain, database, state)
    _require(state, ChannelStatus.CLOSING)
    (await send_moves(chain, wallet, database, [moves.cancelling_close(state)])).check()
    return await refresh_until(chain, database, state, {ChannelStatus.OPEN})


async def finalize(
    *, chain: ChainClient, wallet: Wallet, database: Database, state: ChannelState
) -> ChannelState:
    """After the close delay: everything left comes back to the wallet, the contract is destroyed.

    Raises:
        PaymentError: the channel is not closing, or the delay has not passed.
    """
    state = await refresh(chain, database, state)
    if state.status is ChannelStatus.CLOSED:
        return state
    _require(state, ChannelStatus.CLOSING)
    left = state.close_at - await chain.time()
    if left > 0:
        raise PaymentError(
            f"the close delay of {state.address.raw} runs for {format_duration(left)} more; "
            "the provider may redeem until then"
        )
    (await send_moves(chain, wallet, database, [moves.finalizing(state)])).check()
    return await refresh_until(chain, database, state, {ChannelStatus.CLOSED})


async def coop_close(
    *,
    chain: ChainClient,
    wallet: Wallet,
    database: Database,
    state: ChannelState,
    auth: messages.CloseAuth,
) -> ChannelState:
    """Close at once with the provider's signature, if it asks for exactly what was spent.

    Raises:
        ChannelDesyncError: another epoch or amount than ours, a wrong signature, or open requests.
        PaymentError: the channel is neither open nor closing.
    """
    state = await refresh(chain, database, state)
    move = plan_coop_close(state, auth)
    (await send_moves(chain, wallet, database, [move])).check()
    return await refresh_until(chain, database, state, {ChannelStatus.CLOSED})


def plan_coop_close(state: ChannelState, auth: messages.CloseAuth) -> moves.Move:
    """The close at once, as a move, if the provider's consent is what `coop_close` asks of it.

    Raises:
        ChannelDesyncError, PaymentError: as for `coop_close`.
    """
    if state.status is not ChannelStatus.CLOSING:
        _require(state, ChannelStatus.OPEN)
    if state.streams or state.pending:
        raise ChannelDesyncError(
            f"the channel {state.address.raw} has requests without receipts; collect those first"
        )
    promise = CloseAuth(state.network, state.address, state.epoch, auth.final)
    if auth.epoch != state.epoch or not verify_close_auth(
        state.provider_key, promise, auth.signature
    ):
        raise ChannelDesyncError("the provider's consent is not validly signed for this channel")
    if auth.final != state.spent:
        raise ChannelDesyncError(
            f"the provider wants {auth.final} nano to close; the receipts add up to {state.spent}"
        )
    cell = close_auth_cell(state.network, state.address, state.epoch, auth.final)
    return moves.closing_together(state, auth.signature, cell)


def _require(state: ChannelState, status: ChannelStatus) -> None:
    if state.status is not status:
        raise PaymentError(
            f"the channel {state.address.raw} is {state.status}, not {status}; nothing was sent"
        )
