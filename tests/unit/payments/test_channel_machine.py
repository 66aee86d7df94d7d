"""Random interleavings of streams, meters, late and lost receipts, and restarts of one channel.

A small model of an honest provider runs beside the real ledger. After every step: `signed` never fell,
never exceeds what is owed or granted, and never the funds; the provider can always go on within its
window; what the ledger says after a restart is what it said before.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
)
from postgres_server import PostgresServer

from cocoon_sdk.errors import InsufficientFundsError
from cocoon_sdk.payments.meter import Counts, cost, window_cost
from cocoon_sdk.payments.receipt import Receipt, sign_receipt
from cocoon_sdk.payments.tables import CLIENT_MIGRATIONS
from tests.unit.payments.ledger_kit import (
    PRICE,
    PROVIDER,
    STATE,
    add_channel,
    channel_of,
    is_signed,
    meter,
    open_ledger,
    receipt,
    request_id,
    settle,
)

POOR = replace(STATE, balance=12_000_000 + 100_000)  # of which 100,000 nano can be spent


class Work:
    """One request at the provider."""

    def __init__(self, number: int, prompt: int, max_tokens: int) -> None:
        self.number, self.prompt, self.max_tokens = number, prompt, max_tokens
        self.counts = Counts()
        self.acked = Counts()

    @property
    def grant(self) -> int:
        window = window_cost(
            PRICE, self.acked, prompt_total=self.prompt, max_tokens=self.max_tokens
        )
        return cost(self.acked, PRICE) + window


class ChannelMachine(RuleBasedStateMachine):
    server: ClassVar[PostgresServer | None] = None
    running = Bundle("running")
    late = Bundle("late")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.name = self.server and self.server.prepare(self.folder, CLIENT_MIGRATIONS)
        self.database = open_ledger(self.folder)
        self.channel = add_channel(self.database, POOR)
        self.works: dict[int, Work] = {}
        self.number = self.seq = self.spent = 0
        self.signed = 0
        self.arrived = 0
        self.ceiling = 0  # the highest that could rightly have been signed so far

    def teardown(self) -> None:
        self.database.close()
        shutil.rmtree(self.folder)
        if self.server and self.name:
            self.server.drop(self.name)

    def took(self, voucher) -> None:
        assert is_signed(voucher)
        assert voucher.cumulative >= self.signed
        self.ceiling = max(self.ceiling, self.channel.state.ceiling)
        assert voucher.cumulative <= self.ceiling
        self.signed = voucher.cumulative

    @rule(target=running, prompt=st.integers(1, 9000), max_tokens=st.integers(1, 300))
    def ask(self, prompt: int, max_tokens: int):
        self.number += 1
        work = Work(self.number, prompt, max_tokens)
        try:
            voucher = asyncio.run(
                self.channel.open_stream(
                    request_id(work.number),
                    price=PRICE,
                    prompt_bound=prompt,
                    max_tokens=max_tokens,
                )
            )
        except InsufficientFundsError:
            return None
        self.works[work.number] = work
        self.took(voucher)
        return work

    @rule(
        work=running,
        steps=st.integers(1, 4),
        share=st.integers(0, 100),
        greed=st.sampled_from([0, 0, 1, 50_000]),
    )
    def progress(self, work: Work | None, steps: int, share: int, greed: int):
        """Work as far as the window and `signed` allow, then METER."""
        if work is None or work.number not in self.works:
            return
        others = sum(cost(w.counts, PRICE) for w in self.works.values() if w is not work)
        for _ in range(steps):
            left = work.prompt - work.counts.prefilled
            if left:
                size = min(2048, left)
                cached = size * share // 100
                after = work.counts.advance(prompt=size - cached, cached=cached)
            else:
                size = min(16, work.max_tokens - work.counts.completion)
                after = work.counts.advance(completion=size)
            due = cost(after, PRICE)
            if due > work.grant or self.spent + others + due > self.signed:
                break
            work.counts = after
        wanted = self.spent + others + cost(work.counts, PRICE) + self.window(work) + greed
        self.took(
            asyncio.run(self.channel.on_meter(request_id(work.number), meter(work.counts, wanted)))
        )
        work.acked = work.counts

    @staticmethod
    def window(work: Work) -> int:
        return window_cost(PRICE, work.counts, prompt_total=work.prompt, max_tokens=work.max_tokens)

    @rule(target=late, work=consumes(running))
    def finish(self, work: Work | None) -> Receipt | None:
        """The receipt is made now; it arrives later, in any order, or never."""
        if work is None or work.number not in self.works:
            return None
        del self.works[work.number]
        self.seq += 1
        self.spent += cost(work.counts, PRICE)
        assert self.spent <= self.signed
        return receipt(work.number, work.counts, seq=self.seq, spent=self.spent)

    @rule(made=consumes(late), twice=st.booleans())
    def receipt_arrives(self, made: Receipt | None, twice: bool):
        if made is None:
            return
        for _ in range(1 + twice):
            asyncio.run(settle(self.channel, made))
        self.arrived += made.price

    @rule(made=consumes(late))
    def receipt_is_fetched(self, made: Receipt | None):
        if made is not None:
            asyncio.run(self.channel.recover(sign_receipt(PROVIDER, made)))
            self.arrived += made.price

    @rule(work=consumes(running))
    def refuse(self, work: Work | None):
        if work is None or work.number not in self.works or work.counts != Counts():
            return
        del self.works[work.number]
        asyncio.run(self.channel.refuse(request_id(work.number)))

    @precondition(lambda self: self.number % 3 == 0)
    @rule()
    def restart(self):
        before = asyncio.run(self.channel.reload())
        self.database.close()
        self.database = open_ledger(self.folder)
        self.channel = channel_of(self.database, before.id)
        assert self.channel.state == before

    @invariant()
    def accounts_are_sound(self):
        state = asyncio.run(self.channel.reload())
        assert state.signed == self.signed
        assert state.signed <= POOR.limit
        assert state.spent + state.pending == self.arrived <= self.spent
        assert state.ceiling == self.arrived + sum(stream.exposure for stream in state.streams)
        assert state.ceiling >= self.spent + sum(cost(w.counts, PRICE) for w in self.works.values())
        for work in self.works.values():
            stream = state.stream(request_id(work.number))
            assert stream is not None
            assert stream.exposure >= cost(work.counts, PRICE)


ChannelMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestChannelMachine = ChannelMachine.TestCase


class PostgresChannelMachine(ChannelMachine):
    pass


PostgresChannelMachine.TestCase.settings = settings(
    max_examples=6, stateful_step_count=20, deadline=None
)


@pytest.mark.postgres
class TestChannelMachineOnPostgres(PostgresChannelMachine.TestCase):
    @pytest.fixture(autouse=True)
    def _on(self, postgres: PostgresServer) -> None:
        PostgresChannelMachine.server = postgres
