"""Child processes of the demo: started with a readiness line, always reaped."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cocoon_sdk.errors import CocoonError

READY_TIMEOUT = 120.0
STOP_TIMEOUT = 30.0
LOG_TAIL_LINES = 12
PROGRAMS = {"cocoon_sdk.cli": "cocoon", "cocoon_provider.cli": "cocoon-provider"}


class DemoError(CocoonError):
    """A part of the demo did not come up; the message holds the end of its log."""

    code = "demo"


class Children:
    """Starts processes with the demo's environment and ends them in reverse order."""

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        self._environment = dict(environment)
        self._logs = logs
        self._running: list[tuple[str, subprocess.Popen[str]]] = []

    def start(self, name: str, module: str, arguments: Sequence[str]) -> dict[str, Any]:
        """Start `python -m module arguments…` and give its readiness line, parsed.

        Raises:
            DemoError: it ended, or said nothing for two minutes.
        """
        log = (self._logs / f"{name}.log").open("w", encoding="utf-8")
        with log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment,
                # Ctrl-C reaches only the demo, which then ends its children in order.
                start_new_session=os.name == "posix",
            )
        self._running.append((name, process))
        return self._ready(name, process)

    def run(self, module: str, arguments: Sequence[str], *, show_progress: bool = False) -> str:
        """Run `python -m module arguments…` to its end and give its standard output.

        With `show_progress` a terminal sees the child's progress bars, and its own words if it fails.

        Raises:
            DemoError: it failed; the message says why, or that the reason has been shown already.
        """
        shown = show_progress and sys.stderr.isatty()
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if shown else subprocess.PIPE,
            text=True,
            env=self._environment,
            check=False,
        )
        if done.returncode != 0:
            step = f"the step `{PROGRAMS[module]} {arguments[0]}` failed"
            raise DemoError(f"{step}: {'see above' if shown else _reason(done.stderr)}")
        return done.stdout

    def stop(self) -> None:
        """End all children, the last started first; SIGKILL for those that do not listen.

        An interrupt meanwhile (a second Ctrl-C) kills what is left instead of leaving it behind.
        """
        try:
            while self._running:
                _end(self._running[-1][1])
                self._running.pop()
        except BaseException:
            for _, process in self._running:
                process.kill()
                process.wait()
            self._running.clear()
            raise

    def _ready(self, name: str, process: subprocess.Popen[str]) -> dict[str, Any]:
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_forward, args=(process, lines), daemon=True).start()
        try:
            line = lines.get(timeout=READY_TIMEOUT)
        except queue.Empty:
            line = ""
        try:
            ready = json.loads(line)
        except ValueError:
            ready = None
        if not isinstance(ready, dict):
            raise DemoError(f"the {name} did not start. The end of its log:\n{self._tail(name)}")
        return ready

    def _tail(self, name: str) -> str:
        text = (self._logs / f"{name}.log").read_text("utf-8", errors="replace")
        return "\n".join(text.splitlines()[-LOG_TAIL_LINES:])


def _reason(log: str) -> str:
    """What a failed command said: its last error, else the end of its log."""
    head, mark, said = f"\n{log.strip()}".rpartition("\nerror: ")
    return said if mark else "\n".join(head.splitlines()[-LOG_TAIL_LINES:])


def _forward(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    """Read standard output to its end, so that the child never blocks on a full pipe."""
    assert process.stdout is not None  # noqa: S101 - opened as a pipe
    with process.stdout as stream:
        for line in stream:
            lines.put(line)
    lines.put("")


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
