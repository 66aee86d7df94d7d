"""A database of each kind, by its URL."""

from __future__ import annotations

from pathlib import Path

import pytest
from postgres_fixtures import BOTH


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'folder' / 'money.sqlite'}"
    found: str = request.getfixturevalue("postgres_url")
    return found
