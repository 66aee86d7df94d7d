"""What every command prints: tables for people, JSON lines for programs, errors without tracebacks."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, NoReturn, TypeVar

from rich.console import Console
from rich.table import Table

from cocoon_sdk.errors import CocoonError

T = TypeVar("T")

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130


def stderr_console() -> Console:
    """A console on standard error, where progress and questions go."""
    return Console(stderr=True)


def print_json(value: object) -> None:
    """One JSON object or array on one line of standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on standard output; control characters in cells are escaped."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape_controls(str(cell)) for cell in row))
    Console().print(table, markup=False)


def escape_controls(text: str) -> str:
    """Make control characters visible, keeping newline and tab, so that foreign text cannot drive a terminal."""
    return "".join(
        character
        if character in "\n\t" or (character.isprintable() or character == " ")
        else f"\\x{ord(character):02x}"
        for character in text
    )


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run one coroutine to its end on a fresh event loop."""
    return asyncio.run(main)


def fail(message: str, *, code: str = "error", as_json: bool = False) -> NoReturn:
    """Say what went wrong on standard error (and as JSON on standard output), then exit."""
    stderr_console().print(f"error: {message}", style="red", markup=False, highlight=False)
    if as_json:
        print_json({"error": {"code": code, "message": message}})
    raise SystemExit(EXIT_ERROR)


def run_app(app: Callable[[], Any], *, as_json: bool) -> None:
    """Run a command line; errors of this package become one line, Ctrl-C exits quietly."""
    try:
        app()
    except CocoonError as error:
        fail(str(error), code=error.code, as_json=as_json)
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
