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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from cocoon_sdk.errors import CocoonError

READY_TIMEOUT = 120.0
STOP_TIMEOUT = 30.0
LOG_TAIL_LINES = 12
_POSIX = os.name == "posix"
PROGRAMS = {"cocoon_sdk.cli": "cocoon", "cocoon_provider.cli": "cocoon-provider"}


class DemoError(CocoonError):
    """A part of the demo did not come up; the message holds the end of its log."""

    code = "demo"


class Children:
    """Starts processes with the demo's environment and ends them in reverse order."""

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        self._environment = dict(environment)
        self._logs = logs
        self._running: list[subprocess.Popen[str]] = []

    def start(self, name: str, module: str, arguments: Sequence[str]) -> dict[str, Any]:
        """Start `python -m module arguments…` and give its readiness line, parsed.

        Raises:
            DemoError: it ended, or said nothing for two minutes.
        """
        log = (self._logs / f"{name}.log").open("w", encoding="utf-8")
        with log:
            process = self._launch(module, arguments, log)
        return self._ready(name, process)

    def run(self, module: str, arguments: Sequence[str], *, show_progress: bool = False) -> str:
        """Run `python -m module arguments…` to its end and give its standard output.

        With `show_progress` a terminal sees the child's progress bars, and its own words if it fails.

        Raises:
            DemoError: it failed; the message says why, or that the reason has been shown already.
        """
        shown = show_progress and sys.stderr.isatty()
        process = self._launch(module, arguments, None if shown else subprocess.PIPE)
        out, log = process.communicate()
        self._running.remove(process)
        if process.returncode != 0:
            step = f"the step `{PROGRAMS[module]} {arguments[0]}` failed"
            raise DemoError(f"{step}: {'see above' if shown else _reason(log)}")
        return out

    def stop(self) -> None:
        """End all children, the last started first; SIGKILL for those that do not listen.

        An interrupt meanwhile (a second Ctrl-C) kills what is left instead of leaving it behind.
        """
        try:
            while self._running:
                _end(self._running[-1])
                self._running.pop()
        except BaseException:
            for process in self._running:
                _kill(process)
                process.wait()
            self._running.clear()
            raise

    def _launch(
        self, module: str, arguments: Sequence[str], stderr: int | IO[str] | None
    ) -> subprocess.Popen[str]:
        # Between the fork and the list an interrupt would leave a child that nobody knows.
        with _signals_deferred():
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=self._environment,
                # Ctrl-C reaches only the demo, which then ends its children in order. A session of its
                # own also makes it possible to end what the child has started, such as pip.
                start_new_session=_POSIX,
            )
            self._running.append(process)
        return process

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
    _, mark, said = f"\n{log.strip()}".rpartition("\nerror: ")
    return said if mark else "\n".join(said.splitlines()[-LOG_TAIL_LINES:])


def _forward(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    """Read standard output to its end, so that the child never blocks on a full pipe."""
    assert process.stdout is not None  # noqa: S101 - opened as a pipe
    with process.stdout as stream:
        for line in stream:
            lines.put(line)
    lines.put("")


@contextlib.contextmanager
def _signals_deferred() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP wait for the end of the block. Other threads never get them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, lambda got, _: came.append(got)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


def _end(process: subprocess.Popen[str]) -> None:
    """SIGTERM, SIGKILL after a while; the process and all that it started."""
    _signal(process, signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        _kill(process)
        process.wait()


def _kill(process: subprocess.Popen[str]) -> None:
    _signal(process, signal.SIGKILL if _POSIX else signal.SIGTERM)


def _signal(process: subprocess.Popen[str], number: int) -> None:
    if process.returncode is not None:  # its number may belong to another process by now
        return
    with contextlib.suppress(ProcessLookupError):
        if sys.platform == "win32":
            process.terminate()
        else:
            os.killpg(process.pid, number)
