"""`python -m benchmarks.registry_memory ours|peer FOLDER`: MiB kept and at the highest, above the start."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

from benchmarks.registry import STATUS, Peer, look_at_file
from cocoon_sdk.registry.trust import PinnedRoot
from cocoon_sdk.registry.verify import TrustedSet

PAGE = 4 / 1024  # the least that can be seen


def memory() -> tuple[float, float]:
    """Resident now, and at the highest, in MiB (Linux)."""
    lines = STATUS.read_text(encoding="ascii").splitlines()
    sizes = dict(line.split(":", 1) for line in lines)
    now, highest = (int(sizes[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, highest


def main(side: str, folder: Path) -> None:
    """Read the file and keep what was made of it."""
    root = (folder / "root").read_bytes()
    before, _ = memory()
    raw = (folder / "single").read_bytes()
    kept = (
        look_at_file(raw, TrustedSet(PinnedRoot(root))) if side == "ours" else Peer(root).file(raw)
    )
    del raw
    gc.collect()
    now, highest = memory()
    print(json.dumps([max(PAGE, now - before), max(PAGE, highest - before)]))
    del kept


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
