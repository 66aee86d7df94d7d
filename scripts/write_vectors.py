"""Write the wire's test vectors: tests/vectors/*.json, all but wire_v1.json, which is the specification's own.

Run `python scripts/write_vectors.py` to write them; with `--check` the exit status is 1 where a file differs, and
nothing is written. They come from tests/reference/wire, a second implementation that shares no code with the product.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.reference.wire.vectors import FILES, render  # noqa: E402 - found by the line above


def main() -> int:
    """Write, or with --check compare."""
    folder = ROOT / "tests" / "vectors"
    stale = []
    for name in FILES:
        path, text = folder / name, render(name)
        if not path.exists() or path.read_text("utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, "utf-8")
                print(f"wrote {path.relative_to(ROOT)}")
    if stale and "--check" in sys.argv:
        print(f"not up to date: {', '.join(stale)}; run: python scripts/write_vectors.py")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
