"""A database that goes away, is held by another, or gives a transaction up: said in time, nothing lost."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgres_server import PostgresServer
from sqlalchemy import Connection

from cocoon_sdk.errors import StoreError
from cocoon_sdk.payments.tables import CLIENT_MIGRATIONS, budget_windows
from cocoon_sdk.store import engine as engines
from cocoon_sdk.store import watchdog
from cocoon_sdk.store.database import Database

needs_postgres = pytest.mark.postgres


def add(name: str) -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        row = {"account": name, "window": "total", "nano": 1}
        connection.execute(sa.insert(budget_windows).values(row))
        return 1

    return work


def names(connection: Connection) -> list[str]:
    query = sa.select(budget_windows.c.account).order_by(budget_windows.c.account)
    return list(connection.scalars(query))


def opened(url: str) -> Database:
    return Database(url, migrations=CLIENT_MIGRATIONS)


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    with opened(postgres_url) as made:
        made.run_sync(add("before"))
        yield made


def held_back(database: Database, jobs: list[Callable[[Connection], object]]) -> list[object]:
    """Hand the jobs in behind one that waits, so that they share a transaction; their outcomes."""
    gate = threading.Event()
    first = database._submit(lambda _connection: gate.wait(10))
    time.sleep(0.05)
    waiting = [database._submit(job) for job in jobs]
    gate.set()
    assert first.result() is True
    return [future.exception() or future.result() for future in waiting]


@needs_postgres
@pytest.mark.parametrize("crash", [False, True])
def test_a_restart_between_two_calls_is_not_noticed(
    postgres: PostgresServer, database: Database, crash: bool
) -> None:
    postgres.stop(crash=crash)
    postgres.start()
    assert database.run_sync(add("after")) == 1
    assert database.run_sync(names) == ["after", "before"]


@needs_postgres
def test_while_the_server_is_away_every_call_fails_and_later_ones_work(
    postgres: PostgresServer, database: Database
) -> None:
    postgres.stop()
    started = time.monotonic()
    for _ in range(2):
        with pytest.raises(StoreError, match="refused a transaction"):
            database.run_sync(add("away"))
    waiting = [database._submit(add(f"away {number}")) for number in range(200)]
    for future in waiting:
        assert isinstance(future.exception(20), StoreError)
    assert time.monotonic() - started < 20
    postgres.start()
    assert database.run_sync(names) == ["before"]
    assert database.run_sync(add("after")) == 1


@needs_postgres
def test_a_crash_in_a_transaction_keeps_nothing_of_its_group(
    postgres: PostgresServer, database: Database
) -> None:
    def crash(connection: Connection) -> int:
        done = add("half")(connection)
        postgres.stop(crash=True)
        return done

    outcomes = held_back(database, [add("first"), crash, add("last")])
    assert all(isinstance(outcome, StoreError) for outcome in outcomes), outcomes
    postgres.start()
    assert database.run_sync(names) == ["before"]


@needs_postgres
def test_a_job_that_notices_the_loss_ends_its_group(
    postgres: PostgresServer, database: Database
) -> None:
    def crash(connection: Connection) -> int:
        postgres.stop(crash=True)
        return add("never")(connection)

    outcomes = held_back(database, [add("first"), crash, add("last")])
    assert all(isinstance(outcome, StoreError) for outcome in outcomes), outcomes
    postgres.start()
    assert database.run_sync(names) == ["before"]


@needs_postgres
def test_a_commit_without_an_answer_is_said_to_be_open(
    postgres: PostgresServer, database: Database
) -> None:
    def prepare(connection: Connection) -> int:
        def lose(_connection: Connection) -> None:
            postgres.stop(crash=True)

        sa.event.listen(connection.engine, "commit", lose, once=True)
        return add("perhaps")(connection)

    with pytest.raises(StoreError, match="during a commit"):
        database.run_sync(prepare)
    postgres.start()
    assert database.run_sync(names) == ["before"]  # here the server was gone before it


@needs_postgres
def test_a_session_ended_by_the_server_is_replaced(
    postgres: PostgresServer, database: Database
) -> None:
    pid = database.run_sync(lambda c: c.exec_driver_sql("SELECT pg_backend_pid()").scalar())
    postgres.execute(f"SELECT pg_terminate_backend({pid})")
    assert database.run_sync(add("after")) == 1


@needs_postgres
def test_a_writer_that_does_not_end_is_not_waited_for_for_ever(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(engines._SESSION, "lock_timeout", "200ms")
    gate, inside = threading.Event(), threading.Event()

    def stay(_connection: Connection) -> bool:
        inside.set()
        return gate.wait(10)

    with opened(postgres_url) as one, opened(postgres_url) as two:
        two.run_sync(names)
        staying = one._submit(stay)
        assert inside.wait(10)
        for _ in range(2):
            with pytest.raises(StoreError, match="lock timeout"):
                two.run_sync(names)
        gate.set()
        assert staying.result() is True
        assert two.run_sync(add("after")) == 1


@needs_postgres
def test_a_silent_writer_loses_its_place(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a host that is cut off in the middle of a transaction."""
    monkeypatch.setitem(engines._SESSION, "idle_in_transaction_session_timeout", "200ms")

    def stall(connection: Connection) -> None:
        add("stalled")(connection)
        time.sleep(1.0)

    with opened(postgres_url) as one, opened(postgres_url) as two:
        one.run_sync(names)
        stalled = one._submit(stall)
        time.sleep(0.1)
        assert two.run_sync(add("other")) == 1
        assert isinstance(stalled.exception(), StoreError)
        assert one.run_sync(names) == ["other"]


