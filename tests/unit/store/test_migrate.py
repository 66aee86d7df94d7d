"""From an empty database to the newest schema, step by step, and never from somebody else's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from cocoon_sdk.errors import StoreError
from cocoon_sdk.payments.tables import CLIENT_MIGRATIONS
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
