"""Which tests run which line, and how long each takes."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from campaign.trial import in_child, run_pytest


class TestMap(NamedTuple):
    """`lines`: file name → line → tests; None instead of tests where an import runs the line."""

    lines: dict[str, dict[int, list[str] | None]]
    seconds: dict[str, float]
    modules: list[str]  # imported by the tests, and not ours

    __test__ = False

    def tests_of(self, file: str, lines: tuple[int, int]) -> list[str] | None:
        """The tests that touch these lines, the quickest first; None: all there are."""
        known = self.lines.get(file, {})
        chosen: set[str] = set()
        for line in range(lines[0], lines[1] + 1):
            tests = known.get(line, [])
            if tests is None:
                return None
            chosen.update(tests)
        own = f"test_{Path(file).stem}.py"
        return sorted(chosen, key=lambda test: (own not in test, self.seconds.get(test, 0.0), test))


class _Tracing:
    """A pytest plugin that names each test to coverage.py."""

    def __init__(self, coverage: Any) -> None:
        self.coverage = coverage
        self.seconds: dict[str, float] = {}
        self.failed = ""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self.coverage.switch_context(item.nodeid)
        try:
            return (yield)
        finally:
            self.coverage.switch_context("")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed = f"{report.nodeid}: {str(report.longrepr)[-400:]}"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed and not self.failed:
            self.failed = f"{report.nodeid}: {str(report.longrepr)[-400:]}"


def trace(root: Path, package: str, files: list[str]) -> TestMap:
    """Run the tests once, traced.

    Raises:
        RuntimeError: they fail on the source as it is.
    """
    folder = root / "src" / package

    def work() -> dict[str, Any]:
        import coverage

        cover = coverage.Coverage(data_file=None, source=[str(folder)], config_file=False)
        cover.start()
        tracing = _Tracing(cover)
        status = run_pytest(root, files, [tracing])
        cover.stop()
        data = cover.get_data()
        lines: dict[str, dict[int, list[str] | None]] = {}
        for name in data.measured_files():
            lines[Path(name).relative_to(folder).as_posix()] = {
                line: None if "" in contexts else sorted(contexts)
                for line, contexts in data.contexts_by_lineno(name).items()
            }
        ours = ("cocoon_", "campaign", "test_", "tests", "unit", "adversarial", "__main__")
        helpers = {path.stem for path in (root / "tests").iterdir()}
        modules = [
            name
            for name in sys.modules
            if not name.startswith(ours) and name.split(".")[0] not in helpers
        ]
        return {
            "status": status,
            "failed": tracing.failed,
            "lines": lines,
            "seconds": tracing.seconds,
            "modules": modules,
        }

    answer = in_child(work, 900)
    if answer is None or answer["status"] != 0:
        why = "they did not end" if answer is None else answer["failed"] or answer["status"]
        raise RuntimeError(f"the tests of {package} must pass on the source as it is: {why}")
    lines = {
        file: {int(line): tests for line, tests in found.items()}
        for file, found in answer["lines"].items()
    }
    return TestMap(lines, answer["seconds"], answer["modules"])
