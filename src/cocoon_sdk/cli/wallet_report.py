"""What the wallet's commands say and ask."""

from __future__ import annotations

import datetime as dt
import signal
from collections.abc import Sequence
from typing import Any

import typer

from cocoon_sdk.cli.desk import Desk
from cocoon_sdk.cli.output import (
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    escape_controls,
    print_json,
    print_table,
    stderr_console,
    tell,
)
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus
from cocoon_sdk.payments.amounts import format_amount, format_coins
from cocoon_sdk.payments.transfers import StoredTransfer
from cocoon_sdk.ton.chain import MAINNET


def confirm(question: str, *, yes: bool, as_json: bool) -> None:
    """Ask on standard error before money moves.

    Raises:
        ConfigError: output is JSON, so nobody can be asked.
        typer.Exit: the answer was not yes; status 130 after Ctrl-C.
    """
    if yes:
        return
    if as_json:
        raise ConfigError("with --json nothing can be asked; add --yes to go ahead")
    agreed, code = False, EXIT_ERROR
    # asyncio's handler would only cancel the task, while the prompt keeps waiting for a line.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort as aborted:  # Ctrl-C, or the end of the input
        tell("")
        if isinstance(aborted.__context__, KeyboardInterrupt):
            code = EXIT_INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, before)
    if not agreed:
        tell("nothing was sent")
        raise typer.Exit(code)


def describe_channel(state: ChannelState) -> dict[str, Any]:
    """One channel as JSON. Amounts in nano; `refundable` comes back for sure on a close."""
    amounts = {
        "deposit": state.deposit,
        "balance": state.balance,
        "signed": state.signed,
        "spent": state.spent + state.pending,
        "redeemed": state.redeemed,
        "refundable": state.refundable,
        "available": state.available,
    }
    return {
        "address": state.address.raw,
        "provider": state.provider_key.hex(),
        "status": str(state.status),
        "open_requests": len(state.streams),
        "closing_until": _moment(state.close_at) if state.close_at else None,
        **{f"{name}_nano": nano for name, nano in amounts.items()},
    }


def describe_wallet(
    desk: Desk,
    balance: int | None,
    found: Sequence[ChannelState],
    *,
    unfinished: Sequence[StoredTransfer] = (),
    offline: str | None = None,
) -> dict[str, Any]:
    """The whole wallet as JSON. `balance_nano` is None, and `offline` says why, without the chain."""
    alive = [one for one in found if one.status is not ChannelStatus.CLOSED]
    return {
        "network": desk.chain.network,
        "address": desk.wallet.address.raw,
        "balance_nano": balance,
        "locked_nano": sum(one.balance for one in alive),
        "refundable_nano": sum(one.refundable for one in alive),
        "offline": offline,
        "channels": [describe_channel(state) for state in found],
        "unfinished": [
            {"kind": str(move.kind), "subject": move.subject, "nano": move.nano}
            for one in unfinished
            for move in one.moves
        ],
    }


def show_wallet(desk: Desk, described: dict[str, Any]) -> None:
    """The whole wallet in one view: address, balance, what is locked, channels, what is unfinished."""
    balance = described["balance_nano"]
    address = desk.wallet.address.friendly(bounceable=False, testnet=desk.chain.network != MAINNET)
    print_table(
        f"Wallet on network {desk.chain.network}",
        ["address", "coins", "locked", "comes back"],
        [
            [
                address,
                "unknown" if balance is None else format_amount(balance),
                format_amount(described["locked_nano"]),
                format_amount(described["refundable_nano"]),
            ]
        ],
    )
    if described["channels"]:
        print_table("Channels", _COLUMNS, [_row(one) for one in described["channels"]])
    for one in described["unfinished"]:
        tell(
            f"not known to have ended: {one['kind']} of {one['subject']}, {format_coins(one['nano'])}; "
            "the next command that sends will find out",
            style="yellow",
        )
    if described["offline"] is not None:
        tell(
            "the chain does not answer, so this is as the ledger last saw it: "
            + escape_controls(described["offline"]),
            style="yellow",
        )


_AMOUNTS = ("deposit", "signed", "spent", "redeemed", "refundable")
_COLUMNS = ("channel", "provider", "state", *_AMOUNTS, "closing until")


def _row(described: dict[str, Any]) -> list[str]:
    amounts = [format_amount(described[f"{name}_nano"]) for name in _AMOUNTS]
    return [
        described["address"][:14] + "…",
        described["provider"][:12] + "…",
        described["status"],
        *amounts,
        described["closing_until"] or "",
    ]


def _moment(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat()


def say_channel(state: ChannelState, *, as_json: bool, opened: bool = False) -> None:
    """One channel after a command changed it; where it was just opened, also what became of the deposit."""
    described = describe_channel(state)
    text = f"channel {state.address.raw} is {state.status}"
    if state.status is ChannelStatus.OPEN:
        text += f"; {format_coins(state.available)} can be spent"
        if opened:
            kept = format_coins(state.deposit - state.available)
            text += f", {kept} of the deposit are set aside for rent and fees"
    elif described["closing_until"]:
        text += f" until {described['closing_until']}; run the same command again after that"
    say(described, text, as_json=as_json)


def say_channels(found: Sequence[ChannelState], *, as_json: bool, many: bool) -> None:
    """Channels after a command: the one that was named, or with `--all` as many as there are."""
    if not many:
        (state,) = found
        say_channel(state, as_json=as_json)
    elif as_json:
        print_json({"channels": [describe_channel(state) for state in found]})
    elif not found:
        tell("there was nothing to do")
    else:
        for state in found:
            say_channel(state, as_json=False)


def say(value: dict[str, Any], text: str, *, as_json: bool) -> None:
    """An outcome: JSON on standard output, or a sentence on standard error."""
    if as_json:
        print_json(value)
    else:
        stderr_console().print(text, markup=False, highlight=False)
