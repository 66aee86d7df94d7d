"""Each step of the accounts: what it stores, and that a step which raises leaves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cocoon_sdk.errors import (
    ChannelDesyncError,
    InsufficientFundsError,
    OverchargeError,
    PaymentError,
    ReceiptMismatchError,
)
from cocoon_sdk.payments import ledger, transactions
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus, OpenStream
from cocoon_sdk.payments.meter import Counts
from cocoon_sdk.store.database import Database
from tests.unit.payments.ledger_kit import PRICE, STATE, meter, open_ledger, receipt, request_id


class Book:
    """One channel of a ledger, and the steps on it."""

    def __init__(self, database: Database, state: ChannelState = STATE) -> None:
        self._database = database
        self._id: int = database.run_sync(lambda c: ledger.add_channel(c, state))

    @property
    def state(self) -> ChannelState:
        return self._database.run_sync(lambda c: ledger.load_channel(c, self._id))

    def do(self, step: Callable[..., Any], *arguments: Any, **options: Any) -> ChannelState:
        after: ChannelState = self._database.run_sync(
            lambda c: step(c, self._id, *arguments, **options)
        )
        assert _sorted(after) == _sorted(self.state)  # what is returned is what is stored
        return after

    def refused(self, error: type[Exception], step: Callable[..., Any], *arguments: Any) -> str:
        before = self.state
        with pytest.raises(error) as caught:
            self.do(step, *arguments)
        assert self.state == before
        return str(caught.value)

    def settle(self, number: int, counts: Counts, seq: int, spent: int) -> ChannelState:
        made = receipt(number, counts, seq=seq, spent=spent)
        return self.do(transactions.settle, made, f"raw {number}".encode())


def _sorted(state: ChannelState) -> ChannelState:
    return replace(state, streams=tuple(sorted(state.streams, key=lambda one: one.request_id)))


def stream(number: int, **changes: Any) -> OpenStream:
    made = OpenStream(
        request_id=request_id(number),
        opened_at=1000,
        price=PRICE,
        prompt_bound=100,
        max_tokens=10,
        window_tokens=64,
    )
    return replace(made, **changes).with_window()


WINDOW = stream(1).window


@pytest.fixture
def database(ledger_folder: Path) -> Iterator[Database]:
    with open_ledger(ledger_folder) as opened:
        yield opened


@pytest.fixture
def book(database: Database) -> Book:
    return Book(database)


def test_opening_signs_for_the_window_and_only_once(book: Book) -> None:
    assert WINDOW == 3000
    assert book.do(transactions.open_stream, stream(1)).signed == WINDOW
    assert book.do(transactions.open_stream, stream(2)).signed == 2 * WINDOW
    again = book.do(transactions.open_stream, stream(1, prompt_bound=9999))
    assert (again.signed, again.stream(request_id(1))) == (2 * WINDOW, stream(1))


def test_opening_beyond_the_funds_leaves_no_stream(database: Database) -> None:
    book = Book(database, replace(STATE, balance=12_000_000 + WINDOW))
    book.do(transactions.open_stream, stream(1))
    said = book.refused(InsufficientFundsError, transactions.open_stream, stream(2))
    assert "0.000003 coins" in said


@pytest.mark.parametrize("status", [s for s in ChannelStatus if s is not ChannelStatus.OPEN])
def test_only_an_open_channel_opens_streams(database: Database, status: ChannelStatus) -> None:
    book = Book(database, replace(STATE, status=status))
    assert status in book.refused(PaymentError, transactions.open_stream, stream(1))


def test_a_meter_signs_what_is_wanted_within_the_ceiling(book: Book) -> None:
    book.do(transactions.open_stream, stream(1))
    heard = meter(Counts(100), wanted=WINDOW + 1)
    after = book.do(transactions.take_meter, request_id(1), heard)
    assert after.signed == WINDOW  # the window ends with the request: nothing more can be due
    assert after.streams[0].due == 2000
    said = book.refused(
        ChannelDesyncError, transactions.take_meter, request_id(2), meter(Counts(100))
    )
    assert request_id(2).hex() in said
    book.refused(OverchargeError, transactions.take_meter, request_id(1), meter(Counts(101)))


def test_a_receipt_replaces_its_stream(book: Book) -> None:
    book.do(transactions.open_stream, stream(1))
    after = book.settle(1, Counts(100, completion=5), seq=1, spent=2500)
    assert (after.spent, after.seq, after.pending, after.streams) == (2500, 1, 0, ())
    assert after.credit == WINDOW - 2500
    assert book.settle(1, Counts(100, completion=5), seq=1, spent=2500) == after  # again
    made = receipt(1, Counts(100, completion=5), seq=1, spent=2500)
    assert "two different" in book.refused(
        ReceiptMismatchError, transactions.settle, made, b"other bytes"
    )


def test_a_gap_is_pending_until_it_is_filled(book: Book) -> None:
    for number in (1, 2, 3):
        book.do(transactions.open_stream, stream(number))
    after = book.settle(3, Counts(100), seq=3, spent=6000)
    assert (after.spent, after.seq, after.pending) == (0, 0, 2000)
    after = book.settle(2, Counts(100), seq=2, spent=4000)
    assert (after.spent, after.seq, after.pending) == (0, 0, 4000)
    after = book.settle(1, Counts(100), seq=1, spent=2000)
    assert (after.spent, after.seq, after.pending) == (6000, 3, 0)


def test_a_chain_that_does_not_add_up_is_undone_as_a_whole(book: Book) -> None:
    for number in (1, 2):
        book.do(transactions.open_stream, stream(number))
    book.settle(2, Counts(100), seq=2, spent=4001)
    made = receipt(1, Counts(100), seq=1, spent=2000)
    said = book.refused(ReceiptMismatchError, transactions.settle, made, b"raw 1")
    assert "make 4000" in said


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"seq": 0}, ReceiptMismatchError, "number 0 twice"),
        ({"seq": 2}, ReceiptMismatchError, "number 2 twice"),
        ({"seq": 9, "spent": 1999}, ReceiptMismatchError, "less than"),
        ({"seq": 9, "spent": 3 * WINDOW + 1}, OverchargeError, "only 9000 were signed"),
        ({"price": 1999}, OverchargeError, "agreed price is 2000"),
        ({"request_id": request_id(7)}, ChannelDesyncError, "not open"),
    ],
)
def test_receipts_out_of_place(
    book: Book, changes: dict[str, Any], error: type[Exception], said: str
) -> None:
    for number in (1, 2, 3):
        book.do(transactions.open_stream, stream(number))
    book.settle(2, Counts(100), seq=2, spent=4000)
    made = replace(receipt(1, Counts(100), seq=3, spent=6000), **changes)
    assert said in book.refused(error, transactions.settle, made, b"raw 1")


def test_a_refusal_leaves_credit_for_the_next(book: Book) -> None:
    book.do(transactions.open_stream, stream(1))
    after = book.do(transactions.refuse, request_id(1))
    assert (after.streams, after.signed, after.credit) == ((), WINDOW, WINDOW)
    assert book.do(transactions.refuse, request_id(1)) == after
    assert book.do(transactions.open_stream, stream(2)).signed == WINDOW


def test_a_lost_request_may_use_up_credit_and_no_more(book: Book) -> None:
    book.do(transactions.open_stream, stream(1))
    book.do(transactions.open_stream, stream(2))
    lost = receipt(9, Counts(100), seq=1, spent=2000)
    # Everything signed is for the open streams' windows; dues are nothing yet, so it is credit.
    assert book.state.credit == 2 * WINDOW
    after = book.do(transactions.recover, lost, b"raw")
    assert (after.spent, after.credit) == (2000, 2 * WINDOW - 2000)
    assert book.do(transactions.recover, lost, b"raw") == after
    dear = receipt(8, Counts(300), seq=2, spent=8000)
    # 6000 nano are over `signed` together with the 2000 before them.
    book.refused(OverchargeError, transactions.recover, dear, b"raw")
    book.do(transactions.take_meter, request_id(1), meter(Counts(100, completion=10), wanted=0))
    fits_signed = receipt(8, Counts(100), seq=2, spent=4000)
    assert "1000 nano were signed" in book.refused(
        OverchargeError, transactions.recover, fits_signed, b"raw"
    )


def test_recovering_an_open_request_settles_it(book: Book) -> None:
    book.do(transactions.open_stream, stream(1))
    made = receipt(1, Counts(100), seq=1, spent=2000)
    assert book.do(transactions.recover, made, b"raw").streams == ()
    wrong = receipt(2, Counts(100), seq=2, spent=4000, price=1)
    book.do(transactions.open_stream, stream(2))
    assert "agreed price" in book.refused(OverchargeError, transactions.recover, wrong, b"raw 2")


def test_signed_rises_by_proof_and_never_falls(book: Book) -> None:
    assert book.do(transactions.adopt_signed, 500, proven=True).signed == 500
    assert book.do(transactions.adopt_signed, 400, proven=True).signed == 500
    assert book.do(transactions.adopt_signed, 500, proven=False).signed == 500
    with pytest.raises(ChannelDesyncError, match="without our signature"):
        book.do(transactions.adopt_signed, 501, proven=False)
    assert book.state.signed == 500
