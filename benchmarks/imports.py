"""Start-up: what an import costs in a fresh interpreter, beside `import httpx`."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.harness import FULL, Effort, Figure, Goal, figure

PEER = "import httpx"
OURS = (
    ("import cocoon_sdk", Goal("ratio", 1.0)),
    ("from cocoon_sdk import AsyncCocoon", None),
)


def seconds(statement: str) -> float:
    """Processor time of one statement in an interpreter of its own, bytecode cached."""
    code = (
        f"import time; start = time.process_time(); {statement}; print(time.process_time() - start)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def run(effort: Effort = FULL) -> list[Figure]:
    """The package alone, and the client with all that it needs."""
    figures = []
    for statement, goal in OURS:
        for warm in (statement, PEER):
            seconds(warm)
        measured = [(seconds(statement) * 1e3, seconds(PEER) * 1e3) for _ in range(effort.pairs)]
        figures.append(figure(statement, PEER, "ms", measured, less=True, goal=goal))
    return figures
