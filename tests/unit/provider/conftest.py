"""A book with one registered channel, for the tests of the modules that write it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cocoon_provider import enrolment
from cocoon_provider.book import ChannelBook
from tests.unit.provider.books import FACTS, Clock, open_book


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(tmp_path: Path, clock: Clock) -> Iterator[ChannelBook]:
    made = open_book(tmp_path, clock=clock)
    made.database.run_sync(lambda connection: enrolment.register(connection, FACTS))
    yield made
    made.database.close()
