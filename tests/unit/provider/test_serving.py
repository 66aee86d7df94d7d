"""The loop that serves one request: steps, METERs, waiting for money, and every way it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import pytest

from cocoon_provider.answer import Answer
from cocoon_provider.backends.base import Event, Finished, Piece, Prefilled
from cocoon_provider.inbox import ConnectionLostError, Inbox
from cocoon_provider.ledger import Progress
from cocoon_provider.limits import RequestLine
from cocoon_provider.opening import Ended
from cocoon_provider.outcomes import Outcomes
from cocoon_provider.refusals import Refusal
from cocoon_provider.serving import QUEUE_INTERVAL, VOUCHER_TIMEOUT, Serving
from cocoon_sdk.errors import ProviderInternalError, StoreError, WireCode
from cocoon_sdk.payments.meter import Counts, cost
from cocoon_sdk.payments.receipt import FinishReason
from cocoon_sdk.protocol import messages
from cocoon_sdk.protocol.messages import Channel
from tests.unit.provider.books import PRICE, voucher

pytestmark = pytest.mark.anyio

STOP = Finished(("stop",))


class Backend:
    """A generation whose events a test hands in; it answers to nothing but `cancel`."""

    def __init__(self, prompt: int = 10, limit: int = 100) -> None:
        self.prompt_tokens = prompt
        self.max_tokens = limit
        self.grants: list[tuple[int, int]] = []
        self.cancelled = False
        self.queue: asyncio.Queue[Event | Exception | None] = asyncio.Queue()

    def grant(self, *, prompt: int, completion: int) -> None:
        self.grants.append((prompt, completion))

    def cancel(self) -> None:
        self.cancelled = True
        self.queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Event]:
        while (event := await self.queue.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event


class Till:
    """Billing that says yes while `paid`, and remembers what it was asked."""

    def __init__(self, *, metered: bool = True) -> None:
        self.metered = metered
        self.paid = True
        self.advanced: list[Counts] = []
        self.taken: list[int] = []
        self.error: Exception | None = None
        self.finished: tuple[Counts, bytes, FinishReason] | None = None
        self.dropped = False

    async def open(self, first: Counts, voucher: messages.Voucher | None) -> Ended | None:
        raise AssertionError("admission opens streams")

    async def voucher(self, voucher: messages.Voucher) -> None:
        if self.error is not None:
            raise self.error
        self.taken.append(voucher.cumulative)

    async def advance(
        self, counts: Counts, response_hash: bytes, targets: Sequence[Counts]
    ) -> Progress:
        if self.error is not None:
            raise self.error
        self.advanced.append(counts)
        granted = targets[0] if targets and self.paid else None
        return Progress(cost(counts, PRICE), 999, granted)

    async def finish(self, counts: Counts, response_hash: bytes, reason: FinishReason) -> bytes:
        self.finished = counts, response_hash, reason
        return b"receipt"

    async def drop(self) -> None:
        self.dropped = True

    def listening(self, wake: asyncio.Event) -> AbstractContextManager[None]:
        return nullcontext()


class Stage:
    """One request being served, on a clock that only the test moves."""

    def __init__(
        self,
        *,
        prompt: int = 10,
        limit: int = 100,
        till: Till | None = None,
        line: RequestLine | None = None,
    ) -> None:
        self.now = 100.0
        self.sent: list[tuple[messages.Message, bool]] = []
        self.lost = False
        self.backend = Backend(prompt, limit)
        self.till = till or Till()
        self.inbox = Inbox()
        self.line = line or RequestLine(active=1, waiting=4)
        outcomes = Outcomes(lambda: self.now)
        outcome = outcomes.begin(b"", b"i" * 16, b"h" * 32)
        self.answer = Answer(self.send, outcome, lambda: self.now)
        self.serving = Serving(
            generation=self.backend,
            billing=self.till,
            answer=self.answer,
            inbox=self.inbox,
            place=self.line.enter(),
            send=self.send,
            clock=lambda: self.now,
        )
        self.task = asyncio.create_task(self.serving.run())

    async def send(self, message: messages.Message, *, end: bool = False) -> None:
        if self.lost:
            raise ConnectionLostError
        self.sent.append((message, end))

    def event(self, *events: Event | Exception | None) -> None:
        for event in events:
            self.backend.queue.put_nowait(event)

    def tokens(self, count: int, *, channel: Channel = Channel.CONTENT) -> None:
        for _ in range(count):
            self.event(Piece(0, channel, "x", (120,)))

    def voucher(self, amount: int = 1) -> None:
        self.inbox.put(voucher(amount))

    async def settle(self) -> None:
        """Let everything happen that happens without time."""
        for _ in range(60):
            await asyncio.sleep(0)

    async def wait(self, seconds: float) -> None:
        self.now += seconds
        self.inbox.wake.set()
        await self.settle()

    async def end(self) -> bytes | None:
        return await asyncio.wait_for(self.task, 5)

    def kinds(self) -> list[str]:
        return [type(message).__name__ for message, _ in self.sent]

    def of(self, kind: type[messages.Message]) -> list[messages.Message]:
        return [message for message, _ in self.sent if isinstance(message, kind)]

    @property
    def bill(self) -> tuple[Counts, FinishReason]:
        assert self.till.finished is not None
        return self.till.finished[0], self.till.finished[2]

    def slot_is_free(self) -> bool:
        return self.line.enter().ready


# --- steps and METERs


async def test_an_answer_is_metered_by_steps_and_billed_for_what_was_delivered() -> None:
    stage = Stage()
    assert stage.backend.grants == []
    stage.event(Prefilled(10, 0))
    stage.tokens(40)
    stage.event(STOP)
    assert await stage.end() == b"receipt"
    assert stage.backend.grants[0] == (10, 0)  # the first step, paid with the REQUEST
    assert stage.backend.grants[1] == (10, 33)  # the first token was out, then two steps ahead
    assert stage.bill == (Counts(10, 0, 40), FinishReason.STOP)
    assert stage.till.finished is not None
    assert stage.till.finished[1] == stage.answer.digest
    assert stage.kinds()[0] in {"Delta", "Meter"}
    assert isinstance(stage.sent[-1][0], messages.Result)
    assert stage.sent[-1][0].data == {"choice": 0, "reason": "stop"}
    assert not any(end for _, end in stage.sent)  # END is on the RECEIPT, which is not sent here
    assert stage.slot_is_free()


async def test_each_prompt_step_is_metered_before_the_next_is_granted() -> None:
    stage = Stage(prompt=5_000)
    for done, granted in ((2_048, 4_096), (4_096, 5_000)):
        stage.event(Prefilled(done, 0))
        await stage.settle()
        [*_, meter] = stage.of(messages.Meter)
        assert isinstance(meter, messages.Meter)
        assert (meter.prompt, meter.due, meter.wanted) == (done, done, 999)
        assert stage.till.advanced[-1] == Counts(done)
        assert stage.backend.grants[-1] == (granted, 0)
    stage.event(Prefilled(5_000, 0), STOP)
    await stage.end()
    assert stage.bill[0] == Counts(5_000)


async def test_a_prompt_is_billed_though_the_answer_is_empty() -> None:
    stage = Stage()
    stage.event(Prefilled(8, 2), STOP)  # the model ends at once: both are there when we look
    await stage.end()
    [meter] = stage.of(messages.Meter)
    assert isinstance(meter, messages.Meter)
    assert (meter.prompt, meter.cached, meter.completion) == (8, 2, 0)
    assert stage.kinds() == ["Meter", "Result"]
    assert stage.bill == (Counts(8, 2), FinishReason.STOP)


async def test_a_meter_comes_after_sixteen_tokens_or_when_the_backend_falls_silent() -> None:
    stage = Stage()
    stage.event(Prefilled(10, 0))
    stage.tokens(1)
    await stage.settle()
    before = len(stage.of(messages.Meter))
    stage.tokens(15)
    await stage.settle()
    assert len(stage.of(messages.Meter)) == before
    stage.tokens(1)
    await stage.settle()
    meters = stage.of(messages.Meter)
    assert len(meters) == before + 1
    assert isinstance(meters[-1], messages.Meter)
    assert meters[-1].completion == 17
    stage.tokens(3)
    await stage.settle()
    await stage.wait(0.4)
    assert len(stage.of(messages.Meter)) == before + 1
    await stage.wait(0.2)  # half a second without an event: it may be waiting for us
    assert stage.till.advanced[-1] == Counts(10, 0, 20)
    stage.event(STOP)
    await stage.end()


async def test_what_waits_for_its_cell_is_sent_after_fifty_milliseconds() -> None:
    stage = Stage()
    stage.event(Prefilled(10, 0))
    stage.tokens(1)
    await stage.settle()
    stage.tokens(2)
    await stage.settle()
    assert stage.answer.delivered == 1
    await stage.wait(0.051)
    assert stage.answer.delivered == 3
    stage.event(STOP)
    await stage.end()


async def test_a_free_request_is_not_metered_and_its_receipt_counts_the_prompt() -> None:
    stage = Stage(till=Till(metered=False))
    stage.event(Prefilled(6, 4))
    stage.tokens(20)
    stage.event(STOP)
    await stage.end()
    assert stage.of(messages.Meter) == []
    assert stage.bill == (Counts(6, 4, 20), FinishReason.STOP)
    assert stage.backend.grants[-1][1] > 20


async def test_reasoning_is_counted_by_itself() -> None:
    stage = Stage()
    stage.event(Prefilled(10, 0))
    stage.tokens(5, channel=Channel.REASONING)
    stage.tokens(3)
    stage.event(STOP)
    await stage.end()
    assert stage.bill[0] == Counts(10, 0, 8, 5)


@pytest.mark.parametrize(
    ("reasons", "finish"),
    [
        (("stop", "stop"), FinishReason.STOP),
        (("stop", "length"), FinishReason.LENGTH),
        (("length", "cancelled"), FinishReason.CANCELLED),
    ],
)
async def test_every_choice_has_its_reason(reasons, finish: FinishReason) -> None:
    stage = Stage()
    stage.event(Prefilled(10, 0), Finished(reasons))
    await stage.end()
    results = [m.data for m in stage.of(messages.Result) if isinstance(m, messages.Result)]
    assert results == [{"choice": n, "reason": reason} for n, reason in enumerate(reasons)]
    assert stage.bill[1] is finish


# --- the line


async def test_while_it_waits_its_place_is_told_every_five_seconds() -> None:
    line = RequestLine(active=1, waiting=4)
    before = line.enter()
    stage = Stage(line=line)
    await stage.settle()
    assert stage.kinds() == ["Queue"]
    await stage.wait(QUEUE_INTERVAL - 0.1)
    assert stage.kinds() == ["Queue"]
    await stage.wait(0.2)
    assert stage.kinds() == ["Queue", "Queue"]
    assert stage.backend.grants == []
    before.leave()
    await stage.settle()
    assert stage.backend.grants == [(10, 0)]
    stage.event(Prefilled(10, 0), STOP)
    await stage.end()
    assert line.enter().ready


async def test_a_cancel_in_line_costs_nothing_and_starts_nothing() -> None:
    line = RequestLine(active=1, waiting=4)
    line.enter()
    stage = Stage(line=line)
    await stage.settle()
    stage.inbox.cancel()
    assert await stage.end() == b"receipt"
    assert stage.backend.grants == []
    assert stage.backend.cancelled
    assert stage.bill == (Counts(), FinishReason.CANCELLED)
    assert line.waiting == 0


# --- waiting for money


async def unpaid() -> Stage:
    stage = Stage()
    stage.till.paid = False
    stage.event(Prefilled(10, 0))
    stage.tokens(4)
    await stage.settle()
    await stage.wait(0.06)
    return stage


async def test_without_a_voucher_for_ten_seconds_it_ends_with_error_then_receipt() -> None:
    stage = await unpaid()
    await stage.wait(VOUCHER_TIMEOUT - 0.1)
    assert not stage.task.done()
    assert stage.backend.grants == [(10, 0)]
    await stage.wait(0.2)
    assert await stage.end() == b"receipt"
    error, end = stage.sent[-1]
    assert isinstance(error, messages.Error)
    assert (error.code, end) == (WireCode.PAYMENT_REQUIRED, False)
    assert stage.bill == (Counts(10, 0, 4), FinishReason.ERROR)
    assert stage.backend.cancelled


async def test_a_voucher_in_time_lets_it_go_on_and_the_next_wait_has_ten_seconds_again() -> None:
    stage = await unpaid()
    await stage.wait(VOUCHER_TIMEOUT - 1)
    stage.till.paid = True
    stage.voucher(5)
    await stage.settle()
    assert stage.till.taken == [5]
    assert stage.backend.grants[-1][1] >= 16
    stage.till.paid = False
    stage.tokens(16)
    await stage.settle()
    await stage.wait(VOUCHER_TIMEOUT - 1)
    assert not stage.task.done()
    stage.event(STOP)
    await stage.end()
    assert stage.bill == (Counts(10, 0, 20), FinishReason.STOP)


async def test_payment_for_another_stream_is_tried_at_every_wake() -> None:
    stage = await unpaid()
    meters = len(stage.of(messages.Meter))
    asked = len(stage.till.advanced)
    stage.till.paid = True
    stage.inbox.wake.set()  # the channel's bell
    await stage.settle()
    assert len(stage.till.advanced) > asked
    assert stage.backend.grants[-1][1] >= 16
    assert len(stage.of(messages.Meter)) <= meters + 1  # the same counts are not told twice
    stage.event(STOP)
    await stage.end()


async def test_an_answer_at_its_limit_waits_for_no_further_voucher() -> None:
    stage = Stage(limit=4)
    stage.event(Prefilled(10, 0))
    stage.tokens(4)
    await stage.settle()
    stage.till.paid = False
    await stage.wait(1)
    assert stage.till.advanced[-1] == Counts(10, 0, 4)
    await stage.wait(VOUCHER_TIMEOUT + 1)
    assert not stage.task.done()
    stage.event(Finished(("length",)))
    await stage.end()
    assert stage.bill == (Counts(10, 0, 4), FinishReason.LENGTH)


async def test_a_refused_voucher_ends_the_stream() -> None:
    stage = await unpaid()
    stage.till.error = Refusal(WireCode.VOUCHER_REJECTED, "forged")
    stage.voucher()
    assert await stage.end() == b"receipt"
    assert [m.code for m in stage.of(messages.Error) if isinstance(m, messages.Error)] == [
        WireCode.VOUCHER_REJECTED
    ]
    assert stage.bill == (Counts(10, 0, 4), FinishReason.ERROR)


# --- cancelled, lost, failed


async def test_a_cancel_bills_the_deltas_sent_and_not_what_waited() -> None:
    stage = Stage()
    stage.event(Prefilled(10, 0))
    stage.tokens(1)
    await stage.settle()
    stage.tokens(5)
    await stage.settle()
    stage.inbox.cancel()
    await stage.end()
    assert stage.bill == (Counts(10, 0, 1), FinishReason.CANCELLED)
    assert stage.backend.cancelled
    assert stage.slot_is_free()


async def test_a_cancel_before_the_first_meter_is_free() -> None:
    stage = Stage()
    await stage.settle()
    stage.event(Prefilled(10, 0))
    stage.inbox.cancel()
    await stage.end()
    assert stage.bill == (Counts(), FinishReason.CANCELLED)


async def test_a_client_that_is_gone_has_its_receipt_in_the_books() -> None:
    stage = Stage()
    stage.event(Prefilled(10, 0))
    stage.tokens(1)
    await stage.settle()
    told = len(stage.sent)
    stage.lost = True
    stage.tokens(16)
    assert await stage.end() == b"receipt"
    counts, reason = stage.bill
    assert reason is FinishReason.CANCELLED
    assert counts.completion == 17  # handed to the connection before it was known to be dead
    assert len(stage.sent) == told


async def test_a_backend_that_fails_first_costs_nothing_and_error_is_the_end() -> None:
    stage = Stage()
    stage.event(ProviderInternalError("GPU 3 fell off the bus"))
    assert await stage.end() is None
    [(error, end)] = stage.sent
    assert isinstance(error, messages.Error)
    assert (error.code, end) == (WireCode.INTERNAL, True)
    assert "GPU" not in error.message
    assert (stage.till.dropped, stage.till.finished) == (True, None)


async def test_a_prompt_that_was_never_metered_is_not_billed_when_the_backend_fails() -> None:
    stage = Stage()
    stage.event(Prefilled(10, 0), ProviderInternalError("x"))
    assert await stage.end() is None
    assert stage.of(messages.Meter) == []
    assert (stage.till.dropped, stage.till.finished) == (True, None)


async def test_a_backend_that_fails_later_is_billed_for_what_it_gave() -> None:
    stage = Stage()
    stage.event(Prefilled(10, 0))
    stage.tokens(3)
    stage.event(RuntimeError("SECRET-CANARY"))
    assert await stage.end() == b"receipt"
    error, end = stage.sent[-1]
    assert isinstance(error, messages.Error)
    assert (error.code, end) == (WireCode.INTERNAL, False)
    assert stage.bill == (Counts(10, 0, 3), FinishReason.ERROR)
    assert not stage.till.dropped


@pytest.mark.parametrize("failure", [StoreError("disk full: /home/op"), RuntimeError("CANARY")])
async def test_our_own_failures_give_no_detail_away(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage()
    stage.till.error = failure
    stage.event(Prefilled(10, 0))
    await stage.end()
    [error] = stage.of(messages.Error)
    assert isinstance(error, messages.Error)
    assert error.code == WireCode.INTERNAL
    assert not {"disk", "CANARY"} & set(error.message.split())
    assert "CANARY" not in caplog.text
    assert stage.backend.cancelled


@pytest.mark.parametrize("when", ["known", "found out"])
async def test_an_error_for_a_client_that_is_gone_is_not_sent(when: str) -> None:
    stage = Stage()
    stage.lost = True
    if when == "known":
        stage.inbox.lost = True
        stage.inbox.cancelled = False
    stage.event(ProviderInternalError("x"))
    await stage.end()
    assert stage.sent == []
    assert stage.inbox.lost
    assert stage.slot_is_free()


async def test_when_the_process_stops_the_backend_stops_and_the_slot_is_given_back() -> None:
    stage = Stage()
    await stage.settle()
    stage.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stage.task
    assert stage.backend.cancelled
    assert stage.slot_is_free()
    assert stage.till.finished is None  # the durable due ends it after the restart
