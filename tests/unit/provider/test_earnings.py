"""Adding up the books: earned, due, redeemed, still on vouchers, lost; by model and by day."""

from __future__ import annotations

import json
from dataclasses import replace

from sqlalchemy import Connection

from cocoon_provider.book import ChannelBook
from cocoon_provider.earnings import Earnings, ModelEarnings, read_earnings
from cocoon_provider.enrolment import mark_gone, register
from cocoon_provider.ledger import advance, finish
from cocoon_provider.opening import open_stream
from cocoon_provider.tables import ChannelKey, channels
from cocoon_sdk.payments.meter import Counts
from tests.unit.provider.books import EPOCH, FACTS, KEY, opening, voucher

MIDNIGHT = 1_799_971_200  # a multiple of 86,400
GONE = ChannelKey("0:" + "09" * 32, EPOCH)


def sell(
    connection: Connection, counts: Counts, *, model: bytes, at: int, key: ChannelKey = KEY
) -> None:
    start = replace(opening(), model_hash=model)
    connection.execute(channels.update().values(signed=100_000))
    assert open_stream(connection, key, start, None, "main") is None
    finish(connection, key, start.request_id, counts, b"1" * 32, lambda *_: b"raw", at)


def test_an_empty_book_has_earned_nothing(book: ChannelBook) -> None:
    found = book.database.run_sync(lambda c: read_earnings(c, now=MIDNIGHT))
    assert found == Earnings(0, 0, 0, 0, 0, 0, 0, 1, ())


def test_every_sum(book: ChannelBook) -> None:
    big, small = b"B" * 32, b"S" * 32

    def work(connection: Connection) -> Earnings:
        register(connection, replace(FACTS, key=GONE))
        sell(connection, Counts(100, 0, 50), model=big, at=MIDNIGHT - 1)  # 200
        sell(connection, Counts(10, 20, 5), model=big, at=MIDNIGHT)  # 30
        sell(connection, Counts(7), model=small, at=MIDNIGHT + 86_399)  # 7
        sell(connection, Counts(100), model=small, at=MIDNIGHT - 9, key=GONE)  # 100
        register(connection, replace(FACTS, key=GONE, redeemed=60))
        register(connection, replace(FACTS, redeemed=150))
        mark_gone(connection, GONE.address, MIDNIGHT)
        running = opening()
        open_stream(connection, KEY, running, voucher(1), "main")
        advance(
            connection, KEY, running.request_id, Counts(33), b"1" * 32, 0, Counts(), ()
        )  # fmt: skip
        return read_earnings(connection, now=MIDNIGHT + 86_399)

    found = book.database.run_sync(work)
    assert sorted(found.models, key=lambda m: m.model) == [
        ModelEarnings(big.hex(), 2, 130, 55, 230),
        ModelEarnings(small.hex(), 2, 107, 0, 107),
    ]
    assert (found.earned_nano, found.requests, found.due_nano) == (337, 4, 33)
    assert (found.redeemed_nano, found.unredeemed_nano, found.lost_nano) == (210, 87, 40)
    assert (found.today_nano, found.channels) == (37, 1)
    assert json.loads(json.dumps(found.to_dict()))["models"][0].keys() >= {"model", "earned_nano"}


def test_a_voucher_that_a_stranger_redeemed_in_full_is_no_negative_claim(
    book: ChannelBook,
) -> None:
    def work(connection: Connection) -> Earnings:
        sell(connection, Counts(100), model=b"m" * 32, at=MIDNIGHT)
        register(connection, replace(FACTS, redeemed=5_000))
        return read_earnings(connection, now=MIDNIGHT)

    found = book.database.run_sync(work)
    assert (found.redeemed_nano, found.unredeemed_nano, found.lost_nano) == (5_000, 0, 0)
