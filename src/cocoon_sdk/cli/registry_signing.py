"""`cocoon registry sign`, `cosign`, `accept`, `publish` and `rotate-root`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cocoon_sdk.cli.output import print_json, print_table
from cocoon_sdk.cli.registry_options import (
    DraftOption,
    FolderArgument,
    JsonOption,
    KeyOption,
    YesOption,
    ask_secret,
    confirm,
    next_step,
)
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import parse_public_key
from cocoon_sdk.operator import cosigning, operations
from cocoon_sdk.operator.build import DAY
from cocoon_sdk.operator.folder import OperatorFolder
from cocoon_sdk.operator.inspection import Inspection
from cocoon_sdk.operator.keyring import signers_for
from cocoon_sdk.operator.rotation import RoleChange, RootChange
from cocoon_sdk.operator.signers import open_signers
from cocoon_sdk.operator.signing import len_listed
from cocoon_sdk.operator.state import load_root
from cocoon_sdk.registry.fetch import unix_time
from cocoon_sdk.registry.sources import ROOT_FILE

_Keys = list[str] | None


def sign(
    folder: FolderArgument,
    publish_to: Annotated[
        Path | None, typer.Option("--publish", help="Copy the public files to this folder.")
    ] = None,
    shards: Annotated[
        bool | None,
        typer.Option(
            "--shards/--no-shards",
            help="Cut the list into shards [default: where it is longer than operator.toml says].",
        ),
    ] = None,
    key: KeyOption = None,
    draft: DraftOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign the next version of registry.json; run it hourly."""
    opened = OperatorFolder(folder)
    role = load_root(opened).registry.public_keys
    signers = signers_for(opened, "registry", role, key or (), ask=ask_secret)
    if draft is not None:
        if publish_to is not None:
            raise ConfigError("a draft is not published; accept it first, or leave out --draft")
        proposal, lacking = cosigning.draft_registry(
            opened, draft, now=unix_time(), signers=signers, shards=shards
        )
        if as_json:
            version = proposal.payload.version
            facts = {"kind": "registry", "version": version, "skipped": proposal.skipped}
            print_json({"draft": str(draft), **facts, "lacking": lacking})
        else:
            typer.echo(f"{draft}: {_draft_state(draft, lacking, folder)}")
            _say_skipped(proposal.skipped)
        return
    signed = operations.sign(opened, now=unix_time(), signers=signers, shards=shards)
    files = operations.publish(opened, publish_to, now=unix_time()) if publish_to else []
    payload = signed.registry.payload
    if as_json:
        print_json(
            {
                "network": payload.network,
                "version": payload.version,
                "digest": signed.registry.digest.hex(),
                "entries": len_listed(payload),
                "shards": len(payload.shards or ()),
                "new_shards": signed.new_shards,
                "skipped": signed.skipped,
                "fresh_until": payload.fresh_until,
                "expires": payload.expires,
                "published": files,
            }
        )
        return
    number = len_listed(payload)
    text = f"signed version {payload.version} with {number} provider{'s' * (number != 1)}"
    if payload.shards is not None:
        count = len(payload.shards)
        text += f" in {count} shard{'s' * (count != 1)}, {signed.new_shards} of them new"
    typer.echo(text)
    _say_skipped(signed.skipped)


def cosign(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A draft of sign or rotate-root.")],
    key: KeyOption = None,
    root: Annotated[
        Path | None,
        typer.Option(
            help="The root.json in force, as you know it, not as it came with the draft; not needed "
            "for a first root."
        ),
    ] = None,
    previous: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The published files before it, to show and check what changes."
        ),
    ] = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check a draft, show what it changes, and add signatures to it."""
    if root is None and previous is not None:
        root = previous / ROOT_FILE
    inspection = cosigning.inspect(path, now=unix_time(), root=root, before=previous)
    if not key:
        raise ConfigError("pass --key: file:PATH, env:NAME or ssl:URI#ed25519:HEX")
    signers = open_signers(key, inspection.allowed, role=inspection.kind, ask=ask_secret)
    title = f"Draft of {inspection.kind} {inspection.version}, {inspection.network}"
    confirm(title, inspection, yes=yes)
    lacking = cosigning.cosign(path, inspection, signers)
    _report_draft(path, inspection, lacking, None, as_json=as_json)


def accept(
    folder: FolderArgument,
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="A signed draft, or copies of one.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Take a draft into the folder once enough keys signed it; copies are combined."""
    taken = cosigning.accept(OperatorFolder(folder), paths, now=unix_time())
    if as_json:
        print_json({"kind": taken.kind, "version": taken.version})
    else:
        step = next_step("publish", folder) + " PUBLIC"
        if taken.kind == "root":
            step = next_step("sign", folder) + " --publish PUBLIC"
        typer.echo(f"{taken.kind} {taken.version} is signed; run: {step}")


