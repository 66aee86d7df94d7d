"""From an empty database to the newest schema, step by step, and never from somebody else's."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from cocoon_sdk.errors import StoreError
from cocoon_sdk.payments.tables import CLIENT_MIGRATIONS
from cocoon_sdk.store.database import Database
from cocoon_sdk.store.engine import make_engine
from cocoon_sdk.store.migrate import migrate

REVISION = '''"""A revision."""

from alembic import op

revision = {revision!r}
down_revision = {down!r}
branch_labels = None
depends_on = None


def upgrade():
    op.execute({sql!r})


def downgrade():
    raise NotImplementedError
'''


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    engine = make_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty tree of revisions in a package of its own; its folder holds what INI files dislike."""
    folder = tmp_path / "100% a:b c" / "shop" / "revisions"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(folder.parent.parent))
    yield folder
    sys.modules.pop("shop", None)


def add(tree: Path, revision: str, down: str | None, sql: str) -> None:
    text = REVISION.format(revision=revision, down=down, sql=sql)
    (tree / f"{revision}.py").write_text(text)


def tables(connection: sa.Connection) -> set[str]:
    return set(sa.inspect(connection).get_table_names())


def test_revisions_are_applied_in_order_and_once(engine: sa.Engine, tree: Path) -> None:
    add(tree, "one", None, "CREATE TABLE a (x INTEGER)")
    add(tree, "two", "one", "ALTER TABLE a ADD COLUMN y INTEGER")
    for _ in range(2):
        with engine.begin() as connection:
            migrate(connection, "shop:revisions")
            connection.exec_driver_sql("INSERT INTO a (x, y) VALUES (1, 2)")
    add(tree, "three", "two", "CREATE TABLE b (x INTEGER)")
    with engine.begin() as connection:
        migrate(connection, "shop:revisions")
        assert tables(connection) == {"a", "b", "alembic_version"}
        assert connection.exec_driver_sql("SELECT count(*) FROM a").scalar() == 2


def test_a_revision_that_fails_leaves_the_schema_before(engine: sa.Engine, tree: Path) -> None:
    add(tree, "one", None, "CREATE TABLE a (x INTEGER)")
    with engine.begin() as connection:
        migrate(connection, "shop:revisions")
    add(tree, "two", "one", "CREATE TABLE b (x INTEGER)")
    add(tree, "three", "two", "CREATE NONSENSE")
    with pytest.raises(sa.exc.DBAPIError), engine.begin() as connection:
        migrate(connection, "shop:revisions")
    with engine.begin() as connection:
        assert tables(connection) == {"a", "alembic_version"}
        assert connection.exec_driver_sql("SELECT * FROM alembic_version").scalar() == "one"


def test_another_programs_database_is_refused(engine: sa.Engine, tree: Path) -> None:
    add(tree, "one", None, "CREATE TABLE a (x INTEGER)")
    with engine.begin() as connection:
        migrate(connection, "shop:revisions")
    with engine.begin() as connection:
        with pytest.raises(StoreError, match="schema 'one'"):
            migrate(connection, CLIENT_MIGRATIONS)
        assert tables(connection) == {"a", "alembic_version"}


def bring_up(url: str) -> None:
    with Database(url, migrations="shop:revisions") as database:
        database.run_sync(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())


def test_a_file_is_copied_before_its_schema_changes(tmp_path: Path, tree: Path) -> None:
    file = tmp_path / "x.sqlite"
    add(tree, "one", None, "CREATE TABLE a (x INTEGER)")
    for _ in range(2):
        bring_up(f"sqlite:///{file}")
    assert not list(tmp_path.glob("*.bak"))  # a new file has nothing to lose
    with closing(sqlite3.connect(file)) as direct, direct:
        direct.execute("INSERT INTO a VALUES (7)")
    add(tree, "two", "one", "DELETE FROM a")
    bring_up(f"sqlite:///{file}")
    (copy,) = tmp_path.glob("*.bak")
    assert copy.name == "x.sqlite.one.bak"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with closing(sqlite3.connect(copy)) as kept, closing(sqlite3.connect(file)) as now:
        assert kept.execute("SELECT x FROM a").fetchall() == [(7,)]
        assert kept.execute("SELECT version_num FROM alembic_version").fetchall() == [("one",)]
        assert now.execute("SELECT x FROM a").fetchall() == []


def test_without_a_copy_nothing_is_changed(tmp_path: Path, tree: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.sqlite'}"
    add(tree, "one", None, "CREATE TABLE a (x INTEGER)")
    bring_up(url)
    add(tree, "two", "one", "CREATE TABLE b (x INTEGER)")
    obstacle = tmp_path / "x.sqlite.one.bak"
    obstacle.mkdir()
    with pytest.raises(StoreError, match=r"no copy of .*x\.sqlite"):
        bring_up(url)
    assert sorted(path.name for path in tmp_path.glob("*.bak*")) == ["x.sqlite.one.bak"]
    engine = make_engine(url)
    with engine.begin() as connection:
        assert tables(connection) == {"a", "alembic_version"}
    engine.dispose()
    obstacle.rmdir()
    bring_up(url)


FIRST_START = """
import sys
from cocoon_sdk.payments.tables import CLIENT_MIGRATIONS, budget_windows
from cocoon_sdk.store.database import Database

print("ready", flush=True)
sys.stdin.readline()
with Database(sys.argv[1], migrations=CLIENT_MIGRATIONS) as database:
    row = {"account": sys.argv[2], "window": "total", "nano": 1}
    database.run_sync(lambda c: c.execute(budget_windows.insert().values(row)) and None)
"""


def test_processes_that_start_first_at_the_same_time_migrate_once(url: str) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_START, url, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "abc"
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        with child:
            assert child.wait(60) == 0
    engine = make_engine(url)
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM budget_windows").scalar() == 3
        assert connection.exec_driver_sql("SELECT count(*) FROM alembic_version").scalar() == 1
    engine.dispose()
