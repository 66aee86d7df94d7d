"""Floods within sessions, readers that stop, and honest clients beside them (wire.md, "Limits")."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cocoon_provider.backends.echo import EchoBackend
from cocoon_sdk.errors import WireCode
from cocoon_sdk.payments.meter import Counts, window_cost
from cocoon_sdk.protocol import messages
from tests.provider_world import (
    PRICE,
    RawClient,
    World,
    build_world,
    buy,
    make_config,
    request,
    running,
)

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

FIRST_WINDOW = window_cost(PRICE, Counts(), prompt_total=100_000, max_tokens=4096)


async def serves_quickly(world: World, limit: float = 20) -> None:
    channel = world.channel()
    async with asyncio.timeout(limit), RawClient.dial(world, channel) as client:
        served = await buy(client, world, channel, request(world, "honest"))
        assert served.text == "honest"


async def reaches(enough: Callable[[], bool]) -> None:
    """The flood has spent its allowance, however slow this machine is."""
    async with asyncio.timeout(60):
        while not enough():
            await asyncio.sleep(0.02)


async def until_cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_requests_that_are_refused_come_slower_and_slower(tmp_path: Path) -> None:
    async with running(build_world(tmp_path)) as world, RawClient.dial(world) as client:
        answered = 0

        async def flood() -> None:
            nonlocal answered
            while True:
                stream = await client.open(request(world, "x", model="no such model"))
                while not isinstance((await client.next(stream)).message, messages.Error):
                    pass
                await client.send(stream, messages.Cancel(), end=True)
                answered += 1

        task = asyncio.create_task(flood())
        await reaches(lambda: answered >= 32)
        await serves_quickly(world)
        first, since = answered, time.monotonic()
        await asyncio.sleep(1.5)
        assert (answered - first) / (time.monotonic() - since) < 20
        await until_cancelled(task)


@pytest.mark.parametrize("model", ["free", "echo"])
async def test_a_flood_of_cancels_does_not_hold_up_others(tmp_path: Path, model: str) -> None:
    async with running(build_world(tmp_path)) as world:
        channel = world.channel()
        voucher = channel.voucher(FIRST_WINDOW) if model == "echo" else None
        async with RawClient.dial(world, channel if voucher else None) as client:
            ended = 0

            async def flood() -> None:
                nonlocal ended
                while True:
                    asked = request(world, "hello " * 300, model=model, voucher=voucher)
                    stream = await client.open(asked)
                    await client.send(stream, messages.Cancel(), end=True)
                    while not (await client.next(stream)).end:
                        pass
                    ended += 1

            task = asyncio.create_task(flood())
            await reaches(lambda: ended >= 32)
            await serves_quickly(world)
            first, since = ended, time.monotonic()
            await asyncio.sleep(1.5)
            assert (ended - first) / (time.monotonic() - since) < 60
            await until_cancelled(task)


async def test_a_flood_of_questions_is_slowed_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cocoon_provider.connection._QUESTION_BURST", 20)
    async with running(build_world(tmp_path)) as world:
        channel = world.channel()
        async with RawClient.dial(world, channel) as client:
            answered = 0

            async def flood() -> None:
                nonlocal answered
                while True:
                    assert isinstance(await client.ask(messages.StateGet()), messages.State)
                    answered += 1

            task = asyncio.create_task(flood())
            await reaches(lambda: answered >= 20)
            await serves_quickly(world)
            first, since = answered, time.monotonic()
            await asyncio.sleep(1.5)
            assert (answered - first) / (time.monotonic() - since) < 100
            await until_cancelled(task)


async def test_streams_that_are_never_paid_for_end_and_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cocoon_provider.serving.VOUCHER_TIMEOUT", 0.5)
    config = make_config(limits={"requests": 4, "waiting": 8, "hello_burst": 1000})
    async with running(build_world(tmp_path, config=config)) as world:
        freeloader = world.channel(balance=10**10)
        voucher = freeloader.voucher(8 * FIRST_WINDOW)
        async with RawClient.dial(world, freeloader) as client:
            streams = [
                await client.open(request(world, "z" * 3_000, voucher=voucher)) for _ in range(8)
            ]
            await serves_quickly(world)
            codes = set()
            for stream in streams:
                while not isinstance(
                    message := (await client.next(stream)).message, messages.Error
                ):
                    pass
                codes.add(message.code)
            assert codes == {WireCode.PAYMENT_REQUIRED}


async def test_one_client_cannot_fill_the_line(tmp_path: Path) -> None:
    config = make_config(limits={"requests": 1, "waiting": 8, "hello_burst": 1000})
    backend = EchoBackend(("echo", "free"), delay=0.02)
    world = build_world(tmp_path, config=config, backend=backend)
    async with running(world), RawClient.dial(world) as client, RawClient.dial(world) as more:
        for one in (client, more):
            for _ in range(8):
                await one.open(request(world, "y" * 200, model="free"))
        await asyncio.sleep(0.2)
        admission = world.provider._admission
        assert admission is not None
        assert admission._line.waiting == 6  # of eight: two are left for others


async def test_a_reader_that_stops_pauses_the_work_and_then_gets_all_of_it(
    tmp_path: Path,
) -> None:
    """Backpressure down to the generation: it waits, nothing piles up, nothing is lost."""
    text = "word " * 60_000
    backend = EchoBackend(
        ("echo", "free"),
        context=1_000_000,
        answer=lambda asked: text if asked == "go on" else asked,
    )
    async with (
        running(build_world(tmp_path, backend=backend)) as world,
        RawClient.dial(world) as client,
    ):
        stream = await client.open(request(world, "go on", model="free"))
        await client.next(stream)
        client.socket.transport.pause_reading()
        generation = next(iter(backend._open))
        before = -1
        async with asyncio.timeout(60):
            while generation._granted[1] != before:
                before = generation._granted[1]
                await asyncio.sleep(1.0)
        assert before < len(text) / 2
        await serves_quickly(world)
        client.socket.transport.resume_reading()
        received = 1
        while not isinstance(message := (await client.next(stream)).message, messages.Receipt):
            received += len(message.text) if isinstance(message, messages.Delta) else 0
        assert received >= len(text)


async def test_a_reader_that_never_comes_back_is_cut_off_and_billed_for_what_was_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cocoon_provider.wire.WRITE_TIMEOUT", 0.5)
    text = "word " * 60_000
    backend = EchoBackend(
        ("echo", "free"),
        context=1_000_000,
        answer=lambda asked: text if asked == "go on" else asked,
    )
    config = make_config(limits={"requests": 1, "waiting": 4, "hello_burst": 1000})
    world = build_world(tmp_path, backend=backend, config=config)
    async with running(world), RawClient.dial(world) as client:
        stream = await client.open(request(world, "go on", model="free"))
        await client.next(stream)
        client.socket.transport.pause_reading()
        async with asyncio.timeout(30):
            while backend._open:
                await asyncio.sleep(0.05)
        async with RawClient.dial(world) as other:  # the only slot is free again
            asked = await other.open(request(world, "next", model="free"))
            assert isinstance((await other.next(asked)).message, messages.Delta)
