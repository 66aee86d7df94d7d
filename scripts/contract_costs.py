"""Measure the gas and fees of every channel operation and print the table; --write puts it in the docs.

Runs on the real executor, with the helpers of tests/contract.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/reference/contract.md"
TABLE = re.compile(r"(?<=<!-- costs -->\n).*?(?=<!-- end of costs -->)", re.DOTALL)


def main() -> None:
    """Print the table, or replace the one in the documentation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"update {PAGE.name}")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    from contract.costs import table

    measured = table()
    if arguments.write:
        page = PAGE.read_text("utf-8")
        PAGE.write_text(TABLE.sub(lambda _: measured + "\n", page, count=1), "utf-8")
    print(measured)


if __name__ == "__main__":
    main()
