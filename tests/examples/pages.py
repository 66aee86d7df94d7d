"""Documentation pages as programs: their `sh` and `python` blocks, and a shell that runs them like a reader.

A block may be left out by an HTML comment right above it: <!-- not run: the reason -->.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
READY = '{"ready":'
WAIT = 90.0  # seconds for any one block

_FENCE = re.compile(
    r"^(?:<!-- not run: (?P<skip>[^\n]*?) -->\n+)?```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_PORT = re.compile(r"\b18\d{3}\b")
_BACKGROUND = re.compile(r"&\s*$", re.MULTILINE)


class Block(NamedTuple):
    """One fenced block that is to be run. `line` is that of its fence."""

    kind: str
    text: str
    line: int


def pages() -> list[Path]:
    """README and every page under docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, kind: str) -> list[Block]:
    """The blocks of a page in one language, without those that the page says are not run."""
    text = page.read_text("utf-8")
    return [
        Block(kind, match["text"], text[: match.start("kind")].count("\n") + 1)
        for match in _FENCE.finditer(text)
        if match["kind"] == kind and match["skip"] is None
    ]


def reasons(page: Path) -> list[str]:
    """Why blocks of a page are not run."""
    return [m["skip"] for m in _FENCE.finditer(page.read_text("utf-8")) if m["skip"] is not None]


class Shell:
    """One bash that runs blocks in order and waits for the readiness line of each background process."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._seen: list[str] = []
        self._count = 0
        self._ports: dict[str, str] = {}
        self.process = subprocess.Popen(
            ["bash", "-eo", "pipefail"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env=dict(env),
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def run(self, block: Block, where: str) -> str:
        """Run one block; its output.

        Raises:
            AssertionError: a command failed, or something did not become ready in time.
        """
        self._count += 1
        script = self._folder / f".block-{self._count}.sh"
        script.write_text(self._with_free_ports(block.text), "utf-8")
        mark = f"__done_{self._count}__"
        assert self.process.stdin is not None
        self.process.stdin.write(f"source {script} </dev/null\necho {mark}\n")
        self.process.stdin.flush()
        waiting = {mark}
        ready = len(_BACKGROUND.findall(block.text))
        output: list[str] = []
        deadline = time.monotonic() + WAIT
        while waiting or ready > 0:
            line = self._next(deadline)
            if line is None or (not waiting and line.startswith("error: ")):
                log = "".join(self._seen)[-6000:]
                raise AssertionError(
                    f"{where}:{block.line} failed or hung. The page so far:\n{log}"
                )
            if line.strip() in waiting:
                waiting.clear()
                continue
            ready -= line.startswith(READY)
            output.append(line)
        return "".join(output)

    def _with_free_ports(self, text: str) -> str:
        """The pages' ports, exchanged for free ones, so that several runs can share a machine."""
        for port in _PORT.findall(text):
            if port not in self._ports:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", 0))
                    self._ports[port] = str(probe.getsockname()[1])
        return _PORT.sub(lambda match: self._ports[match[0]], text)

    def close(self) -> None:
        """End the page's processes, politely first."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write("kill $(jobs -p) 2>/dev/null || true\nwait\n")
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _next(self, deadline: float) -> str | None:
        try:
            return self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return None

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self._seen.append(line)
                self._lines.put(line)
        self._lines.put(None)


@contextlib.contextmanager
def reader(folder: Path, env: Mapping[str, str]) -> Iterator[Shell]:
    """A reader's shell in a checkout: `.venv/bin` is where the pages say it is."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    for name in ("docs", "examples"):
        (folder / name).symlink_to(ROOT / name)
    shell = Shell(folder, env)
    try:
        yield shell
    finally:
        shell.close()


def clean_environment(cache: Path) -> dict[str, str]:
    """This process's environment without any setting of ours, and with the shared model cache."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COCOON_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return kept | {"PATH": path, "COCOON_CACHE": str(cache), "PYTHONUNBUFFERED": "1"}
