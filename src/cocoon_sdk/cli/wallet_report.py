"""What the wallet's commands say and ask."""

from __future__ import annotations

import datetime as dt
import signal
from typing import Any

import typer

from cocoon_sdk.cli.desk import Desk
from cocoon_sdk.cli.output import (
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    print_json,
    print_table,
    stderr_console,
    tell,
)
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus
from cocoon_sdk.payments.amounts import format_amount, format_coins
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
    until = dt.datetime.fromtimestamp(state.close_at, dt.UTC).isoformat()
    return {
        "address": state.address.raw,
        "provider": state.provider_key.hex(),
        "status": str(state.status),
        "open_requests": len(state.streams),
        "closing_until": until if state.close_at else None,
        **{f"{name}_nano": nano for name, nano in amounts.items()},
    }


def show_wallet(desk: Desk, balance: int, found: list[ChannelState], *, as_json: bool) -> None:
    """The whole wallet: address, balance, channels."""
    address = desk.wallet.address
    if as_json:
        print_json(
            {
                "network": desk.chain.network,
                "address": address.raw,
                "balance_nano": balance,
                "channels": [describe_channel(state) for state in found],
            }
        )
        return
    friendly = address.friendly(bounceable=False, testnet=desk.chain.network != MAINNET)
    print_table(
        f"Wallet on network {desk.chain.network}",
        ["address", "coins"],
        [[friendly, format_amount(balance)]],
    )
    for described in map(describe_channel, found):
        _print_channel(described)


def _print_channel(described: dict[str, Any]) -> None:
    status = described["status"]
    if described["closing_until"]:
        status = f"{status} until {described['closing_until']}"
    amounts = ("deposit", "signed", "spent", "redeemed", "refundable")
    print_table(
        f"Channel {described['address'][:14]}… with provider {described['provider'][:12]}…: {status}",
        ["", "coins"],
        [(name, format_amount(described[f"{name}_nano"])) for name in amounts],
    )


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


def say(value: dict[str, Any], text: str, *, as_json: bool) -> None:
    """An outcome: JSON on standard output, or a sentence on standard error."""
    if as_json:
        print_json(value)
    else:
        stderr_console().print(text, markup=False, highlight=False)
