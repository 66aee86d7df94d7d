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

        Raises:
            DemoError: it failed; the message holds the end of its standard error.
        """
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if show_progress else subprocess.PIPE,
            text=True,
            env=self._environment,
            check=False,
        )
        if done.returncode != 0:
            tail = "\n".join((done.stderr or "").splitlines()[-LOG_TAIL_LINES:])
            raise DemoError(f"`{module} {arguments[0]}` failed ({done.returncode}). {tail}".strip())
        return done.stdout

    def stop(self) -> None:
        """End all children, the last started first; SIGKILL for those that do not listen."""
        while self._running:
            _, process = self._running.pop()
            _end(process)

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
