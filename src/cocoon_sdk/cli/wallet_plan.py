"""What would be sent and what it costs: shown before the question, or in place of sending."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from cocoon_sdk.cli.desk import Desk
from cocoon_sdk.cli.output import print_json, print_table, tell
from cocoon_sdk.cli.wallet_options import Call
from cocoon_sdk.cli.wallet_report import confirm
from cocoon_sdk.payments.amounts import format_amount, format_coins
from cocoon_sdk.payments.moves import TYPICAL_FEES, Move, MoveKind
from cocoon_sdk.payments.sending import Sent, finish
from cocoon_sdk.payments.transfers import Outcome
from cocoon_sdk.ton.chain import AccountState
from cocoon_sdk.ton.transfer import fees_at_most

DEPLOYMENT = 400_000
"""Nano that a wallet's first transaction costs beyond the others: its code is stored."""

WORDS = {
    MoveKind.OPEN: "open a channel",
    MoveKind.TOP_UP: "top up",
    MoveKind.REQUEST_CLOSE: "start the close delay",
    MoveKind.CANCEL_CLOSE: "take a close back",
    MoveKind.FINALIZE: "finish a close",
    MoveKind.COOP_CLOSE: "close at once",
    MoveKind.SWEEP: "send everything",
}


def describe_plan(desk: Desk, account: AccountState, moves: Sequence[Move]) -> dict[str, Any]:
    """What `moves` would send and cost, as JSON.

    `needed_nano` must be in the wallet; of what is attached to operations the rest comes back.
    """
    about = fees_about(moves, deployed=account.status == "active")
    attached = sum(move.message.value for move in moves if move.returned)
    values = sum(move.message.value for move in moves if not move.returned)
    sweeps = any(move.message.carries_all for move in moves)
    if sweeps:
        values = max(0, account.balance - about)
    wallet = fees_at_most([move.message for move in moves])
    needed = wallet + attached + (0 if sweeps else values)
    return {
        "dry_run": True,
        "network": desk.chain.network,
        "from": desk.wallet.address.raw,
        "balance_nano": account.balance,
        "messages": [
            {
                "kind": str(move.kind),
                "to": move.message.to.raw,
                "value_nano": values if move.message.carries_all else move.message.value,
                "mode": move.message.mode,
                "bounce": move.message.bounce,
                "deploys": move.message.state_init is not None,
            }
            for move in moves
        ],
        "values_nano": values,
        "attached_nano": attached,
        "fees_about_nano": about,
        "needed_nano": needed,
        "enough": account.balance >= needed,
    }


def fees_about(moves: Sequence[Move], *, deployed: bool) -> int:
    """What these moves cost in the end, as measured."""
    return sum(TYPICAL_FEES[move.kind] for move in moves) + (0 if deployed else DEPLOYMENT)


async def approved(desk: Desk, call: Call, moves: Sequence[Move], question: str) -> bool:
    """Show the plan and say False with --dry-run; else ask, with the fees in the question.

    Raises:
        ConfigError: nobody can be asked.
        typer.Exit: the answer was no.
    """
    account = await desk.chain.get_account(desk.wallet.address)
    plan = describe_plan(desk, account, moves)
    if call.dry_run:
        _show(plan, as_json=call.as_json)
        return False
    fees = format_coins(plan["fees_about_nano"])
    confirm(f"{question} Fees: about {fees}.", yes=call.yes, as_json=call.as_json)
    return True


async def settle_earlier(desk: Desk, call: Call) -> list[Sent]:
    """Find out, and say, what became of what an earlier command stored and did not see through.

    A dry run leaves it alone.
    """
    if call.dry_run:
        return []
    found = list(await finish(desk.chain, desk.wallet, desk.database))
    for sent in found:
        at = dt.datetime.fromtimestamp(sent.created_at, dt.UTC).isoformat()
        what = ", ".join(f"{WORDS[move.kind]}: {move.subject}" for move in sent.moves[:3])
        tell(f"an earlier command of {at} had not ended ({what}): {_ENDS[sent.outcome]}")
    return found


def is_same(found: Sequence[Sent], moves: Sequence[Move]) -> Sent | None:
    """The finished transfer that was just this wish, so that nothing has to be sent."""
    wish = [move.wish for move in moves]
    for sent in found:
        if sent.outcome is Outcome.DONE and [move.wish for move in sent.moves] == wish:
            tell("that was this very command, so nothing more is sent; run it again to do it twice")
            return sent
    return None


_ENDS = {
    Outcome.DONE: "it is executed now",
    Outcome.FAILED: "it was executed, and failed",
    Outcome.VOID: "it was never executed, and never will be",
    Outcome.PENDING: "its outcome is not known",
}


def _show(plan: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(plan)
        return
    rows = [
        (
            WORDS[MoveKind(one["kind"])],
            one["to"],
            format_amount(one["value_nano"]),
            "and deploys it" if one["deploys"] else "",
        )
        for one in plan["messages"]
    ]
    print_table("Would be sent in one transaction", ("what", "to", "coins", ""), rows)
    tell(
        f"fees: about {format_coins(plan['fees_about_nano'])}; the wallet must hold "
        f"{format_amount(plan['needed_nano'])} and holds {format_amount(plan['balance_nano'])}"
        + ("" if plan["enough"] else ", which is too little")
    )
    if plan["attached_nano"]:
        tell("what is attached to operations and not used for fees comes back")
    tell("nothing was sent")
