"""The `cocoon` command: a group of commands, each loaded only when it is asked for."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from cocoon_sdk import __version__
from cocoon_sdk.cli.output import run_app

COMMANDS = {
    "demo": "Run the whole system once: model, devnet, provider, registry, one paid answer.",
    "chat": "Talk to a provider; the answer streams, the cost is shown.",
    "wallet": "Wallet, balances and payment channels.",
    "registry": "Make, sign and verify registry files.",
    "devnet": "A local TON network on the real transaction executor.",
}


class LazyGroup(TyperGroup):
    """Knows the names and one-line helps of its commands without importing them."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the framework's signature
        """The names, in the order of the table above."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and build one command; in the overview of commands only its line is needed."""
        if cmd_name not in COMMANDS:
            return None
        if ctx.resilient_parsing or _overview(sys.argv[1:]):
            return get_command(_placeholder(cmd_name))
        command = get_command(importlib.import_module(f"cocoon_sdk.cli.{cmd_name}").app)
        command.name = cmd_name
        return command


def _overview(arguments: list[str]) -> bool:
    return not arguments or arguments[0] in {"--help", "-h"}


def _placeholder(name: str) -> typer.Typer:
    app = typer.Typer()
    app.command(name, help=COMMANDS[name])(lambda: None)
    return app


app = typer.Typer(
    cls=LazyGroup,
    help="Private, decentralised AI inference paid in the coin of TON.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"cocoon {__version__}")
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


def main() -> None:
    """Entry point of the console script."""
    run_app(lambda: app(prog_name="cocoon"), as_json="--json" in sys.argv)


if __name__ == "__main__":
    main()
