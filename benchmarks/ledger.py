"""Durable vouchers beside the limit: a bare SQLite commit with full synchronisation."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from pathlib import Path

from sqlalchemy import text

from benchmarks.harness import Ratio, compare
from cocoon_sdk.payments.ledger import CLIENT_MIGRATIONS
from cocoon_sdk.store.database import Database

COMMITS = 60
TOGETHER = 64


def run() -> list[Ratio]:
    """One writer after the other, and 64 at once."""
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
            for _ in range(COMMITS):
                bare.execute("UPDATE mark SET nano = nano + 1 WHERE id = 1")
            return COMMITS

        def alone() -> float:
            for _ in range(COMMITS):
                database.run_sync(lambda c: c.execute(statement))
            return COMMITS

        def together() -> float:
            async def main() -> None:
                await asyncio.gather(
                    *(database.run(lambda c: c.execute(statement)) for _ in range(TOGETHER * 8))
                )

            asyncio.run(main())
            return TOGETHER * 8

        limit = "a bare SQLite commit (WAL, FULL)"
        try:
            return [
                compare("durable writes, one by one", limit, "writes/s", alone, commits),
                compare("durable writes, many at once", limit, "writes/s", together, commits),
            ]
        finally:
            database.close()
            bare.close()
