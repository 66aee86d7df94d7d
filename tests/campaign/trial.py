"""One mutant, one forked process: the changed module in memory, and the tests that touch its line.

Nothing is written into the tree. The parent has imported what the tests need of other people's
packages and nothing of ours, so a child starts in a fraction of a second and imports ours afresh.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.machinery
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import pytest

MEMORY = 3 << 30  # bytes a child may take: a loop that lost its end must not take the machine


class Outcome(NamedTuple):
    """How a run of tests ended: `passed`, `failed` (with the first failing test) or `timeout`."""

    status: str
    by: str = ""


class _Chosen:
    """A pytest plugin: only these tests, in this order; remembers the first that fails."""

    def __init__(self, tests: list[str] | None) -> None:
        self.order = None if tests is None else {test: place for place, test in enumerate(tests)}
        self.failed = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        order = self.order
        if order is not None:
            chosen = [item for item in items if item.nodeid in order]
            items[:] = sorted(chosen, key=lambda item: order[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


def in_child(work: Callable[[], Any], limit: float) -> Any:
    """What `work` returned (as JSON) in a forked process, None if it died or took too long."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.close(reading)
            os.setsid()
            silence = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(silence, stream)
            answer = json.dumps(work()).encode()
            with os.fdopen(writing, "wb") as out:
                out.write(answer)
        os._exit(0)
    os.close(writing)
    try:
        return _read(reading, time.monotonic() + limit)
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _read(descriptor: int, until: float) -> Any:
    import select

    answer = b""
    while (left := until - time.monotonic()) > 0:
        if not select.select([descriptor], [], [], left)[0]:
            break
        if not (piece := os.read(descriptor, 1 << 16)):
            return json.loads(answer) if answer else None
        answer += piece
    return None


def run_pytest(root: Path, arguments: Iterable[str], plugins: list[object]) -> int:
    """pytest in this process, on the tree at `root`, alike in every run."""
    from hypothesis import HealthCheck, Phase, settings

    settings.register_profile(
        "campaign",
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("campaign")
    os.chdir(root)
    sys.path[:0] = [str(root / "src"), str(root / "tests")]
    common = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", f"--rootdir={root}"]
    return int(pytest.main([*common, *arguments], plugins=plugins))


def replace_module(path: Path, tree: ast.Module) -> None:
    """Let the next import of this file find `tree` in it."""
    original = importlib.machinery.SourceFileLoader.get_code

    def get_code(self: Any, fullname: str) -> CodeType | None:
        if self.path == str(path):
            return compile(tree, str(path), "exec", dont_inherit=True)
        return original(self, fullname)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[assignment,method-assign] # in this process only


def preload(modules: Iterable[str]) -> None:
    """Import other people's modules, so that children find them."""
    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def try_mutant(
    root: Path,
    path: Path,
    tree: ast.Module,
    tests: list[str] | None,
    files: list[str],
    limit: float,
) -> Outcome:
    """Run `tests` (all of `files` when None) on the mutant."""

    def work() -> list[object]:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        replace_module(path, tree)
        chosen = _Chosen(tests)
        wanted = files if tests is None else sorted({test.split("::")[0] for test in tests})
        return [run_pytest(root, wanted, [chosen]), chosen.failed]

    answer = in_child(work, limit)
    if answer is None:
        return Outcome("timeout")
    status, failed = answer
    if status in {0, 5}:
        return Outcome("passed")
    return Outcome("failed", failed or "collection")
