"""SQLAlchemy engines set up for money: every commit is on disk before it returns, one writer at a time.

SQLite runs in WAL mode with `synchronous=FULL` and `BEGIN IMMEDIATE`; PostgreSQL takes one advisory
lock per transaction, so that the same code sees the same order of writers on both (payments.md §5).
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from cocoon_sdk.errors import ConfigError, StoreError

_BUSY_MS = 10_000
_ADVISORY_LOCK = 0x434F434F4F4E  # "COCOON"


def make_engine(url: str) -> Engine:
    """An engine for a `sqlite:` or `postgresql:` URL; opens nothing but makes the file's folder.

    Raises:
        ConfigError: another kind of URL, or the PostgreSQL driver is not installed.
        StoreError: the folder cannot be made.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError(
            "not a database URL; expected sqlite:///path or postgresql://…"
        ) from error
    match parsed.get_backend_name():
        case "sqlite":
            return _sqlite(parsed)
        case "postgresql":
            return _postgresql(parsed)
        case other:
            raise ConfigError(
                f"unsupported database {other!r}; use sqlite:///path or postgresql://…"
            )


def _sqlite(url: URL) -> Engine:
    try:
        # All statements come from the writer thread, but `close` may run on another.
        engine = create_engine(url, connect_args={"check_same_thread": False})
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise ConfigError(f"unsupported database {url.drivername!r}; use sqlite:///path") from error
    if url.database and url.database != ":memory:":
        _create_private(Path(url.database))
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _create_private(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreError(f"the database {path} cannot be opened: {error.strerror}") from error


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would be a deferred one
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _postgresql(url: URL) -> Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    try:
        engine = create_engine(url, pool_pre_ping=True)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise ConfigError("PostgreSQL needs its driver: pip install 'psycopg[binary]'") from error
    event.listen(engine, "begin", _begin_exclusive)
    return engine


def _begin_exclusive(connection: Connection) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
