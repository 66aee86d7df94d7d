"""The same request once more: taken over while it runs, repeated when it has ended, never charged twice."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from msgspec.structs import replace

from cocoon_provider.backends.echo import EchoBackend
from cocoon_sdk.errors import WireCode
from cocoon_sdk.payments.meter import Counts, Price, cost, window_cost
from cocoon_sdk.payments.receipt import ResponseHash, verify_receipt
from cocoon_sdk.protocol import messages
from cocoon_sdk.protocol.messages import encode_body, frame_type
from tests.provider_world import FakeChannel, RawClient, World, build_world, request, running

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

TEXT = "the quick brown fox jumps over the lazy dog. " * 12


@dataclass
class Listener:
    """One stream on which the answer is awaited; pays as an honest client."""

    world: World
    channel: FakeChannel
    asked: messages.Request
    client: RawClient
    pay: bool = True
    bodies: list[bytes] = field(default_factory=list)
    text: str = ""
    hash: ResponseHash = field(default_factory=ResponseHash)
    tokens: int = 0
    seq: int = 0
    error: messages.Error | None = None
    raw: bytes | None = None

    async def listen(self, *, frames: int | None = None) -> None:
        """To the end, or until so many DELTAs and RESULTs have come. Checks every METER."""
        stream = await self.client.open(self.asked)
        while frames is None or len(self.bodies) < frames:
            event = await self.client.next(stream)
            match event.message:
                case messages.Delta() | messages.Result() as frame:
                    assert frame.seq == self.seq
                    self.seq += 1
                    self.bodies.append(event.body)
                    self.hash.update(frame_type(frame), encode_body(frame))
                    if isinstance(frame, messages.Delta):
                        self.text += frame.text
                        self.tokens += len(frame.ids)
                case messages.Meter() as meter:
                    await self._on_meter(stream, meter)
                case messages.Receipt(raw=raw):
                    self.raw = raw
                case messages.Error() as error:
                    self.error = error
                case _:
                    pass
            if event.end:
                await self.client.send(stream, messages.Ack(), end=True)
                return

    async def _on_meter(self, stream: int, meter: messages.Meter) -> None:
        counts = Counts(meter.prompt, meter.cached, meter.completion)
        assert meter.response_hash == self.hash.digest()  # of just what has arrived here
        assert meter.completion == self.tokens
        assert meter.due == cost(counts, Price(*self.asked.price))
        window = window_cost(
            Price(*self.asked.price), counts, prompt_total=100_000, max_tokens=4096
        )
        if self.pay:
            total = max(self.channel.signed, self.channel.spent + meter.due + window)
            self.channel.signed = total
            voucher = self.channel.voucher(total, acked=meter.due)
            await self.client.send(stream, voucher)


def ask(world: World, channel: FakeChannel, text: str = TEXT) -> messages.Request:
    asked = request(world, text)
    channel.signed = window_cost(
        Price(*asked.price), Counts(), prompt_total=100_000, max_tokens=4096
    )
    return replace(asked, voucher=channel.voucher(channel.signed))


def check_answer(world: World, listener: Listener) -> None:
    """Whole, right, and receipted for just what it is."""
    assert listener.raw is not None
    receipt = verify_receipt(listener.raw, world.identity.public_key)
    assert listener.text == TEXT
    assert receipt.response_hash == listener.hash.digest()
    assert receipt.counts.completion == listener.tokens
    assert receipt.price == cost(receipt.counts, Price(*listener.asked.price))
    assert (receipt.seq, receipt.spent) == (1, receipt.price)


async def check_books(world: World, channel: FakeChannel, raw: bytes) -> None:
    """One receipt, charged once."""
    async with RawClient.dial(world, channel) as client:
        state = await client.ask(messages.StateGet())
        assert isinstance(state, messages.State)
        receipt = verify_receipt(raw, world.identity.public_key)
        assert (state.seq, state.spent) == (1, receipt.price)
        again = await client.ask(messages.ReceiptGet(receipt.request_id, None))
        assert again == messages.Receipt(raw)


def slow_world(folder: Path, delay: float = 0.002) -> World:
    return build_world(folder, backend=EchoBackend(("echo", "free"), delay=delay))


async def test_a_retry_takes_the_running_answer_over(tmp_path: Path) -> None:
    async with running(slow_world(tmp_path)) as world:
        channel = world.channel()
        asked = ask(world, channel)
        async with RawClient.dial(world, channel) as one, RawClient.dial(world, channel) as two:
            first = Listener(world, channel, asked, one)
            await first.listen(frames=3)
            second = Listener(world, channel, asked, two)
            await second.listen()
            assert second.bodies[:3] == first.bodies  # the same bytes
            check_answer(world, second)
            seen = one.inbox[1]
            while not (seen and seen[-1].end):
                await one.pull()
            error = seen[-1].message
            assert isinstance(error, messages.Error)
            assert error.code == WireCode.DUPLICATE_REQUEST
            assert "another connection" in error.message
        assert second.raw is not None
        await check_books(world, channel, second.raw)


async def test_the_old_stream_has_no_say_any_more(tmp_path: Path) -> None:
    """Neither its CANCEL nor the end of its connection reaches the answer that moved on."""
    async with running(slow_world(tmp_path)) as world:
        channel = world.channel()
        asked = ask(world, channel)
        async with RawClient.dial(world, channel) as two:
            second = Listener(world, channel, asked, two)
            async with RawClient.dial(world, channel) as one:
                await Listener(world, channel, asked, one).listen(frames=2)
                listening = asyncio.create_task(second.listen())
                while not second.bodies:
                    await asyncio.sleep(0.01)
                await one.send(1, messages.Cancel(), end=True)
                await asyncio.sleep(0.05)
                one.socket.transport.abort()
            await listening
            check_answer(world, second)


async def test_a_stream_that_nobody_reads_gives_the_answer_away_at_once(tmp_path: Path) -> None:
    """The half-open connection of the retry's reason: its buffers are full, the work waits there."""
    text = "word " * 60_000
    backend = EchoBackend(("echo", "free"), context=1_000_000, answer=lambda _: text)
    world = build_world(tmp_path, backend=backend)
    async with running(world), RawClient.dial(world) as one, RawClient.dial(world) as two:
        asked = request(world, "go on", model="free", max_tokens=20_000)
        stream = await one.open(asked)
        await one.next(stream)
        one.socket.transport.pause_reading()
        await asyncio.sleep(1.0)
        async with asyncio.timeout(10):
            stream = await two.open(asked)
            message = (await two.next(stream)).message
        assert isinstance(message, messages.Delta | messages.Error)
        if isinstance(message, messages.Error):  # too long by now to be sent again
            assert message.retry_after_ms > 0


