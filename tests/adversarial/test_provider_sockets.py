"""What peers do below the session: slow heads, odd frames, floods, half-open sockets (wire.md, "Limits").

Every attack runs beside an honest client, which must be served meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cocoon_provider.backends.echo import EchoBackend
from cocoon_provider.server import Server
from cocoon_sdk.protocol import messages
from cocoon_sdk.protocol.constants import MAX_HELLO, MAX_MESSAGE
from cocoon_sdk.protocol.events import HandshakeCompleted
from cocoon_sdk.protocol.session import ClientSession
from tests.provider_world import RawClient, World, build_world, make_config, request, running
from tests.raw_socket import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawSocket,
    frame,
    tcp,
    upgrade_request,
    upgraded,
)

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

ATTACKER = "127.0.0.66"


@contextlib.asynccontextmanager
async def world_with(
    folder: Path, *, backend: EchoBackend | None = None, **limits: Any
) -> AsyncIterator[World]:
    config = make_config(limits={"hello_burst": 1000, **limits})
    async with running(build_world(folder, config=config, backend=backend)) as world:
        yield world


def server_of(world: World) -> Server:
    server = world.provider._server
    assert server is not None
    return server


async def emptied(world: World, limit: float = 10) -> None:
    """Wait until the provider holds no socket any more."""
    doors = server_of(world)._doors
    async with asyncio.timeout(limit):
        while doors._open:
            await asyncio.sleep(0.02)
    assert not doors._held


async def still_serves(world: World, limit: float = 5) -> None:
    async with asyncio.timeout(limit), RawClient.dial(world) as client:
        stream = await client.open(request(world, "honest", model="free"))
        while not isinstance((await client.next(stream)).message, messages.Receipt):
            pass


async def shake_hands(peer: RawSocket, world: World) -> ClientSession:
    """An authenticated session over a socket of ours."""
    session = ClientSession(
        provider_id=world.identity.public_key,
        signer=None,
        channel=None,
        registry=None,
        random=secrets.token_bytes,
        clock=time.monotonic,
    )
    session.start()
    events: list[object] = []
    while not any(isinstance(event, HandshakeCompleted) for event in events):
        for message in session.outgoing():
            await peer.send(frame(BINARY, message))
        events += session.receive(await peer.message())
    for message in session.outgoing():
        await peer.send(frame(BINARY, message))
    return session


# --- slow


async def test_sockets_that_never_speak_or_never_finish_their_head_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cocoon_provider.server.OPEN_TIMEOUT", 1.0)
    async with world_with(tmp_path) as world, contextlib.AsyncExitStack() as stack:
        peers = [
            await stack.enter_async_context(tcp(world.port, source=ATTACKER)) for _ in range(40)
        ]
        head = upgrade_request(world.port)

        async def drip(peer: RawSocket) -> None:
            for byte in head[:-1]:
                await peer.send(bytes([byte]))
                await asyncio.sleep(0.05)

        dripping = [asyncio.create_task(drip(peer)) for peer in peers[:20]]
        await still_serves(world)
        for peer in peers:
            await peer.gone(4)
        for task in dripping:
            task.cancel()
        await emptied(world)


async def test_a_session_that_comes_byte_by_byte_is_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time limit is for whole messages: bytes do not prolong it."""
    monkeypatch.setattr("cocoon_sdk.protocol.session.HELLO_TIMEOUT", 0.6)
    async with world_with(tmp_path) as world, upgraded(world.port, source=ATTACKER) as peer:

        async def drip() -> None:
            for byte in frame(BINARY, bytes([1]) + bytes(200)):
                await peer.send(bytes([byte]))
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        await still_serves(world)
        assert await peer.close_code(4) == 4408
        dripping.cancel()
        await emptied(world)


async def test_a_client_that_never_authenticates_is_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cocoon_sdk.protocol.session.HELLO_TIMEOUT", 0.4)
    monkeypatch.setattr("cocoon_sdk.protocol.session.AUTH_TIMEOUT", 0.4)
    async with world_with(tmp_path) as world, upgraded(world.port, source=ATTACKER) as peer:
        session = ClientSession(
            provider_id=world.identity.public_key,
            signer=None,
            channel=None,
            registry=None,
            random=secrets.token_bytes,
            clock=time.monotonic,
        )
        session.start()
        [hello] = session.outgoing()
        await peer.send(frame(BINARY, hello))
        await peer.message()
        await still_serves(world)
        assert await peer.close_code(4) == 4408