@pytest.mark.postgres
def test_a_server_that_never_answers_is_given_up() -> None:
    pytest.importorskip("psycopg")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        started = time.monotonic()
        with opened(f"postgresql://127.0.0.1:{port}/x?connect_timeout=2") as database:
            waiting = [database._submit(names) for _ in range(100)]
            assert all(isinstance(future.exception(30), StoreError) for future in waiting)
        assert time.monotonic() - started < 10


@needs_postgres
def test_a_server_that_falls_silent_is_given_up(
    postgres: PostgresServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its host still acknowledges what is sent, so that no timeout of TCP ends this."""
    pid = database.run_sync(lambda c: c.exec_driver_sql("SELECT pg_backend_pid()").scalar())
    assert isinstance(pid, int)
    monkeypatch.setattr(watchdog, "_SILENCE", 0.3)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert database.run_sync(add("after")) == 1  # asked again, of another session
        other = database.run_sync(lambda c: c.exec_driver_sql("SELECT pg_backend_pid()").scalar())
        assert other != pid

        def stop(connection: Connection) -> int:
            assert isinstance(other, int)
            os.kill(other, signal.SIGSTOP)
            return add("never")(connection)

        try:
            with pytest.raises(StoreError):
                database.run_sync(stop)
        finally:
            os.kill(other, signal.SIGCONT)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert database.run_sync(names) == ["after", "before"]


# --- roles


@needs_postgres
@pytest.mark.anyio
async def test_who_lost_its_role_writes_nothing_more(
    postgres: PostgresServer, postgres_url: str
) -> None:
    with opened(postgres_url) as one, opened(postgres_url) as two:
        assert await one.become("signer")
        assert not await two.become("signer")
        pid = await one.run(lambda c: c.exec_driver_sql("SELECT pg_backend_pid()").scalar())
        postgres.execute(f"SELECT pg_terminate_backend({pid})")
        assert await two.become("signer", patience=10)
        for _ in range(2):
            with pytest.raises(StoreError, match="another process became signer"):
                await one.run(add("late"))
        two.close()
        assert await one.run(names) == []


@needs_postgres
@pytest.mark.anyio
async def test_a_role_is_had_again_after_a_restart(
    postgres: PostgresServer, postgres_url: str
) -> None:
    with opened(postgres_url) as one, opened(postgres_url) as two:
        assert await one.become("signer")
        postgres.stop()
        postgres.start()
        assert await one.run(add("a")) == 1
        assert not await two.become("signer")


@pytest.mark.anyio
async def test_roles_are_had_one_by_one_and_given_back(url: str) -> None:
    with opened(url) as one, opened(url) as two:
        async with one.alone("x") as had, two.alone("y") as other:
            assert had
            assert other
            async with two.alone("x") as second:
                assert not second
        async with two.alone("x") as had:
            assert had
        assert await one.become("x")
        assert await one.become("x")
        one.close()
        assert await two.become("x")


# --- SQLite


def test_a_file_held_by_another_program_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_BUSY_MS", 100)
    path = tmp_path / "money.sqlite"
    with opened(f"sqlite:///{path}") as database:
        database.run_sync(add("before"))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(StoreError, match="locked"):
                database.run_sync(add("held"))
        other.execute("ROLLBACK")
        other.close()
        assert database.run_sync(add("after")) == 1
        assert database.run_sync(names) == ["after", "before"]


def test_on_a_full_disk_what_is_said_to_be_kept_is_kept(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path / 'money.sqlite'}") as database:

        def shrink(connection: Connection) -> None:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

        def fill(connection: Connection) -> None:
            for number in range(2000):
                add(f"{number:04}" + "x" * 190)(connection)

        database.run_sync(shrink)
        outcomes = held_back(database, [add("first"), fill, add("last")])
        assert isinstance(outcomes[1], StoreError)
        assert "full" in str(outcomes[1])
        said = [
            name for name, done in zip(("first", "last"), outcomes[::2], strict=True) if done == 1
        ]
        assert database.run_sync(names) == said
        database.run_sync(lambda c: c.exec_driver_sql("PRAGMA max_page_count=1000000"))
        assert database.run_sync(add("after")) == 1


def test_a_transaction_that_the_database_ended_fails_as_a_whole(tmp_path: Path) -> None:
    """SQLite may roll back by itself; what follows would be written without a transaction."""
    with opened(f"sqlite:///{tmp_path / 'money.sqlite'}") as database:

        def end(connection: Connection) -> None:
            connection.connection.driver_connection.rollback()  # type: ignore[union-attr]

        outcomes = held_back(database, [add("first"), end, add("last")])
        assert all(isinstance(outcome, StoreError) for outcome in outcomes), outcomes
        assert database.run_sync(names) == []
