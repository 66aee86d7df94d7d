"""Options that several `cocoon registry` commands share, and the question before a signature."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer

from cocoon_sdk.cli.output import print_table, tell
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.operator.inspection import Inspection
from cocoon_sdk.registry.descriptor import MAX_ENTRY_BYTES
from cocoon_sdk.registry.model import RootPayload

MAX_SHOWN = 200  # lines; --json has them all

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The operator's folder.")]
ProviderArgument = Annotated[
    str, typer.Argument(metavar="PROVIDER", help="Provider id, or its first digits.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
KeyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        metavar="KEY",
        help="Sign with file:PATH, env:NAME or ssl:URI#ed25519:HEX in place of the folder's keys; "
        "may be repeated.",
    ),
]
DraftOption = Annotated[
    Path | None,
    typer.Option(
        "--draft",
        metavar="FILE",
        help="Write a draft for other key holders to sign, however many did.",
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Sign without asking.")]


def confirm(title: str, draft: Inspection, *, yes: bool) -> None:
    """Show what is about to be signed, and ask.

    Raises:
        ConfigError: no, or there is nobody to ask.
    """
    print_table(title, ("", ""), draft.summary, stderr=True)
    shown = [tuple(change) for change in draft.changes[:MAX_SHOWN]]
    if len(draft.changes) > MAX_SHOWN:
        hidden = Counter(change.what for change in draft.changes[MAX_SHOWN:])
        told = ", ".join(f"{count} {what}" for what, count in hidden.items())
        shown.append((f"… and {hidden.total()} more", told, ""))
    print_table(
        "Changes" if shown else "No changes", ("what", "whom", "detail"), shown, stderr=True
    )
    if yes:
        return
    if not at_terminal():
        raise ConfigError("nothing was signed: look at the changes, then pass --yes")
    if not typer.confirm("Sign this?", err=True):
        raise ConfigError("nothing was signed")


def next_step(command: str, *paths: Path) -> str:
    """A command of `cocoon registry` to run next, as it can be pasted."""
    return shlex.join(["cocoon", "registry", *command.split(), *map(str, paths)])


def say_made(folder: Path, draft: Path | None, root: RootPayload) -> None:
    """The keys of a new registry, and what to do with them."""
    print_table(
        f"Registry {root.network} in {folder}",
        ("role", "threshold", "key"),
        [
            (name, f"{role.threshold} of {len(role.keys)}", key)
            for name, role in (("root", root.root), ("registry", root.registry))
            for key in role.keys
        ],
    )
    if any((folder / "keys").glob("root-*.key")):
        tell(
            f"Clients pass the root keys as trust=. Move {folder}/keys/root-*.key to another machine: "
            "signing a registry does not need them."
        )
    else:
        tell("Clients pass the root keys as trust=.")
    if draft is not None:
        tell(
            f"{draft} is not valid yet. Send it to the holders of the other root keys, who run: "
            f"{next_step('cosign', draft)} --key file:THEIR.key; "
            f"then run here: {next_step('accept', folder, draft)}"
        )


def at_terminal() -> bool:
    """Whether somebody sits there to be asked."""
    return sys.stdin.isatty()


def print_long_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, quiet: str = "none"
) -> None:
    """A table of at most MAX_SHOWN rows: where there are more, those whose last cell is not `quiet`."""
    shown = rows
    if len(rows) > MAX_SHOWN:
        shown = [row for row in rows if row[-1] != quiet][:MAX_SHOWN]
        title += f": {len(rows)} lines, {len(shown)} of them shown; --json has them all"
    print_table(title, columns, shown)


def ask_secret(name: str) -> str:
    """A PIN or passphrase, typed without being shown."""
    return getpass(f"{name}: ")


def read_entry(path: Path) -> bytes:
    """The content of an entry file, at most one byte above the limit.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with path.expanduser().open("rb") as file:
            return file.read(MAX_ENTRY_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
