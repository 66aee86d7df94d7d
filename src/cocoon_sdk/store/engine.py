"""SQLAlchemy engines set up for money: every commit is on disk before it returns, one writer at a time.

SQLite runs in WAL mode with `synchronous=FULL` and `BEGIN IMMEDIATE`; PostgreSQL takes one advisory
lock per transaction, so that the same code sees the same order of writers on both (payments.md §5).
"""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from cocoon_sdk.errors import ConfigError, StoreError

logger = logging.getLogger("cocoon_sdk.store")

_BUSY_MS = 10_000
_ADVISORY_LOCK = 0x434F434F4F4E  # "COCOON"

# A server that does not answer is given up in time, whether it is being dialled or went silent.
_CONNECT_ARGS = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# The last two free the writer's place, and the roles, of a client that died without a word.
_SESSION = {
    "lock_timeout": f"{_BUSY_MS}ms",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "30s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


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


def sqlite_file(connection: Connection) -> Path | None:
    """The file of a SQLite database; None for one in memory, and for PostgreSQL."""
    url = connection.engine.url
    if url.get_backend_name() != "sqlite" or url.database in {None, "", ":memory:"}:
        return None
    return Path(str(url.database))


def is_lost(connection: Connection) -> bool:
    """Whether the connection has ended, noticed by SQLAlchemy or by the driver alone."""
    if connection.invalidated:
        return True
    driver: Any = connection.connection.driver_connection
    return connection.engine.dialect.name == "postgresql" and bool(driver.closed)


def in_transaction(connection: Connection) -> bool:
    """Whether the database itself is still in the transaction that was begun.

    SQLite ends one by itself after some errors, such as a full disk, and takes a COMMIT all the same.
    """
    if is_lost(connection):
        return False
    driver: Any = connection.connection.driver_connection
    if connection.engine.dialect.name == "sqlite":
        return bool(driver.in_transaction)
    return int(driver.info.transaction_status) == _IN_TRANSACTION


_IN_TRANSACTION = 2  # PQTRANS_INTRANS of libpq: in a transaction that has not failed


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
        engine = create_engine(
            url,
            # A snapshot for the whole transaction would be taken before the writer's place is ours.
            isolation_level="READ COMMITTED",
            poolclass=NullPool,
            connect_args={k: v for k, v in _CONNECT_ARGS.items() if k not in url.query},
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise ConfigError(
            "PostgreSQL needs its driver: pip install 'cocoon-sdk[postgres]'"
        ) from error
    event.listen(engine, "connect", _prepare_postgresql)
    event.listen(engine, "begin", _begin_exclusive)
    return engine


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        for name, value in _SESSION.items():
            cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false)"
            " WHERE current_setting('synchronous_commit') = 'off'"
        )
        cursor.execute("SELECT current_setting('fsync')")
        if cursor.fetchone() == ("off",):
            logger.warning(
                "the PostgreSQL server runs with fsync=off: a power cut there may lose vouchers"
            )
    connection.commit()


def _begin_exclusive(connection: Connection) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
