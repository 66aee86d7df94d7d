"""A book with one registered channel, for the tests of the modules that write it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_fixtures import BOTH, prepared_folder

from cocoon_provider import enrolment
from cocoon_provider.book import MIGRATIONS, ChannelBook
from tests.unit.provider.books import FACTS, Clock, open_book


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=BOTH)
def book_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """What `books.open_book` opens, once on SQLite and once on PostgreSQL."""
    yield from prepared_folder(request, tmp_path, MIGRATIONS)


@pytest.fixture
def book(book_folder: Path, clock: Clock) -> Iterator[ChannelBook]:
    made = open_book(book_folder, clock=clock)
    made.database.run_sync(lambda connection: enrolment.register(connection, FACTS))
    yield made
    made.database.close()