async def test_the_same_id_for_another_request_is_refused_while_it_runs(tmp_path: Path) -> None:
    async with running(slow_world(tmp_path)) as world:
        channel = world.channel()
        asked = ask(world, channel)
        async with RawClient.dial(world, channel) as one, RawClient.dial(world, channel) as two:
            first = Listener(world, channel, asked, one)
            listening = asyncio.create_task(first.listen())
            while not first.bodies:
                await asyncio.sleep(0.01)
            other = Listener(world, channel, replace(asked, seed=2), two)
            await other.listen()
            assert other.error is not None
            assert other.error.code == WireCode.DUPLICATE_REQUEST
            await listening
            check_answer(world, first)


async def test_another_client_cannot_take_it_over(tmp_path: Path) -> None:
    async with running(slow_world(tmp_path)) as world:
        channel, thief = world.channel(), world.channel()
        asked = ask(world, channel)
        async with RawClient.dial(world, channel) as one, RawClient.dial(world, thief) as two:
            first = Listener(world, channel, asked, one)
            listening = asyncio.create_task(first.listen())
            while not first.bodies:
                await asyncio.sleep(0.01)
            stolen = Listener(world, thief, asked, two)
            await stolen.listen()
            assert stolen.error is not None  # the voucher is not theirs
            assert stolen.bodies == []
            await listening
            check_answer(world, first)


async def test_an_ended_answer_is_repeated_as_often_as_it_is_asked_for(tmp_path: Path) -> None:
    async with running(build_world(tmp_path)) as world:
        channel = world.channel()
        asked = ask(world, channel)
        heard: list[Listener] = []
        for _ in range(3):
            async with RawClient.dial(world, channel) as client:
                heard.append(Listener(world, channel, asked, client))
                await heard[-1].listen()
                check_answer(world, heard[-1])
        assert heard[0].bodies == heard[1].bodies == heard[2].bodies
        assert heard[0].raw == heard[1].raw == heard[2].raw
        assert heard[0].raw is not None
        await check_books(world, channel, heard[0].raw)


@pytest.mark.parametrize("seed", range(6))
async def test_moving_at_any_moment_costs_nothing_and_loses_nothing(
    tmp_path: Path, seed: int
) -> None:
    """Retries on new connections at random moments; old connections die, stop reading, or live on."""
    dice = random.Random(seed)
    async with running(slow_world(tmp_path, 0.001)) as world:
        channel = world.channel()
        asked = ask(world, channel)
        clients: list[RawClient] = []
        contexts = []
        tasks: list[asyncio.Task[None]] = []
        try:
            for _ in range(6):
                context = RawClient.dial(world, channel)
                contexts.append(context)
                clients.append(await context.__aenter__())
                listener = Listener(world, channel, asked, clients[-1], pay=dice.random() < 0.8)
                tasks.append(asyncio.create_task(listener.listen()))
                await asyncio.sleep(dice.random() * 0.15)
                match dice.randrange(3):
                    case 0:
                        clients[-1].socket.transport.pause_reading()
                    case 1:
                        tasks[-1].cancel()
                    case _:
                        pass
            context = RawClient.dial(world, channel)
            contexts.append(context)
            last = Listener(world, channel, asked, await context.__aenter__())
            async with asyncio.timeout(20):
                await last.listen()
            check_answer(world, last)
            assert last.raw is not None
            await check_books(world, channel, last.raw)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for client in clients:
                client.socket.transport.abort()
            for context in contexts:
                await context.__aexit__(None, None, None)
