"""The public port: whom it lets in, which address it blames, and the way down."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from websockets.asyncio.client import connect
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request

from cocoon_provider.backends.echo import EchoBackend
from cocoon_provider.config import Limits, Listen
from cocoon_provider.public import PublicPages
from cocoon_provider.server import Server
from cocoon_provider.service import Service
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.protocol.constants import SUBPROTOCOL
from tests.unit.provider.books import IDENTITY, PRICE

pytestmark = pytest.mark.anyio


def make(*, host: str = "127.0.0.1", port: int = 0, **limits: Any) -> Server:
    pages = PublicPages(lambda: EchoBackend().models, {"echo": PRICE}, lambda: False)
    return Server(
        identity=IDENTITY,
        service=cast("Service", None),  # nobody gets past the handshake here
        pages=pages,
        listen=Listen(host=host, port=port),
        limits=Limits(**limits),
        max_request_bytes=1_000,
        clock=time.monotonic,
    )


@contextlib.asynccontextmanager
async def listening(**limits: Any) -> AsyncIterator[tuple[Server, str]]:
    server = make(**limits)
    port = await server.start()
    try:
        yield server, f"ws://127.0.0.1:{port}"
    finally:
        await server.stop()


def upgrade(**headers: str) -> Request:
    return Request("/", Headers({"Connection": "Upgrade"} | headers))


def peer(address: object = ("192.0.2.1", 5)) -> Any:
    return SimpleNamespace(
        remote_address=address,
        respond=lambda status, text: SimpleNamespace(status_code=int(status), text=text),
    )


async def test_a_port_in_use_is_said_so() -> None:
    async with listening() as (_, url):
        with pytest.raises(ConfigError, match=r"listen on 127\.0\.0\.1:\d+: .*listen\.port"):
            await make(port=int(url.rsplit(":", 1)[1])).start()


@pytest.mark.parametrize(
    ("header", "sent", "blamed"),
    [
        ("", {"X-Forwarded-For": "198.51.100.7"}, "192.0.2.1"),  # anybody can write a header
        ("X-Forwarded-For", {"X-Forwarded-For": "198.51.100.7"}, "198.51.100.7"),
        # the proxy appends what it saw; whatever stands before is the client's own tale
        ("X-Forwarded-For", {"X-Forwarded-For": "10.0.0.1, 198.51.100.7 "}, "198.51.100.7"),
        ("X-Forwarded-For", {}, "192.0.2.1"),
    ],
)
def test_who_connects_is_the_peer_unless_a_proxy_is_trusted(
    header: str, sent: dict[str, str], blamed: str
) -> None:
    assert make(trusted_proxy_header=header)._address(peer(), upgrade(**sent)) == blamed


def test_of_a_repeated_header_the_last_counts() -> None:
    request = upgrade()
    for value in ("10.0.0.1", "198.51.100.7"):
        request.headers["X-Real-IP"] = value
    server = make(trusted_proxy_header="X-Real-IP")
    assert server._address(peer(), request) == "198.51.100.7"
    assert server._address(peer(None), upgrade()) == ""


def test_the_bucket_is_each_addresss_own() -> None:
    server = make(hello_burst=2, hellos_per_second=0.001)

    def status(address: str) -> int | None:
        answer = server._process_request(peer((address, 1)), upgrade())
        return None if answer is None else answer.status_code

    assert [status("192.0.2.1") for _ in range(3)] == [None, None, 429]
    assert status("192.0.2.2") is None


async def test_connections_beyond_the_limit_are_refused_and_pages_still_served() -> None:
    async with listening(connections=1) as (server, url):
        async with connect(url, subprotocols=[SUBPROTOCOL]):
            await asyncio.sleep(0.02)
            with pytest.raises(InvalidStatus) as refused:
                await connect(url, subprotocols=[SUBPROTOCOL])
            assert refused.value.response.status_code == 503
            page = server._process_request(peer(), Request("/healthz", Headers()))
            assert page is not None
            assert page.status_code == 200
        await asyncio.sleep(0.05)
        async with connect(url, subprotocols=[SUBPROTOCOL]):
            pass


async def test_a_busy_stream_makes_draining_end_at_its_time() -> None:
    server = make()

    class Busy:
        async def drained(self) -> None:
            await asyncio.Event().wait()

    assert await server.drained(0.01)
    server._connections.add(cast("Any", Busy()))
    assert not await server.drained(0.01)


async def test_stopping_hangs_up_and_closes_the_port() -> None:
    server = make()
    await server.stop()  # never started: nothing to do
    port = await server.start()
    async with connect(f"ws://127.0.0.1:{port}", subprotocols=[SUBPROTOCOL]) as socket:
        await asyncio.sleep(0.02)
        await server.stop()
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
    with pytest.raises(OSError):
        await connect(f"ws://127.0.0.1:{port}", subprotocols=[SUBPROTOCOL])
