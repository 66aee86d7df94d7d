"""Roles that one process at a time may have in a database: a front end's name, the settlement.

PostgreSQL keeps a role as an advisory lock of the session that also does all the writing, so that who has
lost the one cannot do the other either. SQLite has no sessions; there it is a lock file beside the
database. Either way a process that ends, however it ends, gives its roles back.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from cocoon_sdk.errors import StoreError
from cocoon_sdk.store.engine import sqlite_file
from cocoon_sdk.store.lock import file_lock

_HELD = "cocoon_roles"


def take(connection: Connection, role: str) -> bool:
    """Have `role` until it is given back or the connection ends; False if another connection has it.

    To be called in a job. Taken twice, it is had once.
    """
    held = _held(connection)
    if role in held:
        return True
    if connection.engine.dialect.name == "sqlite":
        file = sqlite_file(connection)
        lock = None if file is None else _lock_file(file, role)
        if file is not None and lock is None:
            return False
        held[role] = lock
        return True
    if not connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_key(role)})").scalar():
        return False
    held[role] = None
    return True


def give_back(connection: Connection, role: str) -> None:
    """Let another have `role`. To be called in a job."""
    held = _held(connection)
    if role not in held:
        return
    lock = held.pop(role)
    if lock is not None:
        lock.close()
    elif connection.engine.dialect.name != "sqlite":
        connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_key(role)})")


def give_back_all(connection: Connection) -> None:
    """Before a connection is closed: a server notices its end a moment later only, a file never does."""
    held = _held(connection)
    if held and connection.engine.dialect.name == "postgresql":
        driver: Any = connection.connection.driver_connection
        with suppress(Exception):  # the connection's end does it as well
            driver.execute("SELECT pg_advisory_unlock_all()")
            driver.commit()
    for lock in held.values():
        if lock is not None:
            lock.close()
    held.clear()


def _held(connection: Connection) -> dict[str, ExitStack | None]:
    kept: dict[Any, Any] = connection.info  # of the session, and gone with it
    held: dict[str, ExitStack | None] = kept.setdefault(_HELD, {})
    return held


def _lock_file(file: Path, role: str) -> ExitStack | None:
    stack = ExitStack()
    digest = hashlib.blake2b(role.encode(), digest_size=4).hexdigest()
    try:
        stack.enter_context(file_lock(file.with_name(f"{file.name}.{digest}.lock"), timeout=0))
    except StoreError:
        return None
    return stack


def _key(role: str) -> int:
    digest = hashlib.blake2b(role.encode(), digest_size=8, person=b"cocoon role").digest()
    return int.from_bytes(digest, "big", signed=True)
