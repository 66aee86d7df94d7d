"""What a provider or bad timing could cost a client beyond its window (payments.md §3 and §5)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cocoon_sdk.errors import DecryptionError, OverchargeError, ReceiptMismatchError
from cocoon_sdk.payments.budget import Budget, BudgetLedger
from cocoon_sdk.payments.meter import Counts, Price
from cocoon_sdk.protocol.events import MessageReceived
from cocoon_sdk.protocol.messages import Channel, Delta, Result, encode_body
from cocoon_sdk.transport.stream import MAX_PENDING_BYTES, MAX_PENDING_FRAMES, Stream
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


async def test_as_many_frames_as_tokens_may_be_ahead_can_wait() -> None:
    stream = Stream(Nowhere(), 1)
    stream.expect(4_096)
    for number in range(MAX_PENDING_FRAMES + 2 * 4_096):
        stream.deliver(received(Delta(number, 0, Channel.CONTENT, "x", [1])))
    with pytest.raises(DecryptionError):
        stream.deliver(received(Delta(0, 0, Channel.CONTENT, "x", [1])))


async def test_a_fast_provider_of_a_free_model_may_be_ahead_of_a_slow_reader(
    tmp_path: Path,
) -> None:
    """Nothing paces a free answer but its length, so all of it may wait here."""
    tokens, said = 3_000, asyncio.Event()

    async def answer(talk: Talk) -> None:
        for _ in range(tokens):
            await talk.say("x")
        await talk.finish()
        counts = Counts(talk.prompt, 0, talk.counts.completion)
        await talk.receipt(counts=counts, price=0, spent=0, seq=0, epoch=0)
        said.set()

    async with StubProvider(answer).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor(price=Price(0, 0, 0))))
        async with customer.client(voucher_key=None) as client:
            got = ""
            async with client.chat.completions.stream(**ask() | {"max_tokens": tokens}) as stream:
                async for text in stream.text_stream:
                    got += text
                    if got == "x":
                        await said.wait()
                        await asyncio.sleep(0.5)  # long enough for all of it to arrive
            assert got == "x" * tokens
            assert not client.request_settings().core.quarantined


async def test_text_without_tokens_does_not_fill_the_memory(tmp_path: Path) -> None:
    """Text is not billed, so no window bounds it; but each token stands for so much of it and no more."""

    async def answer(talk: Talk) -> None:
        await talk.prefill()
        while True:
            await talk.say("y" * 16, ids=[])

    async with StubProvider(answer).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            with pytest.raises(OverchargeError, match="bytes of text"):
                async with asyncio.timeout(60):
                    await client.chat.completions.create(**ask())


async def test_what_was_read_makes_room() -> None:
    stream = Stream(Nowhere(), 1)
    large = received(Result(0, 0, 1, "logprobs", "x" * 500_000))
    for _ in range(20):
        stream.deliver(large)
        assert (await stream.receive()) is large
