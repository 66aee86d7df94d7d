from __future__ import annotations

import asyncio

import pytest

from cocoon_sdk.errors import StreamTruncatedError
from cocoon_sdk.protocol.messages import Attest, AttestChallenge, Error, Message
from cocoon_sdk.transport.challenge import SessionQuotes

pytestmark = pytest.mark.anyio

QUOTE = Attest(b"quote", b"collateral")


class Sender:
    def __init__(self) -> None:
        self.sent: list[tuple[int, Message]] = []

    async def send(self, stream: int, message: Message, *, end: bool = False) -> None:
        assert not end, "stream 0 never ends"
        self.sent.append((stream, message))


async def ask(quotes: SessionQuotes, sender: Sender) -> asyncio.Task[Attest | Error]:
    task = asyncio.create_task(quotes.ask(sender))
    await asyncio.sleep(0)
    return task


async def test_each_question_gets_its_answer() -> None:
    quotes, sender = SessionQuotes(), Sender()
    quotes.deliver(QUOTE)  # that nobody asked for
    for answer in (QUOTE, Error("overloaded", "a crowd"), QUOTE):
        task = await ask(quotes, sender)
        assert not task.done()
        quotes.deliver(answer)
        quotes.deliver(Error("internal", "a second word is dropped"))
        assert await task == answer
    assert sender.sent == [(0, AttestChallenge())] * 3


async def test_who_gives_up_leaves_the_question_to_the_next() -> None:
    quotes, sender = SessionQuotes(), Sender()
    task = await ask(quotes, sender)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    task = await ask(quotes, sender)
    quotes.deliver(QUOTE)
    assert await task == QUOTE
    assert len(sender.sent) == 1


async def test_the_end_of_the_connection_is_told_on_a_copy() -> None:
    quotes, sender = SessionQuotes(), Sender()
    quotes.fail(StreamTruncatedError("nobody waits"))
    task = await ask(quotes, sender)
    end = StreamTruncatedError("gone")
    quotes.fail(end)
    quotes.fail(end)
    with pytest.raises(StreamTruncatedError) as caught:
        await task
    assert caught.value is not end
