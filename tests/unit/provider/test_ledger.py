"""The money transactions by themselves: what they refuse, what they keep, when money starts to age."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from sqlalchemy import Connection, select

from cocoon_provider import ledger
from cocoon_provider.book import ChannelBook
from cocoon_provider.opening import Opening, open_stream
from cocoon_provider.refusals import Refusal
from cocoon_provider.tables import ChannelKey, channels, locked_channel, receipts, stream_row
from cocoon_sdk.errors import WireCode
from cocoon_sdk.payments.meter import Counts, Price
from tests.unit.provider.books import KEY, NOW, opening, voucher

HASH = b"1" * 32
UNKNOWN = ChannelKey(KEY.address, KEY.epoch + 1)


def raw_receipt(_row: Mapping[str, Any], price: int, spent: int, seq: int) -> bytes:
    return f"{price} {spent} {seq}".encode()


def begin(connection: Connection, start: Opening, signed: int = 10_000) -> Opening:
    assert open_stream(connection, KEY, start, voucher(signed), "main") is None
    return start


def finish(
    connection: Connection, start: Opening, counts: Counts | None, *, now: int = NOW
) -> bytes:
    digest = None if counts is None else HASH
    return ledger.finish(connection, KEY, start.request_id, counts, digest, raw_receipt, now)


def advance(connection: Connection, start: Opening, counts: Counts, **options: Any) -> Any:
    options = {"window": 0, "granted": Counts(), "targets": []} | options
    return ledger.advance(connection, KEY, start.request_id, counts, HASH, **options)


def test_a_stream_that_is_not_open_can_neither_advance_nor_end(book: ChannelBook) -> None:
    def work(connection: Connection) -> None:
        start = opening()
        calls: list[Callable[[], object]] = [
            lambda: advance(connection, start, Counts(100)),
            lambda: finish(connection, start, Counts(100)),
        ]
        for call in calls:
            with pytest.raises(Refusal) as caught:
                call()
            assert caught.value.code is WireCode.NOT_FOUND
        begin(connection, start)
        finish(connection, start, Counts(100))
        with pytest.raises(Refusal):  # a second receipt would count it twice
            finish(connection, start, Counts(100))
        assert locked_channel(connection, KEY)["seq"] == 1

    book.database.run_sync(work)


def test_no_transaction_without_the_channel(book: ChannelBook) -> None:
    def work(connection: Connection) -> None:
        request_id = opening().request_id
        for call in (
            lambda: ledger.take_voucher(connection, UNKNOWN, request_id, voucher(1), 0),
            lambda: ledger.drop(connection, UNKNOWN, request_id),
        ):
            with pytest.raises(Refusal) as caught:
                call()
            assert caught.value.code is WireCode.CHANNEL_UNKNOWN

    book.database.run_sync(work)


def test_a_voucher_for_an_ended_stream_is_kept_and_its_ack_ignored(book: ChannelBook) -> None:
    def work(connection: Connection) -> None:
        late = voucher(500, acked=10**9)
        ledger.take_voucher(connection, KEY, b"", late, 0)
        assert locked_channel(connection, KEY)["signed"] == 500

    book.database.run_sync(work)


def test_the_first_covered_target_is_reserved_and_shown_as_wanted(book: ChannelBook) -> None:
    def work(connection: Connection) -> None:
        start = begin(connection, opening(prompt=100), signed=140)
        far, near = Counts(100, 0, 32), Counts(100, 0, 16)
        progress = advance(connection, start, Counts(100), window=128, targets=[far, near])
        assert progress == ledger.Progress(due=100, wanted=228, granted=near)
        row = stream_row(connection, KEY, start.request_id)
        assert row is not None
        assert (row["due"], row["reserved"], row["window"]) == (100, 32, 128)

    book.database.run_sync(work)


def test_wanted_is_never_below_what_is_signed(book: ChannelBook) -> None:
    def work(connection: Connection) -> None:
        start = begin(connection, opening(prompt=100), signed=10_000)
        assert advance(connection, start, Counts(100), window=128).wanted == 10_000

    book.database.run_sync(work)


def test_the_final_counts_are_those_given_or_else_the_durable_ones(book: ChannelBook) -> None:
    def work(connection: Connection) -> None:
        given, durable = begin(connection, opening()), begin(connection, opening())
        for start in (given, durable):
            advance(connection, start, Counts(100, 0, 16))
        assert finish(connection, given, Counts(100, 0, 20)) == b"140 140 1"
        assert finish(connection, durable, None) == b"132 272 2"
        rows = connection.execute(select(receipts).order_by(receipts.c.seq)).mappings().all()
        assert [(row["prompt"], row["completion"]) for row in rows] == [(100, 20), (100, 16)]
        assert [row["at"] for row in rows] == [NOW, NOW]

    book.database.run_sync(work)


def test_cached_tokens_count_as_prompt_in_the_statistics(book: ChannelBook) -> None:
    def work(connection: Connection) -> None:
        assert finish(connection, begin(connection, opening()), Counts(60, 40, 1)) == b"82 82 1"
        assert connection.execute(select(receipts.c.prompt)).scalar_one() == 100

    book.database.run_sync(work)


def test_money_ages_from_the_first_receipt_that_costs_something(book: ChannelBook) -> None:
    def since(connection: Connection) -> int:
        return int(connection.execute(select(channels.c.unredeemed_since)).scalar_one())

    def work(connection: Connection) -> None:
        free = opening(price=Price(0, 0, 0))
        open_stream(connection, KEY, free, None, "main")
        finish(connection, free, Counts(100, 0, 5), now=NOW)
        assert since(connection) == 0
        for later in (10, 20):
            finish(connection, begin(connection, opening()), Counts(100), now=NOW + later)
            assert since(connection) == NOW + 10

    book.database.run_sync(work)


def test_only_a_stream_without_a_due_is_dropped(book: ChannelBook) -> None:
    def work(connection: Connection) -> None:
        start = begin(connection, opening())
        ledger.drop(connection, KEY, opening().request_id)  # another one
        assert stream_row(connection, KEY, start.request_id) is not None
        advance(connection, start, Counts(1))
        ledger.drop(connection, KEY, start.request_id)
        assert stream_row(connection, KEY, start.request_id) is not None

    book.database.run_sync(work)
