"""`cocoon wallet`: the wallet, its coins, and payment channels."""

from __future__ import annotations

from typing import Annotated

import typer

from cocoon_sdk.cli.desk import open_desk
from cocoon_sdk.cli.faucet import ask_faucet
from cocoon_sdk.cli.output import run_async
from cocoon_sdk.cli.wallet_report import confirm, say, say_channel, show_wallet
from cocoon_sdk.cli.wallet_steps import (
    current_channels,
    leave,
    require_no_channel,
    voucher_master,
)
from cocoon_sdk.durations import format_duration
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.payments import channels, closing
from cocoon_sdk.payments.accounting import ChannelStatus
from cocoon_sdk.payments.amounts import format_coins, parse_amount
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.contract.channel import CODE_HASH

app = typer.Typer(
    help="Wallet, balances and payment channels.", no_args_is_help=True, add_completion=False
)

ChainOption = Annotated[str | None, typer.Option(help="URL of a toncenter API. [COCOON_CHAIN]")]
NetworkOption = Annotated[
    int | None, typer.Option(help="Global id; default: the registry's. [COCOON_NETWORK]")
]
RegistryOption = Annotated[str | None, typer.Option(help="URL or path. [COCOON_REGISTRY]")]
TrustOption = Annotated[list[str] | None, typer.Option(help="Root key, repeatable. [COCOON_TRUST]")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
ChannelArgument = Annotated[
    str,
    typer.Argument(metavar="CHANNEL", help="Its address, or first digits of it or its provider."),
]
AmountArgument = Annotated[str, typer.Argument(metavar="AMOUNT", help="Coins, such as 0.2.")]


@app.command()
def show(
    chain: ChainOption = None,
    network: NetworkOption = None,
    registry: RegistryOption = None,
    trust: TrustOption = None,
    as_json: JsonOption = False,
) -> None:
    """Address, balance, and every channel as the chain has it now."""

    async def main() -> None:
        async with open_desk(chain=chain, network=network, registry=registry, trust=trust) as desk:
            found = await current_channels(desk)
            balance = (await desk.chain.get_account(desk.wallet.address)).balance
            show_wallet(desk, balance, found, as_json=as_json)

    run_async(main())


@app.command()
def fund(
    amount: AmountArgument,
    chain: ChainOption = None,
    network: NetworkOption = None,
    registry: RegistryOption = None,
    trust: TrustOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take coins from a devnet's faucet. On a real network, send coins to the wallet's address."""
    nano = parse_amount(amount)

    async def main() -> None:
        async with open_desk(chain=chain, network=network, registry=registry, trust=trust) as desk:
            await ask_faucet(chain, desk.wallet.address, nano)
            balance = (await desk.chain.get_account(desk.wallet.address)).balance
            say(
                {"address": desk.wallet.address.raw, "balance_nano": balance},
                f"the wallet holds {format_coins(balance)}",
                as_json=as_json,
            )

    run_async(main())


@app.command("open")
def open_command(
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
    chain: ChainOption = None,
    network: NetworkOption = None,
    registry: RegistryOption = None,
    trust: TrustOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Open a payment channel with a provider of the registry."""
    nano = parse_amount(deposit)

    async def main() -> None:
        async with open_desk(
            chain=chain, network=network, registry=registry, trust=trust, provider=provider
        ) as desk:
            descriptor = desk.provider(provider)
            if descriptor.code_hash != CODE_HASH.hex():
                raise ConfigError(
                    f"this provider takes channels of the contract {descriptor.code_hash}, "
                    f"this version opens {CODE_HASH.hex()}; install the version that it asks for"
                )
            if not another:
                await require_no_channel(desk, descriptor.public_key)
            master = await voucher_master(desk)
            delay = descriptor.close_delay if close_delay is None else close_delay
            if delay < descriptor.close_delay:
                raise ConfigError(
                    f"this provider accepts a close delay of {descriptor.close_delay} s or more, not {delay}"
                )
            confirm(
                f"Lock {format_coins(nano)} in a channel with {descriptor.id[:16]}…? "
                f"Leaving alone takes {format_duration(delay)}.",
                yes=yes,
                as_json=as_json,
            )
            channel = await channels.open_channel(
                chain=desk.chain,
                wallet=desk.wallet,
                database=desk.database,
                master=master,
                provider_key=descriptor.public_key,
                payout=Address.parse(descriptor.payout),
                close_delay=delay,
                deposit=nano,
                min_deposit=descriptor.min_deposit,
            )
            say_channel(channel.state, as_json=as_json, opened=True)

    run_async(main())


@app.command("top-up")
def top_up(
    channel: ChannelArgument,
    amount: AmountArgument,
    chain: ChainOption = None,
    network: NetworkOption = None,
    registry: RegistryOption = None,
    trust: TrustOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add coins to an open channel."""
    nano = parse_amount(amount)

    async def main() -> None:
        async with open_desk(chain=chain, network=network, registry=registry, trust=trust) as desk:
            state = await desk.channel(channel)
            question = f"Add {format_coins(nano)} to {state.address.raw}?"
            confirm(question, yes=yes, as_json=as_json)
            state = await channels.top_up(
                chain=desk.chain,
                wallet=desk.wallet,
                database=desk.database,
                state=state,
                amount=nano,
            )
            say_channel(state, as_json=as_json)

    run_async(main())


@app.command()
def close(
    channel: ChannelArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until the money is back.")] = False,
    chain: ChainOption = None,
    network: NetworkOption = None,
    registry: RegistryOption = None,
    trust: TrustOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Start to leave a channel; once its delay has passed, the same command takes the money back."""

    async def main() -> None:
        async with open_desk(chain=chain, network=network, registry=registry, trust=trust) as desk:
            state = await channels.refresh(desk.chain, desk.database, await desk.channel(channel))
            if state.status is ChannelStatus.OPEN:
                confirm(
                    f"Close {state.address.raw}? {format_coins(state.refundable)} or more come "
                    f"back after {format_duration(state.close_delay)}.",
                    yes=yes,
                    as_json=as_json,
                )
            say_channel(await leave(desk, state, wait=wait), as_json=as_json)

    run_async(main())


@app.command("cancel-close")
def cancel_close(
    channel: ChannelArgument,
    chain: ChainOption = None,
    network: NetworkOption = None,
    registry: RegistryOption = None,
    trust: TrustOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take back a close whose delay is running: the channel can be used again."""

    async def main() -> None:
        async with open_desk(chain=chain, network=network, registry=registry, trust=trust) as desk:
            state = await desk.channel(channel)
            confirm(f"Take back the close of {state.address.raw}?", yes=yes, as_json=as_json)
            state = await closing.cancel_close(
                chain=desk.chain, wallet=desk.wallet, database=desk.database, state=state
            )
            say_channel(state, as_json=as_json)

    run_async(main())
