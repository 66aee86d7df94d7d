"""Random histories of one channel, restarts included, against a model in plain integers."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from postgres_server import PostgresServer
from sqlalchemy import select

from cocoon_provider.book import MIGRATIONS
from cocoon_provider.closing import CooperativeClose
from cocoon_provider.opening import Opening
from cocoon_provider.refusals import Refusal
from cocoon_provider.tables import channels, receipts, streams
from cocoon_sdk.payments.meter import Counts, Price, cost, window_cost
from cocoon_sdk.payments.receipt import FinishReason, verify_receipt
from cocoon_sdk.payments.voucher import redeemable_limit
from tests.unit.provider.books import FACTS, IDENTITY, KEY, open_book, opening, pay, start, voucher

FUNDS = 11_050_000  # a little above rent and cushion, so that funds run out
HASH = b"1" * 32
PRICES = st.sampled_from(
    [Price(1_000_000, 500_000, 2_000_000), Price(7, 3, 999_999), Price(0, 0, 0), Price(0, 0, 10**6)]
)
amounts = st.integers(min_value=0, max_value=60_000)


@dataclass
class Stream:
    """What the model knows of an open stream."""

    begin: Opening
    max_tokens: int
    counts: Counts
    granted: Counts
    due: int = 0
    window_end: int = 0


class BookMachine(RuleBasedStateMachine):
    """The rules do what clients, the serving loop and crashes do; the invariants are the promises."""

    server: ClassVar[PostgresServer | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.name = self.server and self.server.prepare(Path(self.folder.name), MIGRATIONS)
        self.book = open_book(Path(self.folder.name))
        self.signed = 0
        self.spent = 0
        self.seq = 0
        self.closed = False
        self.streams: list[Stream] = []

    def teardown(self) -> None:
        self.book.database.close()
        self.folder.cleanup()
        if self.server and self.name:
            self.server.drop(self.name)
        self.loop.close()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    @initialize()
    def register(self) -> None:
        self.do(self.book.register(replace(FACTS, balance=FUNDS)))

    def committed(self) -> int:
        return sum(cost(s.granted, s.begin.price) for s in self.streams)

    def takes(self, amount: int) -> bool:
        """Whether a voucher of this amount is kept or harmless."""
        if amount <= self.signed:
            return True
        return not self.closed and amount <= redeemable_limit(balance=FUNDS, redeemed=0)

    @rule(amount=amounts, prompt=st.integers(1, 5_000), size=st.integers(0, 300), price=PRICES)
    def open_stream(self, amount: int, prompt: int, size: int, price: Price) -> None:
        begin = opening(prompt=prompt, max_tokens=size, price=price)
        first = cost(begin.first, price)
        may = (
            not self.closed
            and self.takes(amount)
            and self.spent + self.committed() + first <= max(amount, self.signed)
        )
        try:
            self.do(start(self.book, begin, voucher(amount)))
        except Refusal:
            assert not may
            return
        assert may
        self.signed = max(self.signed, amount)
        self.streams.append(Stream(begin, size, Counts(), begin.first, window_end=begin.window))

    @precondition(lambda self: self.streams)
    @rule(data=st.data(), amount=amounts)
    def take_voucher(self, data: st.DataObject, amount: int) -> None:
        stream = data.draw(st.sampled_from(self.streams))
        acked = data.draw(st.integers(0, stream.due + 3))
        end = acked + window_cost(
            stream.begin.price, stream.counts, prompt_total=5_000, max_tokens=stream.max_tokens
        )
        may = self.takes(amount) and acked <= stream.due
        try:
            self.do(pay(self.book, stream.begin, voucher(amount, acked=acked), end))
        except Refusal:
            assert not may
            return
        assert may
        self.signed = max(self.signed, amount)
        stream.window_end = max(stream.window_end, end)

    @precondition(lambda self: self.streams)
    @rule(data=st.data())
    def advance(self, data: st.DataObject) -> None:
        """The backend did part of what was granted; the next step is asked for."""
        stream = data.draw(st.sampled_from(self.streams))
        price = stream.begin.price
        done = Counts(
            prompt=data.draw(st.integers(stream.counts.prompt, stream.granted.prompt)),
            completion=data.draw(st.integers(stream.counts.completion, stream.granted.completion)),
        )
        targets = [
            stream.granted.advance(completion=step)
            for step in data.draw(st.sampled_from([(32, 16), (16,), ()]))
        ]
        others = self.committed() - cost(stream.granted, price)
        room = min(self.signed - self.spent - others, stream.window_end)
        expected = next((t for t in targets if cost(t, price) <= room), None)
        progress = self.do(
            self.book.advance(
                KEY,
                stream.begin.request_id,
                done,
                HASH,
                window=0,
                granted=stream.granted,
                targets=targets,
            )
        )
        stream.counts, stream.due = done, max(stream.due, cost(done, price))
        stream.granted = expected or stream.granted
        assert progress.due == stream.due
        assert progress.granted == expected

    @precondition(lambda self: self.streams)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        stream = data.draw(st.sampled_from(self.streams))
        final = Counts(
            prompt=data.draw(st.integers(stream.counts.prompt, stream.granted.prompt)),
            completion=data.draw(st.integers(stream.counts.completion, stream.granted.completion)),
        )
        raw = self.do(
            self.book.finish(KEY, stream.begin.request_id, final, HASH, FinishReason.STOP)
        )
        self.streams.remove(stream)
        self.receipted(raw, final, stream.begin.price)

    @rule()
    def restart(self) -> None:
        """A crash: whatever was open ends at its durable counts."""
        self.book.database.close()
        self.book = open_book(Path(self.folder.name))
        assert self.do(self.book.end_orphans()) == len(self.streams)
        for stream in self.streams:
            self.seq += 1
            self.spent += cost(stream.counts, stream.begin.price)
        self.streams = []

    @precondition(lambda self: not self.streams)
    @rule()
    def close_cooperatively(self) -> None:
        auth = self.do(CooperativeClose(self.book, IDENTITY).authorise(KEY, KEY.epoch))
        assert auth.final == self.spent
        self.closed = True

    def receipted(self, raw: bytes, final: Counts, price: Price) -> None:
        receipt = verify_receipt(raw, IDENTITY.public_key)
        self.seq += 1
        self.spent += cost(final, price)
        assert (receipt.seq, receipt.spent) == (self.seq, self.spent)
        assert (receipt.price, receipt.counts) == (cost(final, price), final)

    @invariant()
    def the_books_agree_with_the_model_and_keep_their_promises(self) -> None:
        def read(connection: Any) -> tuple[Any, Any, Any]:
            return (
                connection.execute(select(channels)).mappings().first(),
                connection.execute(select(streams)).mappings().all(),
                connection.execute(select(receipts).order_by(receipts.c.seq)).mappings().all(),
            )

        row, open_rows, kept = self.book.database.run_sync(read)
        if row is None:
            return
        assert (row["signed"], row["spent"], row["seq"]) == (self.signed, self.spent, self.seq)
        assert row["signed"] <= redeemable_limit(balance=FUNDS, redeemed=0)
        assert row["signed"] >= row["spent"] + sum(s["due"] + s["reserved"] for s in open_rows)
        assert all(s["due"] + s["reserved"] <= s["window_end"] for s in open_rows)
        assert [r["seq"] for r in kept] == list(range(1, self.seq + 1))
        assert sum(r["price"] for r in kept) == self.spent
        assert len(open_rows) == len(self.streams)


BookMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestBookMachine = BookMachine.TestCase


class PostgresBookMachine(BookMachine):
    """The same histories."""


PostgresBookMachine.TestCase.settings = settings(
    BookMachine.TestCase.settings, max_examples=6, stateful_step_count=20
)


@pytest.mark.postgres
class TestBookMachineOnPostgres(PostgresBookMachine.TestCase):
    @pytest.fixture(autouse=True)
    def _on(self, postgres: PostgresServer) -> None:
        PostgresBookMachine.server = postgres
