"""What a hostile or broken provider does below the session, and what the client makes of it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from cocoon_sdk.errors import CocoonError, ConnectError, DecryptionError, HandshakeError
from cocoon_sdk.protocol.constants import MAX_HELLO, MAX_MESSAGE, SUBPROTOCOL
from cocoon_sdk.protocol.messages import Error, Ping, StateGet
from cocoon_sdk.registry.endpoint import parse_endpoint
from cocoon_sdk.transport.connection import Connection
from cocoon_sdk.transport.dial import Peer, open_connection
from cocoon_sdk.transport.reach import Site
from tests.raw_socket import BINARY, CONTINUATION, PING, PONG, TEXT, frame
from tests.stub_provider import StubProvider

pytestmark = pytest.mark.anyio

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass
class Door:
    """The server's side of one TCP connection, made by hand."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def upgrade(self, **headers: str) -> None:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        key = next(
            line.split(": ", 1)[1]
            for line in head.split("\r\n")
            if line.lower().startswith("sec-websocket-key")
        )
        fields = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": base64.b64encode(
                hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
            ).decode(),
            "Sec-WebSocket-Protocol": SUBPROTOCOL,
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        lines = ["HTTP/1.1 101 Switching Protocols"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()


@contextlib.asynccontextmanager
async def server(act: Callable[[Door], Awaitable[None]]) -> AsyncIterator[int]:
    """Does what it is told on each connection, then keeps it open; its port."""
    over = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, ConnectionError):
            await act(Door(reader, writer))
            await over.wait()
        writer.transport.abort()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        over.set()
        listening.close()
        await listening.wait_closed()
        await asyncio.sleep(0.01)


def site(port: int) -> Site:
    return Site(parse_endpoint(f"ws://127.0.0.1:{port}"), "127.0.0.1")


def peer(*ports: int, key: bytes | None = None) -> Peer:
    known = key or StubProvider().identity.public_key
    first, *others = (site(port) for port in ports)
    return Peer(first, known, None, None, None, others=tuple(others))


async def test_an_extension_that_was_not_offered_ends_it() -> None:
    async def act(door: Door) -> None:
        await door.upgrade(Sec_WebSocket_Extensions="permessage-deflate")

    async with server(act) as port:
        with pytest.raises(ConnectError, match="does not speak"):
            await open_connection(peer(port), limit=3)


async def test_redirects_are_not_followed() -> None:
    knocked = False

    async def other(door: Door) -> None:
        nonlocal knocked
        knocked = True

    async with server(other) as inside:

        async def act(door: Door) -> None:
            await door.reader.readuntil(b"\r\n\r\n")
            target = f"ws://127.0.0.1:{inside}/"
            await door.send(
                f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
            )

        async with server(act) as port:
            with pytest.raises(ConnectError):
                await open_connection(peer(port), limit=3)
    assert not knocked


@pytest.mark.parametrize(
    "sent",
    [
        frame(TEXT, b"hello", mask=False),
        frame(BINARY, b"x", fin=False, mask=False)
        + frame(CONTINUATION, b"", fin=False, mask=False) * 5_000,
        frame(BINARY, bytes(MAX_HELLO + 1), mask=False),
        frame(BINARY, bytes(MAX_MESSAGE + 1), mask=False),
        frame(PING, bytes(125), mask=False) * 100,
        frame(PONG, bytes(125), mask=False) * 100,
    ],
)
async def test_odd_frames_end_the_handshake_at_once(sent: bytes) -> None:
    async def act(door: Door) -> None:
        await door.upgrade()
        await door.send(sent)

    async with server(act) as port, asyncio.timeout(2.5):
        with pytest.raises(HandshakeError):
            await open_connection(peer(port), limit=10)


@pytest.mark.parametrize("sent", [frame(TEXT, b"x", mask=False), frame(PING, mask=False) * 100])
async def test_odd_frames_in_a_session_are_the_providers_fault(sent: bytes) -> None:
    stub = StubProvider()
    stub.state = lambda: None  # type: ignore[method-assign]
    async with stub.listening():
        known = peer(stub.port, key=stub.identity.public_key)
        connection = await open_connection(known, limit=3)
        slot = connection.slot()
        assert slot is not None
        stream = slot.open(StateGet(), end=True)
        await connection.flush()
        await asyncio.sleep(0.05)
        stub.lines[0].socket.transport.write(sent)
        with pytest.raises(DecryptionError):
            async with asyncio.timeout(2):
                await stream.receive()
        await connection.close()


async def test_a_dead_address_does_not_keep_from_a_live_one() -> None:
    async def silent(door: Door) -> None:
        await door.reader.read(1)

    async def wrong(door: Door) -> None:
        await door.upgrade()
        await door.send(frame(BINARY, b"\x02" + bytes(300), mask=False))

    async with StubProvider().listening() as stub, server(silent) as mute, server(wrong) as liar:
        known = peer(1, liar, mute, stub.port, key=stub.identity.public_key)
        connection = await open_connection(known, limit=4)
        assert connection.site == site(stub.port)
        await connection.close()


async def test_where_none_will_do_the_first_says_why() -> None:
    async def wrong(door: Door) -> None:
        await door.upgrade()
        await door.send(frame(BINARY, b"\x02" + bytes(300), mask=False))

    async with server(wrong) as liar:
        with pytest.raises(HandshakeError, match="could not prove"):
            await open_connection(peer(liar, 1), limit=4)
        with pytest.raises(CocoonError, match="cannot reach"):
            await open_connection(peer(1, 2), limit=4)


async def test_a_provider_that_stops_reading_does_not_stop_our_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What we cannot write waits; what the provider says is read all the same."""
    async with StubProvider().listening() as stub:
        connection = await open_connection(peer(stub.port, key=stub.identity.public_key), limit=3)
        stuck, heard = asyncio.Event(), list[object]()

        async def send(_record: bytes) -> None:
            await stuck.wait()

        monkeypatch.setattr(connection._websocket, "send", send)
        monkeypatch.setattr(Connection, "_dispatch", lambda _self, event: heard.append(event))
        slot = connection.slot()
        assert slot is not None
        slot.open(StateGet(), end=True)
        blocked = asyncio.create_task(connection.flush())
        await asyncio.sleep(0.01)
        line = stub.lines[0]
        line.session.send(0, Ping(bytes(8)))  # has us answer, which we cannot now
        line.session.send(0, Error("overloaded", "x", 0, {}))
        await line.flush()
        async with asyncio.timeout(2):
            while not heard:
                await asyncio.sleep(0.01)
        stuck.set()
        await blocked
        await connection.close()
