"""`cocoon registry`: make, sign, publish and verify registry files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cocoon_sdk.cli.output import EXIT_ERROR, print_json, print_table, run_async
from cocoon_sdk.cli.registry_options import (
    DraftOption,
    FolderArgument,
    JsonOption,
    ProviderArgument,
    next_step,
    print_long_table,
    read_entry,
    say_made,
)
from cocoon_sdk.cli.registry_review import review
from cocoon_sdk.cli.registry_signing import accept, cosign, publish, rotate_root, sign
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import Ed25519Key, format_public_key, parse_public_key, save_key
from cocoon_sdk.operator import operations
from cocoon_sdk.operator.build import DAY
from cocoon_sdk.operator.folder import OperatorFolder
from cocoon_sdk.operator.report import describe_snapshot, show_folder
from cocoon_sdk.registry.fetch import RegistryClient, unix_time
from cocoon_sdk.registry.snapshot import Snapshot
from cocoon_sdk.registry.sources import ROOT_FILE

app = typer.Typer(
    help="Make, sign and verify registry files.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def init(
    folder: FolderArgument,
    network: Annotated[
        str, typer.Option(help="Chain id and registry name: -239/main, -3/test, devnet/local.")
    ],
    root_keys: Annotated[int, typer.Option(min=0, help="Root keys to make here.")] = 1,
    root_threshold: Annotated[
        int | None, typer.Option(min=1, help="Root keys that must sign [default: a majority].")
    ] = None,
    registry_keys: Annotated[int, typer.Option(min=0, help="Registry keys to make here.")] = 1,
    registry_threshold: Annotated[
        int | None, typer.Option(min=1, help="Registry keys that must sign [default: a majority].")
    ] = None,
    root_public: Annotated[
        list[str] | None, typer.Option(help="A root key held elsewhere; may be repeated.")
    ] = None,
    registry_public: Annotated[
        list[str] | None, typer.Option(help="A registry key held elsewhere; may be repeated.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="Lifetime of the root.")] = 365,
    draft: DraftOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make keys and the first root.json."""
    root = operations.init(
        folder,
        network=network,
        now=unix_time(),
        root_keys=root_keys,
        root_threshold=root_threshold,
        registry_keys=registry_keys,
        registry_threshold=registry_threshold,
        root_public=[parse_public_key(text) for text in root_public or ()],
        registry_public=[parse_public_key(text) for text in registry_public or ()],
        lifetime=days * DAY,
        draft=draft,
    )
    if as_json:
        print_json(
            {
                "folder": str(folder),
                "network": root.network,
                "root_version": root.version,
                "expires": root.expires,
                "trust": root.root.keys,
                "trust_threshold": root.root.threshold,
                "registry_keys": root.registry.keys,
                "registry_threshold": root.registry.threshold,
            }
        )
        return
    say_made(folder, draft, root)


@app.command()
def keygen(
    path: Annotated[Path, typer.Argument(help="Where to write the private key (0600).")],
    as_json: JsonOption = False,
) -> None:
    """Make one key, for a role of a registry whose other keys are held elsewhere."""
    key = Ed25519Key.generate()
    save_key(key, path.expanduser())
    public = format_public_key(key.public_key)
    if as_json:
        print_json({"file": str(path), "public_key": public})
    else:
        typer.echo(public)


@app.command()
def add(
    folder: FolderArgument,
    entries: Annotated[
        list[Path], typer.Argument(metavar="ENTRY…", help="Entry files that providers submitted.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Check a provider's entry and take it in; `sign` puts it into the registry."""
    added = [
        operations.add(OperatorFolder(folder), read_entry(path), now=unix_time())
        for path in entries
    ]
    if as_json:
        print_json(
            {
                "added": [
                    {"id": descriptor.id, "seq": descriptor.seq, "endpoints": descriptor.endpoints}
                    for descriptor in added
                ]
            }
        )
        return
    print_table(
        f"Added; run: {next_step('sign', folder)}",
        ("provider", "seq", "endpoints", "models"),
        [
            (item.id, item.seq, " ".join(item.endpoints), " ".join(m.id for m in item.models))
            for item in added
        ],
    )


@app.command()
def remove(folder: FolderArgument, provider: ProviderArgument, as_json: JsonOption = False) -> None:
    """Take a provider out of the next version; it may come back."""
    found = operations.remove(OperatorFolder(folder), provider)
    _say("removed", found, folder, as_json=as_json)


@app.command()
def revoke(
    folder: FolderArgument,
    provider: ProviderArgument,
    below: Annotated[
        int | None,
        typer.Option(min=1, help="Only refuse its descriptors with a lower sequence number."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse a stolen identity key for good, or only its older descriptors."""
    found = operations.revoke(OperatorFolder(folder), provider, below=below)
    _say("revoked" if below is None else "raised", found, folder, as_json=as_json)


for command in (review, sign, cosign, accept, publish):
    app.command()(command)
app.command("rotate-root")(rotate_root)


@app.command()
def show(folder: FolderArgument, as_json: JsonOption = False) -> None:
    """What the folder holds: roles, versions, entries and what is wrong with them."""
    report = show_folder(OperatorFolder(folder), now=unix_time())
    if as_json:
        print_json(report.to_dict())
        return
    print_table(f"Registry {report.network}", ("", ""), report.summary())
    print_long_table(
        "Entries", ("provider", "seq", "expires in", "assurance", "problem"), report.rows()
    )


@app.command()
def verify(
    source: Annotated[str, typer.Argument(help="URL, file or folder of registry.json.")],
    trust: Annotated[
        str | None,
        typer.Option(envvar="COCOON_TRUST", help="Root keys (comma-separated) or a root.json."),
    ] = None,
    trust_threshold: Annotated[int | None, typer.Option(min=1)] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a registry and every descriptor in it, as a client would; all shards, too."""
    if trust is None and (Path(source) / ROOT_FILE).is_file():
        trust = os.fspath(Path(source) / ROOT_FILE)
    if trust is None:
        raise ConfigError("pass --trust: the registry's root keys, or a root.json that you trust")
    client = RegistryClient(source, trust=trust, trust_threshold=trust_threshold, cache=False)
    snapshot = run_async(_whole(client))
    report = describe_snapshot(snapshot, now=unix_time())
    if as_json:
        print_json(report)
    else:
        print_long_table(
            f"{snapshot.registry} version {snapshot.version}, digest {snapshot.digest.hex()}",
            ("provider", "models", "assurance", "problem"),
            [
                (
                    item["id"],
                    " ".join(item["models"]),
                    item["assurance"] or "-",
                    item["problem"] or "none",
                )
                for item in report["providers"]
            ],
        )
        if snapshot.broken:
            print_table("Shards that are missing", ("shard", "problem"), report["broken"].items())
    if snapshot.broken:
        raise typer.Exit(EXIT_ERROR)


async def _whole(client: RegistryClient) -> Snapshot:
    try:
        return await client.snapshot(everything=True)
    finally:
        await client.aclose()


def _say(verb: str, provider: str, folder: Path, *, as_json: bool) -> None:
    if as_json:
        print_json({verb: provider})
    else:
        typer.echo(f"{verb} {provider}; run: {next_step('sign', folder)}")
