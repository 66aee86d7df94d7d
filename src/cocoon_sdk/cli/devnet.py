"""`cocoon devnet`: a local TON network on the real transaction executor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cocoon_sdk.cli.faucet import advance_clock, ask_faucet
from cocoon_sdk.cli.output import print_json, run_async
from cocoon_sdk.durations import format_duration
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.payments.amounts import format_coins, parse_amount
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import DEVNET_NETWORK

app = typer.Typer(
    help="A local TON network on the real transaction executor.",
    no_args_is_help=True,
    add_completion=False,
)


ChainOption = Annotated[
    str | None, typer.Option("--chain", help="URL of the devnet. [COCOON_CHAIN]")
]


@app.command()
def run(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 picks a free one.")] = 0,
    file: Annotated[
        Path | None,
        typer.Option(help="Where to keep the state; without it everything ends with the process."),
    ] = None,
    network: Annotated[int, typer.Option(help="The network's global id.")] = DEVNET_NETWORK,
) -> None:
    """Run until SIGTERM or Ctrl-C; one JSON line on standard output says when it is ready."""
    try:
        from cocoon_sdk.devnet.server import serve
    except ImportError as error:
        raise ConfigError(
            f"the devnet needs {error.name}: pip install 'cocoon-sdk[devnet]'"
        ) from error

    def on_ready(url: str) -> None:
        print_json({"ready": "devnet", "url": url, "network": network})

    run_async(serve(network=network, port=port, file=file, on_ready=on_ready))


@app.command()
def fund(
    address: Annotated[str, typer.Argument(help="A wallet's address, in any form.")],
    amount: Annotated[str, typer.Argument(help="Coins.")],
    chain: ChainOption = None,
) -> None:
    """Give coins to an address, for instance a provider's wallet."""
    nano = parse_amount(amount)
    run_async(ask_faucet(chain, Address.parse(address), nano))
    typer.echo(f"{address} got {format_coins(nano)}")


@app.command()
def advance(
    seconds: Annotated[int, typer.Argument(min=1, help="Seconds.")], chain: ChainOption = None
) -> None:
    """Move the clock forward, for instance past a channel's close delay."""
    run_async(advance_clock(chain, seconds))
    typer.echo(f"the devnet's clock is {format_duration(seconds)} further")
