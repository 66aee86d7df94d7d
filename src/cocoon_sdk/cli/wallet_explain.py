"""`cocoon wallet explain`: what a channel's state, an exit code or a message that failed means."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any

import typer

from cocoon_sdk.cli.desk import Desk, open_desk
from cocoon_sdk.cli.output import print_json, print_table, tell
from cocoon_sdk.cli.wallet_options import Call, ChannelOrAll, looking
from cocoon_sdk.cli.wallet_story import channel_story
from cocoon_sdk.errors import ChainUnavailableError, ConfigError
from cocoon_sdk.payments import channels
from cocoon_sdk.payments.amounts import format_amount
from cocoon_sdk.ton.chain import TransactionInfo
from cocoon_sdk.ton.contract.constants import Op
from cocoon_sdk.ton.exit_codes import meaning

LOOK_SECONDS = 5.0

_HASH = re.compile(r"[0-9a-fA-F]{64}")
_OPERATIONS = {int(one): one.name.lower().replace("_", " ") for one in Op}


@looking
async def explain(
    call: Call,
    channel: ChannelOrAll = None,
    exit_code: Annotated[
        int | None, typer.Option(help="The exit code of a transaction, such as 113.")
    ] = None,
    message: Annotated[
        str | None, typer.Option(help="Hash of a message that the wallet sent, as errors name it.")
    ] = None,
) -> None:
    """Say in plain words what a channel's state, an exit code or a sent message means, and what is next."""
    if sum(one is not None for one in (channel, exit_code, message)) != 1:
        raise ConfigError("name one channel, or pass --exit-code or --message")
    if exit_code is not None:
        _say_code(exit_code, as_json=call.as_json)
        return
    async with open_desk(call) as desk:
        if message is not None:
            await _explain_message(desk, message, as_json=call.as_json)
        elif channel is not None:
            await _explain_channel(desk, channel, as_json=call.as_json)


async def _explain_channel(desk: Desk, text: str, *, as_json: bool) -> None:
    state, now, offline = await desk.channel(text, closed=True), int(time.time()), None
    try:
        state = await channels.refresh(desk.chain, desk.database, state)
        now = await desk.chain.time()
    except ChainUnavailableError as error:
        offline = str(error)
    story = channel_story(state, now)
    if as_json:
        print_json({**story, "offline": offline})
        return
    if offline is not None:
        tell(f"the chain does not answer, so this is what was known before: {offline}")
    tell(f"channel {state.address.raw} with provider {state.provider_key.hex()}")
    tell(f"now: {story['what']}")
    tell(f"next: {story['next']}")
    rows = [
        (one["command"], format_amount(one["about_nano"]), one["effect"])
        for one in story["choices"]
    ]
    if rows:
        print_table("What you can do", ("command", "fees, about", "effect"), rows)


def _say_code(code: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"exit_code": code, "meaning": meaning(code)})
    else:
        tell(f"exit code {code}: {meaning(code)}")


async def _explain_message(desk: Desk, text: str, *, as_json: bool) -> None:
    """The trace of a message, row by row."""
    if _HASH.fullmatch(text) is None:
        raise ConfigError(f"not the hash of a message: {text[:80]!r}; it has 64 hex digits")
    trace = await desk.chain.wait_message(bytes.fromhex(text), timeout=LOOK_SECONDS)
    described = [_describe(desk, row) for row in trace]
    if as_json:
        print_json({"message": text.lower(), "transactions": described})
        return
    print_table(
        f"Message {text.lower()}",
        ("account", "operation", "coins in", "fees", "outcome"),
        [
            (
                one["who"],
                one["operation"],
                format_amount(one["in_nano"]),
                format_amount(one["fees_nano"]),
                "done" if one["success"] else f"failed ({one['exit_code']}): {one['meaning']}",
            )
            for one in described
        ],
    )


def _describe(desk: Desk, row: TransactionInfo) -> dict[str, Any]:
    mine = row.account == desk.wallet.address
    code = row.in_opcode
    return {
        "account": row.account.raw,
        "who": "this wallet" if mine else row.account.raw,
        "operation": "" if code is None else _OPERATIONS.get(code, f"{code:#010x}"),
        "success": row.success,
        "exit_code": row.exit_code,
        "meaning": None if row.success else meaning(row.exit_code),
        "in_nano": row.in_value,
        "fees_nano": row.fees,
        "time": row.now,
    }
