"""The vector files, and the real conformance process at the other end of a pipe."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "vectors"
FILES = sorted(path.name for path in FOLDER.glob("*.json") if path.name != "wire_v1.json")

Case = dict[str, Any]


def vectors(name: str) -> list[Case]:
    """The cases of one file."""
    return list(json.loads((FOLDER / name).read_text("utf-8"))["cases"])


def pipe(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """What `python -m cocoon_sdk.protocol.conformance` answers to these lines."""
    done = subprocess.run(
        [sys.executable, "-m", "cocoon_sdk.protocol.conformance"],
        input=b"\n".join(lines),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == b""
    return [json.loads(line) for line in done.stdout.splitlines()]


def pipe_cases(cases: Iterable[Case]) -> list[dict[str, Any]]:
    return pipe(json.dumps(case).encode() for case in cases)


def expected(case: Case) -> dict[str, Any]:
    return {"id": case["id"], "answer": case["expect"]}
