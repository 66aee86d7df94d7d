"""The devnet's state in one SQLite file (or in memory): accounts, transactions, messages on their way.

Each block is one durable transaction of the database, so that a killed devnet continues with all or
nothing of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cocoon_sdk.errors import StoreError
from cocoon_sdk.ton.address import Address

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE accounts (address TEXT PRIMARY KEY, boc BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE transactions (
    hash BLOB PRIMARY KEY, trace BLOB NOT NULL, lt INTEGER NOT NULL UNIQUE, account TEXT NOT NULL,
    seqno INTEGER NOT NULL, boc BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX transactions_by_trace ON transactions (trace, lt);
CREATE INDEX transactions_by_account ON transactions (account, lt);
CREATE TABLE messages (hash BLOB NOT NULL, trace BLOB NOT NULL, PRIMARY KEY (hash, trace)) WITHOUT ROWID;
CREATE TABLE queue (lt INTEGER PRIMARY KEY, trace BLOB NOT NULL, boc BLOB NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class StoredTransaction:
    """A transaction with what its own cell does not say."""

    hash: bytes
    trace: bytes
    account: Address
    seqno: int
    boc: bytes


@dataclass(frozen=True, slots=True)
class Queued:
    """An internal message on its way; `lt` is its creation time, unique on the devnet."""

    lt: int
    trace: bytes
    boc: bytes


class Storage:
    """Rows in and out. Used by one thread only."""

    def __init__(self, path: Path | None) -> None:
        """Open or create; `None` keeps everything in memory.

        Raises:
            StoreError: not a devnet file, of another version, or used by another devnet.
        """
        self._path = path
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=0.5)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"cannot open {path} as the devnet's file: {error}") from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._db.close()
            raise StoreError(
                f"cannot use {path} as the devnet's file ({error}); "
                "is another devnet using it, or is it something else?"
            ) from error
        except StoreError:
            self._db.close()
            raise

    def _prepare(self) -> None:
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
            self._db.execute(f"PRAGMA {pragma}")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version not in {0, SCHEMA_VERSION}:
            raise StoreError(
                f"{self._path} was written by another version ({version}, this is "
                f"{SCHEMA_VERSION}); start the devnet with a new file"
            )
        with self.block():
            if version == 0:
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def block(self) -> Iterator[None]:
        """Everything written inside becomes durable together, or not at all."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def get(self, name: str, default: int = 0) -> int:
        """A number by name."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return default if row is None else int(row[0])

    def set(self, name: str, value: int) -> None:
        """Store a number; SQLite holds up to 2^63 - 1."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def account(self, address: Address) -> bytes | None:
        """The `ShardAccount` of an address."""
        row = self._db.execute("SELECT boc FROM accounts WHERE address = ?", (address.raw,))
        found = row.fetchone()
        return None if found is None else bytes(found[0])

    def put_account(self, address: Address, boc: bytes) -> None:
        """Store a `ShardAccount`."""
        self._db.execute("INSERT OR REPLACE INTO accounts VALUES (?, ?)", (address.raw, boc))

    def accounts(self) -> Iterator[tuple[Address, bytes]]:
        """All accounts that anything happened to."""
        for text, boc in self._db.execute("SELECT address, boc FROM accounts ORDER BY address"):
            yield Address.parse(text), bytes(boc)

    def add_transaction(self, row: StoredTransaction, lt: int) -> None:
        """Store a new transaction."""
        values = (row.hash, row.trace, lt, row.account.raw, row.seqno, row.boc)
        self._db.execute("INSERT INTO transactions VALUES (?, ?, ?, ?, ?, ?)", values)

    def trace_transactions(self, trace: bytes) -> list[StoredTransaction]:
        """The transactions of one trace in logical time."""
        return self._transactions("trace = ? ORDER BY lt", (trace,))

    def account_transactions(self, address: Address, limit: int) -> list[StoredTransaction]:
        """The newest transactions of an account, newest first."""
        return self._transactions("account = ? ORDER BY lt DESC LIMIT ?", (address.raw, limit))

    def _transactions(
        self, where: str, values: tuple[bytes | str | int, ...]
    ) -> list[StoredTransaction]:
        query = f"SELECT hash, trace, account, seqno, boc FROM transactions WHERE {where}"  # noqa: S608 - fixed texts
        return [
            StoredTransaction(bytes(h), bytes(t), Address.parse(a), s, bytes(b))
            for h, t, a, s, b in self._db.execute(query, values)
        ]

    def name_message(self, message_hash: bytes, trace: bytes) -> None:
        """Remember under which hash of a message a trace can be asked for."""
        self._db.execute("INSERT OR IGNORE INTO messages VALUES (?, ?)", (message_hash, trace))

    def trace_of(self, message_hash: bytes) -> bytes | None:
        """The newest trace in which a message of this hash occurs."""
        row = self._db.execute(
            "SELECT m.trace FROM messages m JOIN transactions t ON t.trace = m.trace "
            "WHERE m.hash = ? ORDER BY t.lt DESC LIMIT 1",
            (message_hash,),
        ).fetchone()
        return None if row is None else bytes(row[0])

    def enqueue(self, item: Queued) -> None:
        """Put a message on its way."""
        self._db.execute("INSERT INTO queue VALUES (?, ?, ?)", (item.lt, item.trace, item.boc))

    def next_queued(self) -> Queued | None:
        """The oldest message on its way."""
        row = self._db.execute("SELECT lt, trace, boc FROM queue ORDER BY lt LIMIT 1").fetchone()
        return None if row is None else Queued(int(row[0]), bytes(row[1]), bytes(row[2]))

    def dequeue(self, lt: int) -> None:
        """Take a delivered message off."""
        self._db.execute("DELETE FROM queue WHERE lt = ?", (lt,))

    def queued(self, trace: bytes | None = None) -> int:
        """How many messages are on their way, of one trace or in all."""
        where, values = ("WHERE trace = ?", (trace,)) if trace is not None else ("", ())
        return int(self._db.execute(f"SELECT count(*) FROM queue {where}", values).fetchone()[0])  # noqa: S608 - fixed texts
