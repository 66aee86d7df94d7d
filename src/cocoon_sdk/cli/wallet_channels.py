"""`cocoon wallet open` and `topup`: coins into a channel."""

from __future__ import annotations

from typing import Annotated

import typer

from cocoon_sdk.cli.desk import open_desk
from cocoon_sdk.cli.wallet_options import AmountArgument, Call, ChannelArgument, moving
from cocoon_sdk.cli.wallet_plan import approved, is_same, settle_earlier
from cocoon_sdk.cli.wallet_report import say_channel
from cocoon_sdk.cli.wallet_steps import require_no_channel, voucher_master
from cocoon_sdk.durations import format_duration
from cocoon_sdk.errors import ConfigError, PaymentError
from cocoon_sdk.payments import channels, ledger, moves
from cocoon_sdk.payments.accounting import ChannelStatus
from cocoon_sdk.payments.amounts import format_coins, parse_amount
from cocoon_sdk.payments.opening import plan_opening
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.contract.channel import CODE_HASH


@moving
async def open_channel(
    call: Call,
    provider: Annotated[
        str, typer.Argument(metavar="PROVIDER", help="Provider id, or its first digits.")
    ],
    deposit: Annotated[str, typer.Option(help="Coins to lock in the channel.")],
    close_delay: Annotated[
        int | None, typer.Option(help="Seconds you wait when leaving alone; default: the least.")
    ] = None,
    another: Annotated[
        bool, typer.Option("--another", help="Even if there is a channel with it already.")
    ] = False,
) -> None:
    """Open a payment channel with a provider of the registry."""
    nano = parse_amount(deposit)
    async with open_desk(call, provider=provider) as desk:
        descriptor = desk.provider(provider)
        if descriptor.code_hash != CODE_HASH.hex():
            raise ConfigError(
                f"this provider takes channels of the contract {descriptor.code_hash}, "
                f"this version opens {CODE_HASH.hex()}; install the version that it asks for"
            )
        earlier = await settle_earlier(desk, call)
        delay = descriptor.close_delay if close_delay is None else close_delay
        if delay < descriptor.close_delay:
            raise ConfigError(
                f"this provider accepts a close delay of {descriptor.close_delay} s or more, not {delay}"
            )
        opening = await plan_opening(
            chain=desk.chain,
            wallet=desk.wallet,
            master=await voucher_master(desk, create=not call.dry_run),
            provider_key=descriptor.public_key,
            payout=Address.parse(descriptor.payout),
            close_delay=delay,
            deposit=nano,
            min_deposit=descriptor.min_deposit,
        )
        same = is_same(earlier, [opening.move])
        if same is not None:
            number = same.moves[0].channel_id or 0
            state = await desk.database.run(lambda c: ledger.load_channel(c, number))
            say_channel(
                await channels.refresh_until(
                    desk.chain, desk.database, state, {ChannelStatus.OPEN}
                ),
                as_json=call.as_json,
                opened=True,
            )
            return
        if not another:
            await require_no_channel(desk, descriptor.public_key)
        question = (
            f"Lock {format_coins(nano)} in a channel with {descriptor.id[:16]}…? "
            f"Leaving alone takes {format_duration(delay)}."
        )
        if not await approved(desk, call, [opening.move], question):
            return
        channel = await channels.carry_out_opening(
            chain=desk.chain, wallet=desk.wallet, database=desk.database, opening=opening
        )
        say_channel(channel.state, as_json=call.as_json, opened=True)


@moving
async def top_up(call: Call, channel: ChannelArgument, amount: AmountArgument) -> None:
    """Add coins to an open channel."""
    nano = parse_amount(amount)
    if not nano:
        raise ConfigError("an amount of 0 adds nothing; give the coins to add")
    async with open_desk(call) as desk:
        earlier = await settle_earlier(desk, call)
        state = await channels.refresh(desk.chain, desk.database, await desk.channel(channel))
        if state.status is not ChannelStatus.OPEN:
            raise PaymentError(
                f"the channel {state.address.raw} is {state.status} and takes no coins; nothing was sent"
            )
        plan = [moves.topping_up(state, nano)]
        if is_same(earlier, plan) is None:
            question = f"Add {format_coins(nano)} to {state.address.raw}?"
            if not await approved(desk, call, plan, question):
                return
            state = await channels.top_up(
                chain=desk.chain,
                wallet=desk.wallet,
                database=desk.database,
                state=state,
                amount=nano,
            )
        say_channel(state, as_json=call.as_json)
