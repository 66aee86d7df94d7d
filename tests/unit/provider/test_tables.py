"""Questions to the books: one channel's rows only, sums over its open streams."""

from __future__ import annotations

import pytest

from cocoon_provider.book import ChannelBook
from cocoon_provider.enrolment import register
from cocoon_provider.opening import open_stream
from cocoon_provider.refusals import Refusal
from cocoon_provider.tables import (
    ChannelKey,
    channels,
    locked_channel,
    metadata,
    open_due,
    open_totals,
    row_price,
    stream_row,
    streams,
)
from cocoon_sdk.errors import WireCode
from tests.unit.provider.books import EPOCH, FACTS, KEY, PRICE, opening, voucher

OTHER = ChannelKey("0:" + "09" * 32, EPOCH)


def test_a_channel_is_an_address_and_an_epoch(book: ChannelBook) -> None:
    def work(connection):
        assert locked_channel(connection, KEY)["client_key"] == FACTS.client_key
        for key in (OTHER, ChannelKey(KEY.address, EPOCH + 1)):
            with pytest.raises(Refusal) as caught:
                locked_channel(connection, key)
            assert caught.value.code is WireCode.CHANNEL_UNKNOWN

    book.database.run_sync(work)


def test_sums_are_over_this_channels_open_streams(book: ChannelBook) -> None:
    one, two, foreign = opening(prompt=100), opening(prompt=50), opening(prompt=7)

    def work(connection):
        from dataclasses import replace

        register(connection, replace(FACTS, key=OTHER))
        assert open_totals(connection, KEY) == (0, 0)
        open_stream(connection, KEY, one, voucher(1_000), "main")
        open_stream(connection, KEY, two, voucher(1_000), "main")
        connection.execute(
            channels.update().where(channels.c.address == OTHER.address).values(signed=1_000)
        )
        open_stream(connection, OTHER, foreign, None, "main")
        connection.execute(
            streams.update()
            .where(streams.c.request_id == one.request_id)
            .values(due=40, reserved=60)
        )
        assert open_totals(connection, KEY) == (40 + 60 + 50, 40 + one.window + two.window)
        assert open_totals(connection, KEY, without=one.request_id) == (50, two.window)
        assert (open_due(connection, KEY), open_due(connection, OTHER)) == (40, 0)
        row = stream_row(connection, KEY, one.request_id)
        assert row is not None
        assert row_price(row) == PRICE
        assert stream_row(connection, OTHER, one.request_id) is None

    book.database.run_sync(work)


def test_the_migrations_make_exactly_these_tables(book: ChannelBook) -> None:
    """SQLAlchemy writes by this description; the migrations create what is written to."""
    from sqlalchemy import inspect

    def work(connection):
        found = inspect(connection)
        for table in metadata.tables.values():
            columns = {column["name"]: column for column in found.get_columns(table.name)}
            assert set(columns) == set(table.columns.keys())
            assert {name for name, column in columns.items() if not column["nullable"]} == {
                column.name for column in table.columns if not column.nullable
            }
            primary = found.get_pk_constraint(table.name)["constrained_columns"]
            assert primary == [column.name for column in table.primary_key]

    book.database.run_sync(work)
