"""Options that the wallet's commands share: told once, they reach a command as one `Call`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Concatenate, ParamSpec, get_type_hints

import typer

from cocoon_sdk.cli.output import run_async

P = ParamSpec("P")

ChannelArgument = Annotated[
    str,
    typer.Argument(metavar="CHANNEL", help="Its address, or first digits of it or its provider."),
]
ChannelOrAll = Annotated[
    str | None,
    typer.Argument(metavar="CHANNEL", help="Its address, or first digits of it or its provider."),
]
AllOption = Annotated[bool, typer.Option("--all", help="Every channel, in one transaction.")]
AmountArgument = Annotated[str, typer.Argument(metavar="AMOUNT", help="Coins, such as 0.2.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What every wallet command is told. The fields are the options, in the order of their help."""

    chain: Annotated[str | None, typer.Option(help="URL of a toncenter API. [COCOON_CHAIN]")] = None
    network: Annotated[
        int | None, typer.Option(help="Global id; default: the registry's. [COCOON_NETWORK]")
    ] = None
    registry: Annotated[str | None, typer.Option(help="URL or path. [COCOON_REGISTRY]")] = None
    trust: Annotated[
        list[str] | None, typer.Option(help="Root key, repeatable. [COCOON_TRUST]")
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent and its fees; send nothing.")
    ] = False
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False


_MONEY = {"dry_run", "yes"}

Command = Callable[Concatenate[Call, P], Coroutine[Any, Any, None]]


def looking(command: Command[P]) -> Callable[P, None]:
    """A command that moves no money."""
    return _with_options(command, leave_out=_MONEY)


def moving(command: Command[P]) -> Callable[P, None]:
    """A command that moves money: it takes --dry-run and --yes as well."""
    return _with_options(command, leave_out=set())


def _with_options(command: Command[P], *, leave_out: set[str]) -> Callable[P, None]:
    """The function that typer sees: the command's own parameters, then the shared ones."""
    shared = [
        one for one in inspect.signature(Call).parameters.values() if one.name not in leave_out
    ]

    @functools.wraps(command)
    def run(*_: P.args, **given: P.kwargs) -> None:
        told: dict[str, Any] = {one.name: given.pop(one.name) for one in shared}
        run_async(command(Call(**told), **given))  # type: ignore[call-arg]  # typer passes all by name

    hints = get_type_hints(command, include_extras=True) | get_type_hints(Call, include_extras=True)
    own = list(inspect.signature(command).parameters.values())[1:]
    parameters = [
        one.replace(annotation=hints[one.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for one in (*own, *shared)
    ]
    del run.__wrapped__
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # what typer reads
    return run
