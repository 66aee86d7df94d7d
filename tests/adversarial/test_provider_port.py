"""What strangers and hostile clients try on the public port (wire.md, "Limits")."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cocoon_provider.backends.echo import EchoBackend
from cocoon_provider.inbox import ConnectionLostError
from cocoon_provider.wire import Wire
from cocoon_sdk.errors import WireCode
from cocoon_sdk.protocol import messages
from cocoon_sdk.protocol.constants import MAX_MESSAGE, SUBPROTOCOL
from tests.provider_world import RawClient, World, build_world, buy, make_config, request, running

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def close_code(socket: ClientConnection) -> int:
    """The code with which the provider hangs up."""
    async with asyncio.timeout(10):
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.reason == ""  # no detail leaves before, or without, authentication
    return closed.value.rcvd.code


async def still_serves(world: World) -> None:
    async with RawClient.dial(world) as client:
        stream = await client.open(request(world, "x", model="free"))
        assert isinstance((await client.next(stream)).message, messages.Delta)


async def test_a_silent_peer_is_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cocoon_sdk.protocol.session.HELLO_TIMEOUT", 0.1)
    async with (
        running(build_world(tmp_path)) as world,
        connect(world.url, subprotocols=[SUBPROTOCOL]) as socket,
    ):
        assert await close_code(socket) == 4408


async def test_a_client_that_never_asks_is_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(build_world(tmp_path)) as world:
        monkeypatch.setattr("cocoon_sdk.protocol.session.FIRST_REQUEST_TIMEOUT", 0.1)
        async with RawClient.dial(world) as client:
            while client.closed is None:
                await client.pull()
            assert client.closed.reason == messages.CloseReason.IDLE
            assert await close_code(client.socket) == 4408


@pytest.mark.parametrize(
    "first", [b"", b"\x01", b"\x02" * 38, b"\x10" * 300, bytes(114), bytes(5_000)]
)
async def test_a_wrong_first_message_ends_the_connection(tmp_path: Path, first: bytes) -> None:
    async with running(build_world(tmp_path)) as world:
        async with connect(world.url, subprotocols=[SUBPROTOCOL]) as socket:
            await socket.send(first)
            assert await close_code(socket) in {4400, 4413, 4426}
        await still_serves(world)


async def test_random_bytes_never_hurt_the_provider(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(build_world(tmp_path)) as world:
        for _ in range(40):
            async with connect(world.url, subprotocols=[SUBPROTOCOL], max_size=None) as socket:
                await socket.send(bytes([1]) + secrets.token_bytes(secrets.randbelow(4_000)))
                assert 4400 <= await close_code(socket) < 4500
        await still_serves(world)
    assert "unexpected" not in caplog.text


async def test_an_oversized_message_is_not_read(tmp_path: Path) -> None:
    async with running(build_world(tmp_path)) as world:
        async with connect(world.url, subprotocols=[SUBPROTOCOL]) as socket:
            await socket.send(bytes(MAX_MESSAGE + 1))
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4413
        await still_serves(world)


async def test_too_many_handshakes_in_progress_are_refused_before_the_upgrade(
    tmp_path: Path,
) -> None:
    config = make_config(limits={"handshakes": 2, "hello_burst": 1000})
    async with (
        running(build_world(tmp_path, config=config)) as world,
        connect(world.url, subprotocols=[SUBPROTOCOL]) as one,
        connect(world.url, subprotocols=[SUBPROTOCOL]),
    ):
        await asyncio.sleep(0.05)
        with pytest.raises(InvalidStatus) as refused:
            await connect(world.url, subprotocols=[SUBPROTOCOL])
        assert refused.value.response.status_code == 503
        await one.close()
        await asyncio.sleep(0.05)
        await still_serves(world)


async def test_a_flipped_bit_ends_the_session(tmp_path: Path) -> None:
    async with running(build_world(tmp_path)) as world, RawClient.dial(world) as client:
        client.session.send(client.session.open_stream(), request(world, "x", model="free"))
        [record] = client.session.outgoing()
        await client.socket.send(record[:-1] + bytes([record[-1] ^ 1]))
        assert await close_code(client.socket) == 4400


async def test_a_replayed_record_ends_the_session(tmp_path: Path) -> None:
    async with running(build_world(tmp_path)) as world, RawClient.dial(world) as client:
        client.session.send(client.session.open_stream(), request(world, "x", model="free"))
        [record] = client.session.outgoing()
        await client.socket.send(record)
        await client.socket.send(record)
        assert await close_code(client.socket) == 4400


async def test_a_request_longer_than_any_context_is_cut_off(tmp_path: Path) -> None:
    world = build_world(tmp_path, backend=EchoBackend(("echo", "free"), context=256))
    async with running(world), RawClient.dial(world) as client:
        client.session.send(client.session.open_stream(), request(world, "x" * 3_000, model="free"))
        with pytest.raises(ConnectionClosed):
            await client.flush()
            while True:
                await client.socket.recv()
        await still_serves(world)


async def test_streams_beyond_the_eighth_end_the_session(tmp_path: Path) -> None:
    world = build_world(tmp_path, backend=EchoBackend(("echo", "free"), delay=0.05))
    async with running(world), RawClient.dial(world) as client:
        for _ in range(8):
            await client.open(request(world, "y" * 100, model="free"))
        client.session._streams._open.clear()  # a client that does not keep the rule
        client.session.send(client.session.open_stream(), request(world, "y", model="free"))
        await client.flush()
        assert await close_code(client.socket) == 4400


async def test_an_old_session_takes_no_new_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(build_world(tmp_path)) as world, RawClient.dial(world) as client:
        monkeypatch.setattr("cocoon_provider.connection.MAX_AGE", 0.0)
        stream = await client.open(request(world, "x", model="free"))
        answer = (await client.next(stream)).message
        assert isinstance(answer, messages.Error)
        assert answer.code == WireCode.DRAINING


async def test_vouchers_without_end_are_bounded_and_harmless(tmp_path: Path) -> None:
    world = build_world(tmp_path, backend=EchoBackend(("echo", "free"), delay=0.005))
    async with running(world):
        channel = world.channel()
        async with RawClient.dial(world, channel) as client:
            voucher = channel.voucher(100_000_000)
            stream = await client.open(request(world, "z" * 40, voucher=voucher))
            for _ in range(500):
                await client.send(stream, voucher)
            while not isinstance((event := await client.next(stream)).message, messages.Receipt):
                assert not isinstance(event.message, messages.Error)
            for _ in range(100):
                await client.send(stream, voucher)
            again = await buy(client, world, channel, request(world, "still"))
            assert again.raw is not None


async def test_a_forged_voucher_on_a_running_stream_ends_it_with_its_receipt(
    tmp_path: Path,
) -> None:
    world = build_world(tmp_path, backend=EchoBackend(("echo", "free"), delay=0.01))
    async with running(world):
        channel = world.channel()
        async with RawClient.dial(world, channel) as client:
            stream = await client.open(
                request(world, "w" * 300, voucher=channel.voucher(100_000_000))
            )
            while not isinstance((await client.next(stream)).message, messages.Delta):
                pass
            forged = channel.voucher(200_000_000, key=world.identity)
            await client.send(stream, forged)
            seen = [await client.next(stream)]
            while not isinstance(seen[-1].message, messages.Receipt):
                seen.append(await client.next(stream))
            error = seen[-2].message
            assert isinstance(error, messages.Error)
            assert (error.code, seen[-2].end) == (WireCode.VOUCHER_REJECTED, False)
            state = await client.ask(messages.StateGet())
            assert isinstance(state, messages.State)
            assert state.signed == 100_000_000


async def test_a_reader_too_slow_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The write timeout, with a socket that never drains."""
    monkeypatch.setattr("cocoon_provider.wire.WRITE_TIMEOUT", 0.05)

    class Transport:
        aborted = asyncio.Event()

        def abort(self) -> None:
            self.aborted.set()

    class Socket:
        transport = Transport()

        async def send(self, _record: bytes) -> None:
            await self.transport.aborted.wait()

    class Session:
        def send(self, *_args: object, **_options: object) -> None:
            return

        def outgoing(self) -> list[bytes]:
            return [b"record"]

    lost: list[bool] = []
    wire = Wire(Socket(), Session(), lambda: lost.append(True))  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(ConnectionLostError):
            await wire.send(1, messages.Ack())
    assert lost == [True]
    assert Socket.transport.aborted.is_set()
