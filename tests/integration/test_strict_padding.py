"""Strict padding on a real socket, the provider's driver on one end and the SDK's on the other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cocoon_provider.wire import Wire
from cocoon_sdk.protocol.constants import STRICT_INTERVAL
from cocoon_sdk.protocol.messages import Ack, Delta, Message, Receipt
from cocoon_sdk.registry.endpoint import parse_endpoint
from cocoon_sdk.transport.connection import Connection
from cocoon_sdk.transport.dial import Peer, open_connection
from cocoon_sdk.transport.reach import Site
from tests.provider_world import World, build_world, request, running

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def connect(world: World, padding: str) -> Connection:
    site = Site(parse_endpoint(world.url), "127.0.0.1")
    peer = Peer(site, world.identity.public_key, None, None, None)
    return await open_connection(peer, limit=5, padding=padding)


async def answer(connection: Connection, world: World, text: str) -> tuple[list[Message], float]:
    """The frames of one free answer, and the seconds that it took."""
    loop = asyncio.get_running_loop()
    slot = connection.slot()
    assert slot is not None
    begun = loop.time()
    stream = slot.open(request(world, text, model="free"))
    await connection.flush()
    frames: list[Message] = []
    while True:
        received = await asyncio.wait_for(stream.receive(), 20)
        frames.append(received.message)
        if received.end:
            break
    took = loop.time() - begun
    await connection.send(stream.number, Ack(), end=True)
    connection.forget(stream)
    return frames, took


async def test_short_answers_take_the_same_time_and_records(tmp_path: Path) -> None:
    async with running(build_world(tmp_path)) as world:
        connection = await connect(world, "strict")
        for text in ("Hi.", "The quick brown fox jumps over the lazy dog. " * 8):
            before = connection.session.frames_received
            frames, took = await answer(connection, world, text)
            assert "".join(f.text for f in frames if isinstance(f, Delta)) == text
            assert isinstance(frames[-1], Receipt)
            assert took >= 62 * STRICT_INTERVAL
            # One record a tick, or two where a PING took its turn between the requests; on a busy machine
            # the answer may miss its first rounded length.
            records = connection.session.frames_received - before
            assert any(length <= records <= length + 2 for length in (64, 80, 96, 112, 128))
            assert connection.session.frames_sent >= 50  # our side covers as well
        await asyncio.sleep(10 * STRICT_INTERVAL)
        quiet = connection.session.frames_received
        await asyncio.sleep(10 * STRICT_INTERVAL)
        assert connection.session.frames_received == quiet  # nothing is open, nothing is sent
        await connection.close()


async def test_by_default_nothing_waits(tmp_path: Path) -> None:
    async with running(build_world(tmp_path)) as world:
        connection = await connect(world, "default")
        before = connection.session.frames_received
        await answer(connection, world, "Hi.")
        assert connection.session.frames_received - before < 20
        await connection.close()


async def test_leaving_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()
    genuine = Wire.keep_pace

    async def watched(*args: object) -> None:
        try:
            await genuine(*args)  # type: ignore[arg-type]
        finally:
            ended.set()

    monkeypatch.setattr(Wire, "keep_pace", watched)
    async with running(build_world(tmp_path)) as world:
        connection = await connect(world, "strict")
        slot = connection.slot()
        assert slot is not None
        slot.open(request(world, "Hi.", model="free"))
        await connection.flush()
        await asyncio.sleep(5 * STRICT_INTERVAL)
        await connection.close()
        await asyncio.wait_for(ended.wait(), 5)
