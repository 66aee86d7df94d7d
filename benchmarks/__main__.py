"""`python -m benchmarks [wire|loopback|registry|ledger|imports|decode …] [--json] [--quick]`."""

from __future__ import annotations

import importlib
import json
import sys

from benchmarks.harness import FULL, QUICK, Figure
from cocoon_sdk.cli.output import print_table

# Each has a `run`; those of others are not imported, as they need other extras.
PARTS = ("wire", "loopback", "registry", "ledger", "imports", "decode")
_OPTIONS = {"--json", "--quick"}


def main(arguments: list[str]) -> int:
    """Run the named parts, or all."""
    unknown = set(arguments) - set(PARTS) - _OPTIONS
    if unknown:
        known = ", ".join((*PARTS, *sorted(_OPTIONS)))
        print(f"no benchmark {min(unknown)!r}; there are: {known}", file=sys.stderr)
        return 2
    effort = QUICK if "--quick" in arguments else FULL
    figures: list[Figure] = []
    for name in [name for name in arguments if name in PARTS] or PARTS:
        figures += importlib.import_module(f"benchmarks.{name}").run(effort)
    if "--json" in arguments:
        for figure in figures:
            print(json.dumps(figure.to_dict()))
        return 0
    title = "Medians of interleaved pairs"
    if effort is QUICK:
        title += "; a quick run only shows that they run, its figures mean nothing"
    print_table(
        title,
        ("what", "against", "ours", "theirs", "ratio (quartiles)", "goal"),
        [_row(figure) for figure in figures],
    )
    return 0


def _row(figure: Figure) -> tuple[str, ...]:
    low, high = figure.quartiles
    return (
        figure.name,
        figure.peer,
        f"{_number(figure.ours)} {figure.unit}",
        _number(figure.theirs),
        f"{figure.ratio:.2f} ({low:.2f} to {high:.2f})",
        _goal(figure),
    )


def _goal(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    sign = "≤" if figure.less else "≥"
    limit = _number(figure.goal.limit)
    text = {
        "ours": f"{sign} {limit} {figure.unit}",
        "ratio": f"{sign} {figure.goal.limit:g}×",
        "difference": f"{sign} +{limit} {figure.unit}, is {figure.difference:+.2f}",
    }[figure.goal.of]
    return f"{text}: {'met' if figure.met else 'missed'}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
