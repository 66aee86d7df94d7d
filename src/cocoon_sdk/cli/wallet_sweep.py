"""`cocoon wallet sweep`: the rest of the wallet goes elsewhere."""

from __future__ import annotations

import base64
from typing import Annotated

import typer

from cocoon_sdk.cli.desk import Desk, open_desk
from cocoon_sdk.cli.wallet_options import Call, moving
from cocoon_sdk.cli.wallet_plan import approved, is_same, settle_earlier
from cocoon_sdk.cli.wallet_report import say
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.payments import moves
from cocoon_sdk.payments.accounting import ChannelStatus
from cocoon_sdk.payments.amounts import format_coins
from cocoon_sdk.payments.sending import send_moves
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import MAINNET

_TEST_ONLY = 0x80  # the flag of friendly addresses that are not for mainnet


@moving
async def sweep(
    call: Call,
    destination: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="Where everything goes, raw or friendly.")
    ],
    comment: Annotated[str, typer.Option(help="Text that goes along; exchanges ask for one.")] = "",
    leave_channels: Annotated[
        bool, typer.Option("--leave-channels", help="Even while coins are locked in channels.")
    ] = False,
) -> None:
    """Send everything that the wallet holds to another address."""
    to = _destination(destination)
    if len(comment.encode()) > moves.MAX_COMMENT:
        raise ConfigError(f"a comment is at most {moves.MAX_COMMENT} bytes long")
    async with open_desk(call) as desk:
        earlier = await settle_earlier(desk, call)
        if to == desk.wallet.address:
            raise ConfigError("that is this wallet's own address; nothing was sent")
        if desk.chain.network == MAINNET and _is_test_only(destination):
            raise ConfigError(
                "that address is marked for test networks only; ask for the right one"
            )
        await _require_no_channels(desk, leave=leave_channels)
        # An account without a contract returns what bounces.
        bounce = (await desk.chain.get_account(to)).status == "active"
        plan = [moves.sweeping(to, bounce=bounce, comment=comment)]
        balance = (await desk.chain.get_account(desk.wallet.address)).balance
        if is_same(earlier, plan) is None:
            question = f"Send all {format_coins(balance)}, less fees, to {to.raw}?"
            if not await approved(desk, call, plan, question):
                return
            (await send_moves(desk.chain, desk.wallet, desk.database, plan)).check()
        left = (await desk.chain.get_account(desk.wallet.address)).balance
        say(
            {"to": to.raw, "sent_nano": max(0, balance - left), "balance_nano": left},
            f"the wallet holds {format_coins(left)} now",
            as_json=call.as_json,
        )


async def _require_no_channels(desk: Desk, *, leave: bool) -> None:
    """Closing a channel later takes coins in this very wallet."""
    locked = [one for one in await desk.channels() if one.status is not ChannelStatus.CLOSED]
    if locked and not leave:
        total = format_coins(sum(one.balance for one in locked))
        raise ConfigError(
            f"{len(locked)} channel(s) still hold {total}, and only this wallet can close them, which "
            "takes coins for fees: cocoon wallet close --all; or pass --leave-channels"
        )


def _destination(text: str) -> Address:
    to = Address.parse(text)
    if to.workchain != 0:
        raise ConfigError(f"{to.raw} is not in workchain 0, where people's wallets are")
    return to


def _is_test_only(text: str) -> bool:
    if ":" in text:
        return False
    packed = base64.urlsafe_b64decode(text.replace("+", "-").replace("/", "_"))
    return bool(packed[0] & _TEST_ONLY)