def publish(
    folder: FolderArgument,
    target: Annotated[Path, typer.Argument(help="A folder that a web server serves.")],
    as_json: JsonOption = False,
) -> None:
    """Copy root.json, its versions, the shards and registry.json; never keys."""
    files = operations.publish(OperatorFolder(folder), target, now=unix_time())
    if as_json:
        print_json({"target": str(target), "published": files})
    else:
        typer.echo(f"{target}: {' '.join(files)}")


def rotate_root(
    folder: FolderArgument,
    add_root_key: Annotated[_Keys, typer.Option(help="A root key that joins.")] = None,
    drop_root_key: Annotated[_Keys, typer.Option(help="A root key that leaves.")] = None,
    root_threshold: Annotated[
        int | None, typer.Option(min=1, help="Root keys that must sign.")
    ] = None,
    add_registry_key: Annotated[_Keys, typer.Option(help="A registry key that joins.")] = None,
    drop_registry_key: Annotated[_Keys, typer.Option(help="A registry key that leaves.")] = None,
    registry_threshold: Annotated[
        int | None, typer.Option(min=1, help="Registry keys that must sign.")
    ] = None,
    mirror: Annotated[
        _Keys, typer.Option(help="Address of a mirror, in place of all so far; may be repeated.")
    ] = None,
    anchor: Annotated[
        str | None, typer.Option(help='Raw address of the anchor contract; "" for none.')
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="Lifetime of the new root.")] = 365,
    key: KeyOption = None,
    draft: DraftOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make the next root.json: other keys, thresholds, mirrors or anchor, or another year."""
    change = RootChange(
        root=_role_change(add_root_key, drop_root_key, root_threshold),
        registry=_role_change(add_registry_key, drop_registry_key, registry_threshold),
        mirrors=mirror,
        anchor=anchor,
        lifetime=days * DAY,
    )
    opened = OperatorFolder(folder)
    root, planned = cosigning.plan_root(opened, change, now=unix_time())
    confirm(f"Root {root.version} of {root.network}", planned, yes=yes)
    lacking = cosigning.rotate_root(opened, root, specs=key or (), ask=ask_secret, draft=draft)
    if draft is not None:
        _report_draft(draft, planned, lacking, folder, as_json=as_json)
    elif as_json:
        print_json(planned.to_dict() | {"lacking": None})
    else:
        typer.echo(
            f"root {root.version} is signed; run: {next_step('sign', folder)} --publish PUBLIC"
        )


def _role_change(add: _Keys, drop: _Keys, threshold: int | None) -> RoleChange:
    return RoleChange(
        add=[parse_public_key(text) for text in add or ()],
        drop=[parse_public_key(text) for text in drop or ()],
        threshold=threshold,
    )


def _report_draft(
    path: Path, inspection: Inspection, lacking: str | None, folder: Path | None, *, as_json: bool
) -> None:
    if as_json:
        print_json({"draft": str(path), **inspection.to_dict(), "lacking": lacking})
    else:
        typer.echo(f"{path}: {_draft_state(path, lacking, folder)}")


def _draft_state(draft: Path, lacking: str | None, folder: Path | None) -> str:
    """What a draft waits for. Who cosigns has no operator's folder: `folder` is None there."""
    if lacking is not None:
        return f"{lacking}; send it to the next: {next_step('cosign', draft)}"
    if folder is None:
        return f"enough keys signed; send it back, to be taken in with: cocoon registry accept DIR {draft.name}"
    return f"enough keys signed; run: {next_step('accept', folder, draft)}"


def _say_skipped(skipped: dict[str, str]) -> None:
    if skipped:
        print_table("Left out", ("provider", "reason"), skipped.items())
