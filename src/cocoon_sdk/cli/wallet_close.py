"""`cocoon wallet close`, `cancel-close` and `finalize`: coins out of channels."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from cocoon_sdk.cli.desk import Desk, open_desk
from cocoon_sdk.cli.wallet_options import AllOption, Call, ChannelArgument, ChannelOrAll, moving
from cocoon_sdk.cli.wallet_plan import approved, settle_earlier
from cocoon_sdk.cli.wallet_report import say_channel, say_channels
from cocoon_sdk.cli.wallet_steps import agree, chosen_channels
from cocoon_sdk.durations import format_duration
from cocoon_sdk.errors import PaymentError
from cocoon_sdk.payments import channels, moves
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus
from cocoon_sdk.payments.amounts import format_coins
from cocoon_sdk.payments.moves import Move, MoveKind
from cocoon_sdk.payments.sending import send_moves

POLL_SECONDS = 2.0

# Where each leaves a channel; a delay of nothing may be over at once.
_AFTER = {
    MoveKind.REQUEST_CLOSE: {ChannelStatus.CLOSING, ChannelStatus.CLOSED},
    MoveKind.CANCEL_CLOSE: {ChannelStatus.OPEN},
    MoveKind.FINALIZE: {ChannelStatus.CLOSED},
    MoveKind.COOP_CLOSE: {ChannelStatus.CLOSED},
}


@moving
async def close(
    call: Call,
    channel: ChannelOrAll = None,
    every: AllOption = False,
    coop: Annotated[
        bool,
        typer.Option("--coop", help="Ask the provider to agree: then at once. Else by the delay."),
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until the money is back.")] = False,
) -> None:
    """Leave a channel; once the delay has passed, the same command takes the money back."""
    async with open_desk(call) as desk:
        await settle_earlier(desk, call)
        states = await chosen_channels(desk, channel, every=every)
        now = await desk.chain.time()
        due = [one for one in states if one.status is ChannelStatus.CLOSING and one.close_at <= now]
        leaving = [
            one
            for one in states
            if one.status is ChannelStatus.OPEN
            or (coop and one.status is ChannelStatus.CLOSING and one not in due)
        ]
        finishing = [moves.finalizing(one) for one in due]
        # What the provider has not signed yet weighs as much as what it will have signed.
        planned = [_unsigned(one) if coop else moves.requesting_close(one) for one in leaving]
        if call.dry_run or leaving:
            agreed = await approved(
                desk, call, [*finishing, *planned], _question(leaving or due, coop=coop)
            )
            if not agreed:
                return
        starting = [await agree(desk, one, coop=coop) for one in leaving]
        plan = [*finishing, *(move for move in starting if move is not None)]
        states = await carry_out(desk, states, plan)
        while wait and (open_ones := [one for one in states if one.close_at]):
            if min(one.close_at for one in open_ones) > await desk.chain.time():
                await asyncio.sleep(POLL_SECONDS)
                continue
            now = await desk.chain.time()
            ready = [moves.finalizing(one) for one in open_ones if one.close_at <= now]
            states = await carry_out(desk, states, ready)
        say_channels(states, as_json=call.as_json, many=every)


@moving
async def finalize(call: Call, channel: ChannelOrAll = None, every: AllOption = False) -> None:
    """Take the money back from a channel whose close delay has passed."""
    async with open_desk(call) as desk:
        await settle_earlier(desk, call)
        states = await chosen_channels(desk, channel, every=every)
        now = await desk.chain.time()
        closing = [one for one in states if one.status is ChannelStatus.CLOSING]
        due = [one for one in closing if one.close_at <= now]
        if not every:
            _require_due(states[0], now)
        if due:
            total = format_coins(sum(one.refundable for one in due))
            question = f"Take {total} or more out of {len(due)} closed channel(s)?"
            if not await approved(desk, call, [moves.finalizing(one) for one in due], question):
                return
            due = await carry_out(desk, due, [moves.finalizing(one) for one in due])
        say_channels(due, as_json=call.as_json, many=every)


@moving
async def cancel_close(call: Call, channel: ChannelArgument) -> None:
    """Take back a close whose delay is running: the channel can be used again."""
    async with open_desk(call) as desk:
        await settle_earlier(desk, call)
        state = await channels.refresh(desk.chain, desk.database, await desk.channel(channel))
        if state.status is ChannelStatus.OPEN:
            raise PaymentError(f"the channel {state.address.raw} is not closing; nothing was sent")
        plan = [moves.cancelling_close(state)]
        if not await approved(desk, call, plan, f"Take back the close of {state.address.raw}?"):
            return
        (state,) = await carry_out(desk, [state], plan)
        say_channel(state, as_json=call.as_json)


async def carry_out(
    desk: Desk, states: Sequence[ChannelState], plan: Sequence[Move]
) -> list[ChannelState]:
    """Send the moves in one transaction, and look at their channels until these show it.

    Raises:
        TransactionFailedError: at least one failed; the others were carried out.
    """
    if not plan:
        return list(states)
    sent = await send_moves(desk.chain, desk.wallet, desk.database, plan)
    failed = {move.channel_id for move in sent.failed}
    after = {one.id: one for one in states}
    for move in plan:
        state = move.channel
        if state is not None and state.id not in failed:
            after[state.id] = await channels.refresh_until(
                desk.chain, desk.database, state, _AFTER[move.kind]
            )
    sent.check()
    return [after[one.id] for one in states]


def _unsigned(state: ChannelState) -> Move:
    return moves.closing_together(state, bytes(64), moves.empty_auth())


def _question(states: Sequence[ChannelState], *, coop: bool) -> str:
    total = format_coins(sum(one.refundable for one in states))
    delay = format_duration(max((one.close_delay for one in states), default=0))
    name = states[0].address.raw if len(states) == 1 else f"{len(states)} channels"
    when = f"at once if the provider agrees, else after {delay}" if coop else f"after {delay}"
    return f"Close {name}? {total} or more come back {when}."


def _require_due(state: ChannelState, now: int) -> None:
    if state.status is not ChannelStatus.CLOSING:
        raise PaymentError(
            f"the channel {state.address.raw} is {state.status}; start with: cocoon wallet close"
        )
    if state.close_at > now:
        raise PaymentError(
            f"the close delay of {state.address.raw} runs for {format_duration(state.close_at - now)} "
            "more; the provider may redeem until then"
        )
