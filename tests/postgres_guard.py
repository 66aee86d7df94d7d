"""Keeps one PostgreSQL server for a test run and takes it down with the run, however that ends.

    python postgres_guard.py quick|durable BIN FOLDER [UID GID]

Commands come on stdin, one a line: `start`, `stop` (clients are thrown out), `kill` (as in a crash); each is
answered by one line. At the end of stdin, which is also the death of the parent, the server is killed and
FOLDER removed. Standard library only.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SETTINGS = {
    "listen_addresses": "",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "16MB",
    "log_checkpoints": "off",
}
QUICK = {"fsync": "off", "full_page_writes": "off"}  # tests crash processes, not machines
WAIT = 30.0


class Guard:
    """One server on a socket in `folder`."""

    def __init__(
        self, settings: dict[str, str], binaries: Path, folder: Path, owner: dict[str, Any]
    ) -> None:
        self._settings = settings
        self._binaries = binaries
        self._folder = folder
        self._data = folder / "data"
        self._owner = owner
        self._server: subprocess.Popen[bytes] | None = None

    def init(self) -> None:
        options = [
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "-N",
            "--no-instructions",
            "-U",
            "cocoon",
        ]
        self._call("initdb", "-D", str(self._data), *options)

    def start(self) -> None:
        options = [part for item in self._settings.items() for part in ("-c", "=".join(item))]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [
                    *(self._binaries / "postgres", "-D", self._data, "-k", self._folder),
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                **self._owner,
            )
        deadline = time.monotonic() + WAIT
        while not self._ready():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._folder / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        if self._server is not None:
            self._server.send_signal(how)
            try:
                self._server.wait(WAIT)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None

    def kill(self) -> None:
        self.stop(signal.SIGQUIT)

    def _ready(self) -> bool:
        try:
            return (self._data / "postmaster.pid").read_text().split("\n")[7].strip() == "ready"
        except (OSError, IndexError):
            return False

    def _call(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._binaries / program, *arguments],
            check=True,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=WAIT,
            **self._owner,
        )


def main() -> None:
    settings = SETTINGS | (QUICK if sys.argv[1] == "quick" else {})
    binaries, folder = Path(sys.argv[2]), Path(sys.argv[3])
    owner: dict[str, Any] = {}
    if len(sys.argv) > 4:
        owner = {"user": int(sys.argv[4]), "group": int(sys.argv[5]), "extra_groups": []}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    guard = Guard(settings, binaries, folder, owner)
    try:
        for line in sys.stdin:
            try:
                getattr(guard, line.strip())()
                answer = "ok"
            except subprocess.CalledProcessError as error:
                answer = repr(error.stderr.decode(errors="replace"))
            except Exception as error:  # noqa: BLE001 - said to the parent
                answer = repr(error)
            sys.stdout.write(answer + "\n")
            sys.stdout.flush()
    finally:
        guard.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
