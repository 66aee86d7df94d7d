"""What a provider or bad timing could cost a client beyond its window (payments.md §3 and §5)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cocoon_sdk.errors import DecryptionError, ReceiptMismatchError
from cocoon_sdk.payments.budget import Budget, BudgetLedger
from cocoon_sdk.protocol.events import MessageReceived
from cocoon_sdk.protocol.messages import Delta, Result, encode_body
from cocoon_sdk.transport.stream import MAX_PENDING_BYTES, Stream
from tests.stub_provider import StubProvider, Talk, ask, make_customer

pytestmark = pytest.mark.anyio


async def test_a_request_cancelled_while_it_reserves_gives_the_reservation_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = BudgetLedger.open

    async def cancelled_behind_the_commit(self: BudgetLedger, *args: Any) -> None:
        await reserve(self, *args)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client(budget=Budget(total="1")) as client:
            with monkeypatch.context() as patched:
                patched.setattr(BudgetLedger, "open", cancelled_behind_the_commit)
                with pytest.raises(asyncio.CancelledError):
                    await client.chat.completions.create(**ask())
            _, budget = await client.request_settings().core.ledger()
            assert (await budget.spent())["total"] == 0


@pytest.mark.parametrize("change", [{"seq": 2**64 - 1}, {"time_ms": 2**64 - 1}])
async def test_numbers_beyond_the_ledger_are_a_lie_like_any_other(
    tmp_path: Path, change: dict[str, int]
) -> None:
    async def answer(talk: Talk) -> None:
        await talk.prefill()
        await talk.say("a")
        await talk.finish()
        await talk.receipt(**change)

    async with StubProvider(answer).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            with pytest.raises(ReceiptMismatchError):
                await client.chat.completions.create(**ask())
            assert stub.id in client.request_settings().core.quarantined


class Nowhere:
    async def send(self, stream: int, message: Any, *, end: bool = False) -> None:
        raise AssertionError("nothing is sent")


def received(message: Delta | Result) -> MessageReceived:
    return MessageReceived(1, message, encode_body(message), end=False)


async def test_large_frames_do_not_pile_up_before_a_slow_reader() -> None:
    stream = Stream(Nowhere(), 1)
    large = received(Result(0, 0, 1, "logprobs", "x" * 500_000))
    for _ in range(MAX_PENDING_BYTES // len(large.body)):
        stream.deliver(large)
    with pytest.raises(DecryptionError):
        stream.deliver(large)


async def test_what_was_read_makes_room() -> None:
    stream = Stream(Nowhere(), 1)
    large = received(Result(0, 0, 1, "logprobs", "x" * 500_000))
    for _ in range(20):
        stream.deliver(large)
        assert (await stream.receive()) is large
