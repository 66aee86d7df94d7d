"""Engines: which URLs, who may read the file, and that each transaction takes the writer's place at once."""

from __future__ import annotations

import sqlite3
import stat
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from cocoon_sdk.errors import ConfigError, StoreError
from cocoon_sdk.store.engine import make_engine


@pytest.mark.parametrize("url", ["mysql://host/x", "nonsense", "", "sqlite+nothing:///folder/x"])
def test_other_databases_are_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="sqlite:///path"):
        make_engine(url)
    assert list(tmp_path.iterdir()) == []


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        make_engine("mysql://user:hunter2@host/x")
    assert "hunter2" not in str(caught.value)


def test_the_file_is_private_and_an_open_one_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "money.sqlite"
    make_engine(f"sqlite:///{path}").dispose()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)  # the operator's choice
    make_engine(f"sqlite:///{path}").dispose()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"money\.sqlite cannot be opened"):
        make_engine(f"sqlite:///{tmp_path / 'file' / 'money.sqlite'}")


def test_every_transaction_is_a_writer_from_its_first_statement(tmp_path: Path) -> None:
    """A deferred one would read first and fail on its write, after another writer came between."""
    path = tmp_path / "money.sqlite"
    engine = make_engine(f"sqlite:///{path}")
    other = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        with engine.begin() as connection:
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 10_000
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    finally:
        other.close()
        engine.dispose()


def test_memory_makes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    engine = make_engine("sqlite://")
    with engine.begin() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
    engine.dispose()
    assert list(tmp_path.iterdir()) == []


def test_postgres_without_its_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match="pip install"):
        make_engine("postgresql://host/x")
