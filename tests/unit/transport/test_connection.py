"""The websocket under a session: how it ends, and what those who wait are told."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import pytest

from cocoon_sdk.errors import (
    ConnectError,
    DeadlineError,
    DecryptionError,
    HandshakeError,
    ProviderOverloadedError,
    StreamTruncatedError,
)
from cocoon_sdk.protocol.messages import CloseReason, Queue, StateGet
from cocoon_sdk.registry.endpoint import parse_endpoint
from cocoon_sdk.transport.connection import Connection
from cocoon_sdk.transport.dial import Peer, open_connection
from cocoon_sdk.transport.failures import twin
from cocoon_sdk.transport.reach import Site
from cocoon_sdk.transport.stream import MAX_PENDING_FRAMES, Stream
from tests.stub_provider import StubProvider
from tests.wire_pair import request

pytestmark = pytest.mark.anyio


def peer_of(stub: StubProvider) -> Peer:
    site = Site(parse_endpoint(f"ws://127.0.0.1:{stub.port}"), "127.0.0.1")
    return Peer(site, stub.identity.public_key, None, None, None)


async def dial(stub: StubProvider, **options: Any) -> Connection:
    return await open_connection(peer_of(stub), **({"limit": 5} | options))


def open_stream(connection: Connection) -> Stream:
    slot = connection.slot()
    assert slot is not None
    return slot.open(StateGet(), end=True)


async def test_questions_are_answered_until_it_is_closed() -> None:
    async with StubProvider().listening() as stub:
        connection = await dial(stub)
        for _ in range(20):  # more than may be open at once
            stream = open_stream(connection)
            await connection.flush()
            assert (await stream.receive()).end
            connection.forget(stream)
        await connection.close()
        await connection.close()
        assert not connection.usable
        assert connection.spent
        assert connection.slot() is None
        with pytest.raises(StreamTruncatedError, match="closed by this client"):
            await connection.send(1, StateGet(), end=True)
        assert stub.lines[0].session.open_streams == 0


async def test_promises_count_against_the_eight() -> None:
    async with StubProvider().listening() as stub:
        connection = await dial(stub)
        slots = [connection.slot() for _ in range(8)]
        assert None not in slots
        assert connection.slot() is None
        assert slots[0] is not None
        slots[0].release()
        slots[0].release()
        assert connection.slot() is not None
        assert connection.slot() is None
        await connection.close()


async def test_padding_that_differs_is_refused() -> None:
    async with StubProvider().listening() as stub:
        connection = await dial(stub, padding="off")
        stream = open_stream(connection)
        with pytest.raises(StreamTruncatedError):
            await connection.flush()
            await stream.receive()
        await connection.close()


@pytest.mark.parametrize("how", ["close", "abort", "going away"])
async def test_every_stream_hears_of_the_end_on_its_own_copy(how: str) -> None:
    async with StubProvider().listening() as stub:
        stub.state = lambda: None  # type: ignore[method-assign]
        connection = await dial(stub)
        streams = [open_stream(connection) for _ in range(3)]
        await connection.flush()
        line = stub.lines[0]
        await asyncio.sleep(0.05)
        if how == "going away":
            line.session.close(CloseReason.GOING_AWAY)
            await line.flush()
        elif how == "close":
            await line.socket.close()
        else:
            line.socket.transport.abort()
        errors = [await asyncio.wait_for(_failure(stream), 3) for stream in (*streams, streams[0])]
        assert {type(error) for error in errors} == {StreamTruncatedError}
        assert len({id(error) for error in errors}) == 4
        assert connection.spent
        await connection.close()


async def _failure(stream: Stream) -> Exception:
    with pytest.raises(StreamTruncatedError) as caught:
        await stream.receive()
    return caught.value


async def test_a_flood_of_frames_ends_the_connection() -> None:
    async with StubProvider().listening() as stub:

        async def flood(talk: Any) -> None:
            for _ in range(MAX_PENDING_FRAMES + 10):
                await talk.send(Queue(1, 1))

        stub.answer = flood
        connection = await dial(stub)
        slot = connection.slot()
        assert slot is not None
        stream = slot.open(request())
        await connection.flush()
        async with asyncio.timeout(10):
            while not connection.spent:
                await asyncio.sleep(0.02)
        for _ in range(MAX_PENDING_FRAMES):
            await stream.receive()
        with pytest.raises(DecryptionError, match="far more"):
            await stream.receive()
        await connection.close()


@pytest.mark.parametrize("status", [503, 429, 404])
async def test_an_http_answer_instead_of_a_session(status: int) -> None:
    stub = StubProvider()
    stub.page = lambda socket, request: socket.respond(HTTPStatus(status), "")  # type: ignore[method-assign]
    kind = ConnectError if status == 404 else ProviderOverloadedError
    async with stub.listening():
        with pytest.raises(kind, match=f"HTTP {status}"):
            await dial(stub)


async def test_a_server_without_the_subprotocol() -> None:
    async with StubProvider().listening(subprotocols=None) as stub:
        with pytest.raises(ConnectError, match=r"cocoon\.e2e\.v1"):
            await dial(stub)


@pytest.mark.parametrize("kind", ["hang up", "junk", "text", "silence"])
async def test_a_handshake_that_fails_says_so(kind: str) -> None:
    stub = StubProvider()

    async def handle(socket: Any) -> None:
        await socket.recv()
        if kind == "junk":
            await socket.send(b"\x02" + bytes(200))
        elif kind == "text":
            await socket.send("hello")
        if kind != "hang up":
            await asyncio.sleep(0.5)

    stub.handle = handle  # type: ignore[method-assign]
    async with stub.listening():
        with pytest.raises(DeadlineError if kind == "silence" else HandshakeError) as caught:
            await dial(stub, limit=0.3)
        if kind == "silence":
            assert caught.value.phase == "connect"


async def test_nothing_runs_on_after_a_failed_or_cancelled_dial() -> None:
    before = asyncio.all_tasks()
    stub = StubProvider()
    stub.handle = lambda socket: asyncio.sleep(0.3)  # type: ignore[method-assign,assign]
    async with stub.listening():
        inside = asyncio.all_tasks()
        task = asyncio.create_task(dial(stub))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        names = {one.get_name() for one in asyncio.all_tasks() - inside}
        assert not {name for name in names if name.startswith("cocoon")}
    assert asyncio.all_tasks() == before


async def test_a_writer_that_is_cancelled_leaves_its_records_to_the_next() -> None:
    async with StubProvider().listening() as stub:
        connection = await dial(stub)
        streams = []
        for _ in range(5):
            streams.append(open_stream(connection))
            task = asyncio.create_task(connection.flush())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await connection.flush()
        for stream in streams:
            assert (await asyncio.wait_for(stream.receive(), 3)).end
        await connection.close()


def test_a_twin_keeps_type_words_and_facts() -> None:
    error = DeadlineError("too late", phase="idle", charged_nano=5, partial_text="so far")
    copied = twin(error)
    assert (type(copied), str(copied), copied.phase) == (DeadlineError, "too late", "idle")
    copied.partial_text = "mine"
    assert error.partial_text == "so far"
