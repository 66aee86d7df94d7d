"""A channel's state told in sentences: a pure function of the ledger's row and the time."""

from __future__ import annotations

import datetime as dt
from typing import Any

from cocoon_sdk.durations import format_duration
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus
from cocoon_sdk.payments.amounts import format_amount, format_coins
from cocoon_sdk.payments.channels import OPENING_EXPIRES
from cocoon_sdk.payments.moves import TYPICAL_FEES, MoveKind


def channel_story(state: ChannelState, now: int) -> dict[str, Any]:
    """What the state means, what comes next and when, and what can be done at which price (nano)."""
    tellers = {
        ChannelStatus.OPENING: _opening,
        ChannelStatus.OPEN: _open,
        ChannelStatus.CLOSING: _closing,
        ChannelStatus.CLOSED: _closed,
    }
    what, then, at, choices = tellers[state.status](state, now)
    return {
        "channel": state.address.raw,
        "provider": state.provider_key.hex(),
        "status": str(state.status),
        "what": what,
        "next": then,
        "at": None if at is None else dt.datetime.fromtimestamp(at, dt.UTC).isoformat(),
        "choices": choices,
    }


Story = tuple[str, str, int | None, list[dict[str, Any]]]


def _opening(state: ChannelState, now: int) -> Story:
    until = state.created_at + OPENING_EXPIRES
    what = (
        f"{format_coins(state.deposit)} are on the way into this channel, or were about to be; the chain "
        "does not show it yet, and nothing can be paid with it."
    )
    then = (
        f"If it does not show within {format_duration(max(0, until - now))}, it was never opened, and the "
        "coins are still in the wallet."
    )
    return what, then, until, [_choice("show", 0, "look again")]


def _open(state: ChannelState, _now: int) -> Story:
    what = (
        f"The channel holds {format_coins(state.balance)}. The provider has earned "
        f"{format_amount(state.spent + state.pending)} by its receipts and has taken "
        f"{format_amount(state.redeemed)} of that on chain; at most {format_amount(state.signed)} are "
        f"signed for. New requests may cost {format_amount(state.available)}."
    )
    if state.streams:
        what += f" {len(state.streams)} request(s) have no receipt yet."
    then = (
        "Nothing happens by itself to your part: the provider takes what it has earned now and then, at its "
        f"own cost. If you leave, {format_amount(state.refundable)} or more come back."
    )
    name = state.address.raw
    delay = format_duration(state.close_delay)
    alone = _fees(MoveKind.REQUEST_CLOSE) + _fees(MoveKind.FINALIZE)
    return what, then, None, [
        _choice(f"topup {name} AMOUNT", _fees(MoveKind.TOP_UP), "adds coins"),
        _choice(
            f"close --coop {name}", _fees(MoveKind.COOP_CLOSE), "at once, if the provider agrees"
        ),
        _choice(f"close {name}", alone, f"without the provider; {delay} of waiting, both steps"),
    ]  # fmt: skip


def _closing(state: ChannelState, now: int) -> Story:
    left = state.close_at - now
    name = state.address.raw
    claim = max(0, state.signed - state.redeemed)
    if left <= 0:
        what = "The close delay is over. The channel still exists and holds your coins."
        then = (
            f"Finish it now: {format_amount(state.refundable)} or more come back. It does not happen by "
            f"itself, and until then the provider can still take up to {format_amount(claim)}."
        )
        return what, then, now, [
            _choice(f"finalize {name}", _fees(MoveKind.FINALIZE), "brings the coins back"),
        ]  # fmt: skip
    what = (
        f"You are leaving: the close delay runs for {format_duration(left)} more. In that time the "
        f"provider may still take up to {format_amount(claim)} with the vouchers it has; new requests "
        "are refused."
    )
    then = (
        f"After that, finish it: {format_amount(state.refundable)} or more come back. It does not happen "
        "by itself."
    )
    return what, then, state.close_at, [
        _choice(f"finalize {name}", _fees(MoveKind.FINALIZE), "once the delay is over"),
        _choice(
            f"close --coop {name}", _fees(MoveKind.COOP_CLOSE), "at once, if the provider agrees"
        ),
        _choice(f"cancel-close {name}", _fees(MoveKind.CANCEL_CLOSE), "makes it usable again"),
    ]  # fmt: skip


def _closed(state: ChannelState, _now: int) -> Story:
    if not state.epoch:
        what = (
            "This channel was never opened, or its opening failed. The coins stayed in the wallet."
        )
    else:
        what = (
            f"The channel is gone from the chain. The provider had taken {format_amount(state.redeemed)} "
            f"when it was last seen, and its receipts say {format_amount(state.spent + state.pending)}; all "
            "else went back to the wallet."
        )
    return what, "Nothing: a closed channel stays closed.", None, []


def _choice(command: str, nano: int, effect: str) -> dict[str, Any]:
    return {"command": f"cocoon wallet {command}", "about_nano": nano, "effect": effect}


def _fees(kind: MoveKind) -> int:
    return TYPICAL_FEES[kind]
