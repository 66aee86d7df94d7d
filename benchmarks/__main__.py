"""`python -m benchmarks [wire|ledger|decode …] [--json]`."""

from __future__ import annotations

import json
import sys

from benchmarks import decode, ledger, wire
from cocoon_sdk.cli.output import print_table

PARTS = {"wire": wire.run, "ledger": ledger.run, "decode": decode.run}


def main(arguments: list[str]) -> int:
    """Run the named parts, or all."""
    names = [argument for argument in arguments if not argument.startswith("-")] or list(PARTS)
    unknown = set(names) - set(PARTS)
    if unknown:
        print(f"no benchmark {min(unknown)!r}; there are: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    ratios = [ratio for name in names for ratio in PARTS[name]()]
    if "--json" in arguments:
        for ratio in ratios:
            print(json.dumps(ratio.to_dict()))
        return 0
    print_table(
        "Medians of interleaved pairs",
        ("what", "against", "ours", "theirs", "ratio (quartiles)"),
        [
            (
                ratio.name,
                ratio.peer,
                f"{ratio.ours:,.0f} {ratio.unit}",
                f"{ratio.theirs:,.0f}",
                f"{ratio.median:.2f} ({ratio.quartiles[0]:.2f} to {ratio.quartiles[1]:.2f})",
            )
            for ratio in ratios
        ],
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
