"""What every command prints: tables for people, JSON lines for programs, errors without tracebacks."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, NoReturn, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cocoon_sdk.errors import AttestationError, CocoonError, ConfigError
from cocoon_sdk.types.attestation import AttestationStep

T = TypeVar("T")

# The extra that brings a module which the base install lacks.
EXTRAS = {
    **dict.fromkeys(("tonpy", "starlette", "uvicorn"), "devnet"),
    **dict.fromkeys(("numpy", "gguf", "onnx", "onnxruntime", "tokenizers", "jinja2"), "provider"),
}
EXIT_ERROR = 1
EXIT_INTERRUPTED = 130
WIDEST = 10_000


def stderr_console() -> Console:
    """A console on standard error, where progress and questions go. It leaves breaking lines to the terminal."""
    return Console(stderr=True, soft_wrap=True)


def tell(text: str, *, style: str = "") -> None:
    """A line for people, on standard error."""
    stderr_console().print(text, style=style, markup=False, highlight=False)


def print_json(value: object) -> None:
    """One JSON object or array on one line of standard output.

    Whatever could drive a terminal is escaped: JSON itself only asks that of the first 32 characters.
    """
    text = json.dumps(value, ensure_ascii=False)
    sys.stdout.write("".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text) + "\n")
    sys.stdout.flush()


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, stderr: bool = False
) -> None:
    """A table on standard output, or standard error; control characters in cells are escaped.

    A cell is never broken in two, so that what it holds can be copied: a table that is wider than the
    terminal becomes one block of lines per row, and a pipe or file has no width to keep to.
    """
    texts = [[_one_line(escape_controls(str(cell))) for cell in row] for row in rows]
    table = Table(show_header=any(columns))
    for column in columns:
        table.add_column(escape(column), no_wrap=True)
    for row in texts:
        table.add_row(*map(escape, row))
    console = Console(stderr=stderr)
    needed = console.measure(table, options=console.options.update(max_width=WIDEST)).maximum
    if not console.is_terminal:
        console = Console(stderr=stderr, width=needed)
    console.print(title, style="italic", markup=False, highlight=False, soft_wrap=True)
    if needed <= console.width:
        console.print(table)
        return
    label = max(map(len, columns), default=0)
    for row in texts:
        for column, text in zip(columns, row, strict=True):
            line = f"  {column.ljust(label)}  {text}" if label else f"  {text}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if label:
            console.print()


def escape_controls(text: str) -> str:
    """Make control characters visible, keeping newline and tab, so that foreign text cannot drive a terminal."""
    return "".join(
        character
        if character in "\n\t" or (character.isprintable() or character == " ")
        else f"\\x{ord(character):02x}"
        for character in text
    )


def _one_line(text: str) -> str:
    """A cell that cannot pass for further rows."""
    return text.replace("\n", "\\n").replace("\t", "\\t")


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run one coroutine to its end on a fresh event loop."""
    return asyncio.run(main)


def fail(
    message: str,
    *,
    code: str = "error",
    as_json: bool = False,
    steps: Sequence[AttestationStep] = (),
) -> NoReturn:
    """Say what went wrong on standard error (and as JSON on standard output), then exit."""
    tell_steps(steps)
    tell(f"error: {escape_controls(message)}", style="red")
    if as_json:
        error: dict[str, Any] = {"code": code, "message": message}
        if steps:
            error["steps"] = [step.to_dict() for step in steps]
        print_json({"error": error})
    raise SystemExit(EXIT_ERROR)


def tell_steps(steps: Sequence[AttestationStep]) -> None:
    """One line for each check of an attestation, on standard error."""
    for step in steps:
        verdict = "passed" if step.ok else "FAILED"
        tell(f"{verdict}  {step.name}: {escape_controls(step.detail)}", style="dim")


def run_app(app: Callable[[], Any], *, as_json: bool) -> None:
    """Run a command line; errors of this package become one line, Ctrl-C exits quietly."""
    _reopen_standard_streams()
    try:
        app()
    except CocoonError as error:
        steps = error.steps if isinstance(error, AttestationError) else ()
        fail(str(error), code=error.code, as_json=as_json, steps=steps)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        fail(
            f"this command needs {error.name}: pip install 'cocoon-sdk[{extra}]'",
            code=ConfigError.code,
            as_json=as_json,
        )
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None


def _reopen_standard_streams() -> None:
    """Streams that the caller closed (`<&-`, `>&-`) read nothing and take anything, as from the null device.

    Opening them also keeps their numbers from the files and sockets that are opened later.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - stays open
