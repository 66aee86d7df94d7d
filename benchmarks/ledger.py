"""Durable writes and vouchers beside the limit: a bare commit with full synchronisation."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from pathlib import Path

from sqlalchemy import text

from benchmarks import ledger_vouchers
from benchmarks.harness import FULL, Effort, Figure, compare
from cocoon_sdk.payments.ledger import CLIENT_MIGRATIONS
from cocoon_sdk.store.database import Database

COMMITS = 60
TOGETHER = 64


def run(effort: Effort = FULL) -> list[Figure]:
    """One writer after the other, and 64 at once."""
    one_by_one, at_once = effort.of(COMMITS), effort.of(TOGETHER * 8)
    with tempfile.TemporaryDirectory() as folder:
        bare = sqlite3.connect(Path(folder) / "bare.sqlite", isolation_level=None)
        bare.execute("PRAGMA journal_mode=WAL")
        bare.execute("PRAGMA synchronous=FULL")
        bare.execute("CREATE TABLE mark (id INTEGER PRIMARY KEY, nano INTEGER)")
        bare.execute("INSERT INTO mark VALUES (1, 0)")
        database = Database(f"sqlite:///{folder}/ours.sqlite", migrations=CLIENT_MIGRATIONS)
        database.run_sync(
            lambda c: c.execute(text("CREATE TABLE mark (id INTEGER PRIMARY KEY, nano INTEGER)"))
        )
        database.run_sync(lambda c: c.execute(text("INSERT INTO mark VALUES (1, 0)")))
        statement = text("UPDATE mark SET nano = nano + 1 WHERE id = 1")

        def commits() -> float:
            for _ in range(one_by_one):
                bare.execute("UPDATE mark SET nano = nano + 1 WHERE id = 1")
            return one_by_one

        def alone() -> float:
            for _ in range(one_by_one):
                database.run_sync(lambda c: c.execute(statement))
            return one_by_one

        def together() -> float:
            async def main() -> None:
                await asyncio.gather(
                    *(database.run(lambda c: c.execute(statement)) for _ in range(at_once))
                )

            asyncio.run(main())
            return at_once

        limit = "a bare SQLite commit (WAL, FULL)"
        try:
            figures = [
                compare(name, limit, "writes/s", ours, commits, effort=effort)
                for name, ours in (
                    ("durable writes, one by one", alone),
                    ("durable writes, many at once", together),
                )
            ]
            return figures + ledger_vouchers.run(Path(folder), effort)
        finally:
            database.close()
            bare.close()
