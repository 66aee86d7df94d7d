"""`cocoon registry review`: what an operator does before `add`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cocoon_sdk.cli.output import EXIT_ERROR, print_json, print_table, run_async
from cocoon_sdk.cli.registry_options import FolderArgument, JsonOption, next_step, read_entry
from cocoon_sdk.operator import operations
from cocoon_sdk.operator.canary import CanarySettings
from cocoon_sdk.operator.folder import OperatorFolder
from cocoon_sdk.operator.review import review as review_entry
from cocoon_sdk.operator.verdicts import ReviewReport, Verdict
from cocoon_sdk.registry.fetch import unix_time


def review(
    folder: FolderArgument,
    entries: Annotated[
        list[Path], typer.Argument(metavar="ENTRY…", help="Entry files that providers submitted.")
    ],
    add: Annotated[bool, typer.Option("--add", help="Add those in which nothing failed.")] = False,
    canary: Annotated[
        bool, typer.Option("--canary/--no-canary", help="Ask each model a small question.")
    ] = True,
    max_cost: Annotated[
        str, typer.Option(metavar="COINS", help="The most that one question may cost.")
    ] = "0.01",
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Knock at private addresses, too.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check entries, knock at their endpoints and ask a question; exits with 1 where a check fails."""
    opened = OperatorFolder(folder)
    settings = CanarySettings(most=max_cost, allow_private=allow_private) if canary else None
    reports: list[ReviewReport] = []
    added: list[str] = []
    for path in entries:
        raw = read_entry(path)
        report = run_async(
            review_entry(opened, raw, now=unix_time(), allow_private=allow_private, canary=settings)
        )
        reports.append(report)
        if add and report.verdict is not Verdict.FAIL:
            added.append(operations.add(opened, raw, now=unix_time()).id)
        if not as_json:
            _show(path, report)
    if as_json:
        print_json({"reviews": [report.to_dict() for report in reports], "added": added})
    elif added:
        typer.echo(f"added {len(added)}; run: {next_step('sign', folder)}")
    if any(report.verdict is Verdict.FAIL for report in reports):
        raise typer.Exit(EXIT_ERROR)


def _show(path: Path, report: ReviewReport) -> None:
    print_table(
        f"{path}: {report.provider or 'no provider'}: {report.verdict}",
        ("verdict", "check", "seen", "what to do"),
        [(check.verdict, check.name, check.detail, check.fix) for check in report.checks],
    )
