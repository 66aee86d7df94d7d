"""Refuse source files of 600 lines or more: a file that long has more than one job."""

import sys
from pathlib import Path

LIMIT = 600


def main() -> int:
    """Print each file over the limit; the exit status says whether there was one."""
    root = Path(__file__).resolve().parent.parent / "src"
    sizes = {path: len(path.read_text("utf-8").splitlines()) for path in root.rglob("*.py")}
    too_long = {path: size for path, size in sizes.items() if size >= LIMIT}
    for path, size in sorted(too_long.items()):
        print(f"{path.relative_to(root.parent)}: {size} lines (limit {LIMIT - 1})", file=sys.stderr)
    return 1 if too_long else 0


if __name__ == "__main__":
    raise SystemExit(main())
