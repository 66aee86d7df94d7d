"""A ledger on each database, for the tests of the modules that write it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_fixtures import BOTH, prepared_folder

from cocoon_sdk.payments.tables import CLIENT_MIGRATIONS


@pytest.fixture(params=BOTH)
def ledger_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """What `ledger_kit.open_ledger` opens, once on SQLite and once on PostgreSQL."""
    yield from prepared_folder(request, tmp_path, CLIENT_MIGRATIONS)
