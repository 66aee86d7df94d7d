"""Entering a stream: the order of the checks, and what is written when all have passed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Connection

from cocoon_provider.book import ChannelBook
from cocoon_provider.enrolment import register
from cocoon_provider.ledger import finish
from cocoon_provider.opening import Ended, find_ended, open_stream
from cocoon_provider.refusals import Refusal
from cocoon_provider.tables import channels, locked_channel, stream_row
from cocoon_sdk.errors import WireCode
from cocoon_sdk.payments.meter import Counts, Price
from tests.unit.provider.books import FACTS, KEY, NOW, PRICE, closing, opening, voucher


def code(connection: Connection, *arguments: object) -> WireCode:
    with pytest.raises(Refusal) as caught:
        open_stream(connection, KEY, *arguments, "main")  # type: ignore[arg-type]
    return caught.value.code


def test_the_row_holds_price_window_reservation_and_instance(book: ChannelBook) -> None:
    def work(connection: Connection) -> None:
        start = opening(prompt=3_000)
        open_stream(connection, KEY, start, voucher(5_000), "second")
        row = stream_row(connection, KEY, start.request_id)
        assert row is not None
        assert (row["price_prompt"], row["price_cached"], row["price_completion"]) == tuple(PRICE)
        assert (row["reserved"], row["due"]) == (2_048, 0)
        assert row["window_end"] == row["window"] == start.window == 3_000 + 128
        assert (row["instance"], row["session_id"]) == ("second", start.session_id)
        assert (row["request_hash"], row["model_hash"]) == (start.request_hash, start.model_hash)

    book.database.run_sync(work)


def test_a_first_step_beyond_the_window_is_refused_whatever_is_signed(book: ChannelBook) -> None:
    def work(connection: Connection) -> None:
        start = replace(opening(prompt=100), window=99)
        assert code(connection, start, voucher(10_000)) is WireCode.PAYMENT_REQUIRED
        assert open_stream(connection, KEY, replace(start, window=100), None, "main") is None

    book.database.run_sync(work)


def test_a_refused_request_keeps_nothing_but_its_voucher(book: ChannelBook) -> None:
    """In one transaction that is rolled back even the voucher goes; the client sends it again."""
    start = opening(prompt=100)
    with pytest.raises(Refusal):
        book.database.run_sync(lambda c: open_stream(c, KEY, start, voucher(99), "main"))

    def work(connection: Connection) -> None:
        assert locked_channel(connection, KEY)["signed"] == 0
        assert stream_row(connection, KEY, start.request_id) is None

    book.database.run_sync(work)


@pytest.mark.parametrize("flag", [{"closing": 1}, {"closing": 2}, {"close_at": NOW}, {"gone": 1}])
def test_every_sign_of_an_end_refuses_new_requests(book: ChannelBook, flag: dict[str, int]) -> None:
    def work(connection: Connection) -> None:
        connection.execute(channels.update().values(signed=10_000, **flag))
        for paid in (None, voucher(10_000)):
            assert code(connection, opening(), paid) is WireCode.CHANNEL_CLOSING

    book.database.run_sync(work)


def test_an_ended_request_is_answered_even_on_a_closing_channel(book: ChannelBook) -> None:
    def work(connection: Connection) -> None:
        start = opening()
        open_stream(connection, KEY, start, voucher(1_000), "main")
        finish(connection, KEY, start.request_id, Counts(9), b"1" * 32, lambda *_: b"raw", NOW)
        register(connection, closing())
        assert open_stream(connection, KEY, start, None, "main") == Ended(b"raw")
        changed = replace(start, request_hash=b"other" + bytes(27))
        assert code(connection, changed, None) is WireCode.DUPLICATE_REQUEST
        assert find_ended(connection, KEY, b"x" * 16, start.request_hash) is None
        reborn = replace(KEY, epoch=KEY.epoch + 1)  # another life of the channel knows nothing
        register(connection, replace(FACTS, key=reborn))
        assert find_ended(connection, reborn, start.request_id, start.request_hash) is None

    book.database.run_sync(work)


def test_a_free_request_needs_no_voucher_and_reserves_nothing(book: ChannelBook) -> None:
    def work(connection: Connection) -> None:
        start = opening(price=Price(0, 0, 0))
        assert open_stream(connection, KEY, start, None, "main") is None
        row = stream_row(connection, KEY, start.request_id)
        assert row is not None
        assert (row["reserved"], row["window"]) == (0, 0)

    book.database.run_sync(work)
