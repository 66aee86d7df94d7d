"""The database: durability settings, one writer, group commit, migrations."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from cocoon_sdk.errors import ConfigError, StoreError
from cocoon_sdk.payments.tables import CLIENT_MIGRATIONS, metadata
from cocoon_sdk.store.database import Database, default_url

ADD = sa.text("INSERT INTO budget_windows (account, \"window\", nano) VALUES (:a, 'total', 1)")
ALL = sa.text("SELECT account FROM budget_windows ORDER BY account")


def names(connection: Connection) -> list[str]:
    return list(connection.scalars(ALL))


def add(name: str):
    return lambda connection: connection.execute(ADD, {"a": name}).rowcount


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "money.sqlite"


def opened(place: Path | str) -> Database:
    url = f"sqlite:///{place}" if isinstance(place, Path) else place
    return Database(url, migrations=CLIENT_MIGRATIONS)


def test_sqlite_is_set_up_for_money(path: Path):
    with opened(path) as database:

        def pragmas(connection: Connection) -> list[object]:
            wanted = ("journal_mode", "synchronous", "foreign_keys")
            return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in wanted]

        assert database.run_sync(pragmas) == ["wal", 2, 1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_constructor_touches_nothing(path: Path):
    opened(path).close()
    assert not path.parent.exists()


def test_what_was_written_is_there_after_reopening(url: str):
    with opened(url) as database:
        database.run_sync(add("a"))
    with opened(url) as database:
        assert database.run_sync(names) == ["a"]


def test_a_failing_job_leaves_nothing_and_does_not_hurt_its_group(url: str):
    gate = threading.Event()
    with opened(url) as database:
        database.run_sync(names)
        blocker = database._submit(lambda _connection: gate.wait(10))

        def fail(connection: Connection) -> None:
            connection.execute(ADD, {"a": "bad"})
            raise ValueError("no")

        jobs = [database._submit(call) for call in (add("a"), fail, add("a"), add("b"))]
        gate.set()
        assert blocker.result() is True
        assert jobs[0].result() == 1
        with pytest.raises(ValueError, match="no"):
            jobs[1].result()
        with pytest.raises(StoreError, match=r"(?i)unique"):
            jobs[2].result()
        assert jobs[3].result() == 1
        assert database.run_sync(names) == ["a", "b"]


def test_waiting_jobs_share_one_commit(url: str):
    gate = threading.Event()
    commits: list[int] = []
    with opened(url) as database:
        database.run_sync(names)

        def block(connection: Connection) -> None:
            sa.event.listen(connection.engine, "commit", lambda _c: commits.append(1))
            gate.wait(10)

        waiting = [database._submit(block), *(database._submit(add(str(i))) for i in range(20))]
        gate.set()
        for future in waiting:
            future.result()
    assert len(commits) <= 2


def test_a_cancelled_job_does_not_run(url: str):
    gate = threading.Event()
    with opened(url) as database:
        database.run_sync(names)
        database._submit(lambda _connection: gate.wait(10))
        assert database._submit(add("cancelled")).cancel()
        gate.set()
        assert database.run_sync(names) == []


def test_two_writers_take_turns(url: str):
    def work(name: str) -> None:
        with opened(url) as database:
            for i in range(20):
                database.run_sync(add(f"{name}{i:02}"))

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with opened(url) as database:
        assert len(database.run_sync(names)) == 40


@pytest.mark.anyio
async def test_run_from_an_event_loop(url: str):
    with opened(url) as database:
        assert await database.run(add("a")) == 1
        assert await database.run(names) == ["a"]


def test_closed_and_unusable_databases_say_so(path: Path, tmp_path: Path):
    database = opened(path)
    database.run_sync(names)
    database.close()
    database.close()
    with pytest.raises(StoreError, match="closed"):
        database.run_sync(names)
    folder = opened(tmp_path)
    with pytest.raises(StoreError, match="opened"):
        folder.run_sync(names)
    folder.close()
    junk = tmp_path / "junk"
    junk.write_bytes(b"no database at all" * 100)
    with opened(junk) as database, pytest.raises(StoreError, match="not a database"):
        database.run_sync(names)
    assert junk.read_bytes() == b"no database at all" * 100
    for url in ("mysql://x", "nonsense"):
        with Database(url, migrations=CLIENT_MIGRATIONS) as database, pytest.raises(ConfigError):
            database.run_sync(names)


def test_a_newer_schema_is_refused(url: str):
    with opened(url) as database:
        database.run_sync(
            lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num = 'client_9999'")
        )
    with opened(url) as database:
        for _ in range(2):
            with pytest.raises(StoreError, match="client_9999"):
                database.run_sync(names)


def test_migrations_make_exactly_the_tables_of_the_code(url: str):
    with opened(url) as database:

        def differences(connection: Connection) -> list[object]:
            from alembic.autogenerate import compare_metadata
            from alembic.migration import MigrationContext

            context = MigrationContext.configure(connection, opts={"compare_type": True})
            return compare_metadata(context, metadata)

        assert database.run_sync(differences) == []


def test_default_url_is_under_the_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COCOON_HOME", str(tmp_path))
    assert default_url("provider/ledger") == f"sqlite:///{tmp_path}/provider/ledger.sqlite"