async def test_a_record_that_never_ends_does_not_keep_a_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cocoon_sdk.protocol.session.HELLO_TIMEOUT", 0.6)
    monkeypatch.setattr("cocoon_sdk.protocol.session.FIRST_REQUEST_TIMEOUT", 0.6)
    async with world_with(tmp_path) as world, upgraded(world.port, source=ATTACKER) as peer:
        await shake_hands(peer, world)
        await peer.send(frame(BINARY, bytes(60_000))[:5_000])
        await still_serves(world)
        assert await peer.close_code(5) == 4408
        await emptied(world)


async def test_a_peer_that_vanished_without_a_word_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half-open: no FIN, no answer to keep-alives, nothing to write."""
    monkeypatch.setattr("cocoon_provider.server.PING_INTERVAL", 0.3)
    monkeypatch.setattr("cocoon_provider.server.PING_TIMEOUT", 0.3)
    monkeypatch.setattr("cocoon_provider.server.CLOSE_TIMEOUT", 0.3)
    async with world_with(tmp_path) as world, contextlib.AsyncExitStack() as stack:
        for _ in range(10):
            peer = await stack.enter_async_context(upgraded(world.port, source=ATTACKER))
            await shake_hands(peer, world)  # and then it reads nothing and says nothing
        await still_serves(world)
        await emptied(world, 6)


# --- frames


@pytest.mark.parametrize(
    "sent",
    [
        frame(TEXT, b"hello"),
        frame(BINARY, b"\x01" * 60, fin=False),
        frame(BINARY, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 2_000,
        frame(TEXT, b"\xff\xfe"),
    ],
)
async def test_text_and_fragments_are_refused_at_the_first_frame(
    tmp_path: Path, sent: bytes
) -> None:
    async with world_with(tmp_path) as world, upgraded(world.port) as peer:
        await peer.send(sent)
        assert await peer.close_code(3) == 4400
        await still_serves(world)


async def test_a_hello_longer_than_any_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with world_with(tmp_path) as world, upgraded(world.port) as peer:
        await peer.send(frame(BINARY, bytes(MAX_HELLO + 1)))
        assert await peer.close_code(3) == 4413


@pytest.mark.parametrize("size", [MAX_MESSAGE + 1, 10_000_000])
async def test_the_length_alone_is_enough_to_refuse_a_message(tmp_path: Path, size: int) -> None:
    async with world_with(tmp_path) as world, upgraded(world.port) as peer:
        await peer.send(frame(BINARY, bytes(size))[:20])  # the head says it
        assert await peer.close_code(3) == 4413


async def test_compression_is_never_agreed_to(tmp_path: Path) -> None:
    async with world_with(tmp_path) as world, tcp(world.port) as peer:
        offer = {"Sec_WebSocket_Extensions": "permessage-deflate; client_max_window_bits"}
        await peer.send(upgrade_request(world.port, **offer))
        head = (await peer.reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 101 ")
        assert b"sec-websocket-extensions" not in head
        compressed = bytearray(frame(BINARY, bytes(114)))
        compressed[0] |= 0x40  # RSV1
        await peer.send(bytes(compressed))
        assert await peer.close_code(3) == 4400


@pytest.mark.parametrize("opcode", [PING, PONG])
async def test_a_flood_of_control_frames_ends_the_connection(tmp_path: Path, opcode: int) -> None:
    async with world_with(tmp_path) as world, upgraded(world.port, source=ATTACKER) as peer:
        await shake_hands(peer, world)
        for _ in range(10):  # what an honest keep-alive may do
            await peer.send(frame(opcode, b"12345678"))
        await still_serves(world)
        await peer.send(frame(opcode, bytes(125)) * 200)
        assert await peer.close_code(3) == 4429


async def test_pings_that_nobody_reads_the_answers_of_cost_no_memory(tmp_path: Path) -> None:
    async with world_with(tmp_path) as world, upgraded(world.port, source=ATTACKER) as peer:
        await shake_hands(peer, world)
        [socket] = server_of(world)._server.all_connections  # type: ignore[union-attr]
        largest = 0
        flood = frame(PING, bytes(125)) * 1_000
        for _ in range(200):
            peer.writer.write(flood)
            await asyncio.sleep(0.001)
            largest = max(largest, socket.transport.get_write_buffer_size())
            if socket.transport.is_closing():
                break
        assert largest < 128 * 1024
        await still_serves(world)


async def test_a_flood_of_sealed_pings_ends_the_session(tmp_path: Path) -> None:
    async with world_with(tmp_path) as world, RawClient.dial(world) as client:
        monotony = type("Often", (), {"take": lambda _self: True})()
        client.session._pings._ours = monotony  # a client that does not keep the rule
        for _ in range(40):
            client.session.send(0, messages.Ping(bytes(8)))
        with contextlib.suppress(Exception):
            await client.flush()
        with pytest.raises(Exception, match="4429"):
            while True:
                await client.socket.recv()
        await still_serves(world)


async def test_a_head_without_end_is_cut_off(tmp_path: Path) -> None:
    async with world_with(tmp_path) as world, tcp(world.port, source=ATTACKER) as peer:
        await peer.send(b"GET / HTTP/1.1\r\n")
        for number in range(100):
            await peer.send(f"X-{number}: {'x' * 1000}\r\n".encode())
        await peer.gone(2)
        await still_serves(world)
        await emptied(world)


# --- many


async def test_one_address_cannot_hold_all_sockets(tmp_path: Path) -> None:
    async with (
        world_with(tmp_path, connections_per_address=10) as world,
        contextlib.AsyncExitStack() as stack,
    ):
        peers = [
            await stack.enter_async_context(tcp(world.port, source=ATTACKER)) for _ in range(60)
        ]
        await asyncio.sleep(0.2)
        assert server_of(world)._doors._open == 10
        await still_serves(world)
        dropped = 0
        for peer in peers:
            with contextlib.suppress(TimeoutError):
                await peer.gone(0.02)
                dropped += 1
        assert dropped == 50


async def test_sockets_beyond_the_cap_are_closed_at_once_and_room_comes_back(
    tmp_path: Path,
) -> None:
    limits = {"connections": 5, "handshakes": 5, "connections_per_address": 500}
    async with world_with(tmp_path, **limits) as world:
        async with contextlib.AsyncExitStack() as stack:
            for number in range(150):
                source = f"127.0.1.{1 + number % 200}"
                await stack.enter_async_context(tcp(world.port, source=source))
            await asyncio.sleep(0.2)
            assert server_of(world)._doors._open == 5 + 5 + 64
        await emptied(world)
        await still_serves(world)


async def test_a_flood_of_hellos_from_one_address_leaves_the_others_alone(tmp_path: Path) -> None:
    async with world_with(tmp_path, hello_burst=10, hellos_per_second=0.1) as world:
        seen: list[bytes] = []
        for _ in range(40):
            async with tcp(world.port, source=ATTACKER) as peer:
                await peer.send(upgrade_request(world.port))
                seen.append((await peer.reader.readuntil(b"\r\n"))[9:12])
        assert seen.count(b"101") == 10
        assert seen.count(b"429") == 30
        await still_serves(world)


async def test_behind_a_trusted_proxy_its_header_names_the_client(tmp_path: Path) -> None:
    limits = {"connections_per_address": 2, "trusted_proxy_header": "X-Forwarded-For"}
    async with world_with(tmp_path, **limits) as world, contextlib.AsyncExitStack() as stack:
        for number in range(6):  # all of them come from the proxy
            await stack.enter_async_context(
                upgraded(world.port, X_Forwarded_For=f"198.51.100.{number // 2}")
            )
        with pytest.raises(AssertionError, match="429"):
            await stack.enter_async_context(upgraded(world.port, X_Forwarded_For="198.51.100.0"))
        await stack.enter_async_context(upgraded(world.port, X_Forwarded_For="198.51.100.9"))


async def test_what_follows_the_authentication_waits_in_the_network(tmp_path: Path) -> None:
    """Before the peer is known nothing large is taken in, however the handshakes queue."""
    async with world_with(tmp_path) as world, upgraded(world.port, source=ATTACKER) as peer:
        gate = server_of(world)._gate
        async with gate._line:  # somebody else's handshake takes long
            await peer.send(frame(BINARY, bytes([1]) + bytes(113)))
            await peer.send(frame(BINARY, bytes([3]) + bytes(272)))
            for _ in range(40):
                peer.writer.write(frame(BINARY, bytes(MAX_MESSAGE)))
            await asyncio.sleep(0.3)
            [socket] = server_of(world)._server.all_connections  # type: ignore[union-attr]
            queued = sum(len(one.data) for one in socket.recv_messages.frames.queue)
            assert queued <= 2 * MAX_MESSAGE
        assert await peer.close_code(5) in {4400, 4426, None}
        await still_serves(world)
