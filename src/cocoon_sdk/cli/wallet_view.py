"""`cocoon wallet show` and `fund`: what there is, and how to get more."""

from __future__ import annotations

from cocoon_sdk.cli.desk import Desk, open_desk
from cocoon_sdk.cli.faucet import ask_faucet
from cocoon_sdk.cli.output import print_json
from cocoon_sdk.cli.wallet_options import AmountArgument, Call, looking
from cocoon_sdk.cli.wallet_report import describe_wallet, say, show_wallet
from cocoon_sdk.cli.wallet_steps import current_channels
from cocoon_sdk.errors import ChainUnavailableError
from cocoon_sdk.payments.amounts import format_coins, parse_amount
from cocoon_sdk.payments.transfers import pending
from cocoon_sdk.ton.chain import DEVNET_NETWORK, MAINNET


@looking
async def show(call: Call) -> None:
    """Address, balance, what is locked, and every channel; without the chain, as last seen."""
    async with open_desk(call) as desk:
        balance: int | None = None
        offline: str | None = None
        try:
            balance = (await desk.chain.get_account(desk.wallet.address)).balance
            found = await current_channels(desk)
        except ChainUnavailableError as error:
            offline = str(error)
            found = await desk.channels()
        unfinished = await desk.database.run(
            lambda c: pending(c, network=desk.wallet.network, wallet=desk.wallet.address)
        )
        described = describe_wallet(desk, balance, found, unfinished=unfinished, offline=offline)
        if call.as_json:
            print_json(described)
        else:
            show_wallet(desk, described)


@looking
async def fund(call: Call, amount: AmountArgument) -> None:
    """On a devnet, take coins from its faucet; elsewhere, say where to send them."""
    nano = parse_amount(amount)
    async with open_desk(call, make_wallet=True) as desk:
        if desk.chain.network != DEVNET_NETWORK:
            _say_where(desk, nano, as_json=call.as_json)
            return
        await ask_faucet(call.chain, desk.wallet.address, nano)
        balance = (await desk.chain.get_account(desk.wallet.address)).balance
        say(
            {"address": desk.wallet.address.raw, "balance_nano": balance},
            f"the wallet holds {format_coins(balance)}",
            as_json=call.as_json,
        )


def _say_where(desk: Desk, nano: int, *, as_json: bool) -> None:
    friendly = desk.wallet.address.friendly(bounceable=False, testnet=desk.chain.network != MAINNET)
    link = f"ton://transfer/{friendly}?amount={nano}"
    say(
        {"address": desk.wallet.address.raw, "friendly": friendly, "link": link},
        f"send {format_coins(nano)} to {friendly}\nor open {link}",
        as_json=as_json,
    )
