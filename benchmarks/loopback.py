"""The drivers on loopback: cells per second, and the first token over TLS.

The peer is the same websockets library that sends messages of the same sizes without our layer.
As a program this is the servers of a process of their own, until standard input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest import mock

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from benchmarks import sessions, tls
from benchmarks.harness import FULL, Effort, Figure, Goal, compare, figure
from cocoon_provider.doors import Doors
from cocoon_provider.guard import GuardedSocket
from cocoon_provider.inbox import ConnectionLostError
from cocoon_provider.server import MAX_QUEUE, WRITE_HIGH_WATER
from cocoon_provider.wire import Wire
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.protocol.constants import MAX_MESSAGE, SUBPROTOCOL, SUITE_X25519
from cocoon_sdk.protocol.events import HandshakeCompleted, MessageReceived
from cocoon_sdk.protocol.kem import supported_suites
from cocoon_sdk.protocol.messages import Voucher
from cocoon_sdk.registry.endpoint import parse_endpoint
from cocoon_sdk.transport import dial
from cocoon_sdk.transport.connection import Connection
from cocoon_sdk.transport.dial import Peer, Site, open_connection
from cocoon_sdk.transport.stream import Stream

BURSTS = 16
BURST = 256  # cells for each message of the client, which stays one ahead, as with vouchers
VISITS = 20
PEER = "the same without our layer"
VOUCHER = Voucher(1, 1, bytes(64), 1)

Handler = Callable[[ServerConnection], Awaitable[None]]
Task = Callable[[], Coroutine[Any, Any, float]]


async def sealed_answers(burst: int, socket: ServerConnection) -> None:
    """A provider's session on its wire: so many DELTAs for whatever the client sends."""
    session = sessions.server_session()
    wire = Wire(cast("GuardedSocket", socket), session, lambda: None)
    with contextlib.suppress(ConnectionLostError):
        while True:
            for event in session.receive(await wire.receive()):
                if isinstance(event, HandshakeCompleted):
                    wire.known()
                if isinstance(event, MessageReceived):
                    for number in range(burst):
                        await wire.send(event.stream, sessions.delta(number))
            await wire.flush()


async def bare_answers(burst: int, socket: ServerConnection) -> None:
    """As many messages of the same size."""
    cell = bytes(sessions.CELL_BYTES)
    with contextlib.suppress(ConnectionClosed):
        async for _ in socket:
            for _ in range(burst):
                await socket.send(cell)


async def open_sealed(url: str, suite: int) -> tuple[Connection, Stream]:
    """Connect as the SDK does, and ask."""
    site = Site(parse_endpoint(url), tls.HOST)
    key = Ed25519Key.generate()
    peer = Peer(site, sessions.IDENTITY.public_key, key, None, None, suites=(suite,))
    connection = await open_connection(peer, limit=10)
    slot = connection.slot()
    if slot is None:
        raise RuntimeError("a new connection has no room for a stream")
    stream = slot.open(sessions.REQUEST)
    await connection.flush()
    return connection, stream


async def open_bare(url: str, context: ssl.SSLContext | None) -> ClientConnection:
    """The same library with the same options, and a request of the same size."""
    socket = await connect(
        url,
        proxy=None,
        compression=None,
        max_size=MAX_MESSAGE,
        max_queue=MAX_QUEUE,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        ssl=context,
    )
    await socket.send(bytes(sessions.REQUEST_BYTES))
    return socket


async def listen(
    stack: contextlib.AsyncExitStack,
    handler: Handler,
    context: ssl.SSLContext | None = None,
    *,
    guarded: bool,
) -> str:
    """Serve on a free port of loopback with the provider's options, or its own sockets; the URL."""
    sockets = partial(
        GuardedSocket, doors=Doors(total=64, per_address=64), by_peer=False, clock=time.monotonic
    )
    server = await stack.enter_async_context(
        serve(
            handler,
            tls.HOST,
            0,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            max_size=MAX_MESSAGE,
            max_queue=MAX_QUEUE,
            write_limit=WRITE_HIGH_WATER,
            ssl=context,
            create_connection=sockets if guarded else None,  # type: ignore[arg-type]  # or a wrapper
        )
    )
    port = next(iter(server.sockets)).getsockname()[1]
    return f"{'ws' if context is None else 'wss'}://{tls.HOST}:{port}"


async def both_servers(stack: contextlib.AsyncExitStack) -> tuple[str, str]:
    """Of bursts of cells: sealed, bare."""
    sealed = await listen(stack, partial(sealed_answers, BURST), guarded=True)
    return sealed, await listen(stack, partial(bare_answers, BURST), guarded=False)


async def readers(
    stack: contextlib.AsyncExitStack, urls: tuple[str, str], bursts: int
) -> tuple[Task, Task]:
    """Reading bursts over connections that stay open: ours, theirs."""
    connection, stream = await open_sealed(urls[0], SUITE_X25519)
    stack.push_async_callback(connection.close)
    socket = await stack.enter_async_context(await open_bare(urls[1], None))
    for _ in range(BURST):  # the answer to the request
        await stream.receive()
        await socket.recv()

    async def sealed() -> float:
        for number in range(bursts + 1):
            if number < bursts:
                await stream.send(VOUCHER)
            for _ in range(BURST if number else 0):
                await stream.receive()
        return bursts * BURST

    async def bare() -> float:
        for number in range(bursts + 1):
            if number < bursts:
                await socket.send(bytes(sessions.CELL_BYTES))
            for _ in range(BURST if number else 0):
                await socket.recv()
        return bursts * BURST

    return sealed, bare


async def visits(
    stack: contextlib.AsyncExitStack, count: int, suite: int, certificate: tls.Certificate
) -> list[tuple[float, float]]:
    """Milliseconds from nothing to the first cell of an answer over TLS, alternately: (ours, theirs).

    Processor time: as both ends are here and neither works while the other does, that is how long it
    takes where nothing else runs.
    """
    context = tls.server_context(certificate)
    sealed_url = await listen(stack, partial(sealed_answers, 1), context, guarded=True)
    bare_url = await listen(stack, partial(bare_answers, 1), context, guarded=False)
    trusting = tls.client_context(certificate)

    async def sealed() -> float:
        started = time.process_time()
        connection, stream = await open_sealed(sealed_url, suite)
        await stream.receive()
        elapsed = time.process_time() - started
        await connection.close()
        return elapsed * 1e3

    async def bare() -> float:
        started = time.process_time()
        socket = await open_bare(bare_url, trusting)
        await socket.recv()
        elapsed = time.process_time() - started
        await socket.close()
        return elapsed * 1e3

    await sealed(), await bare()
    return [(await sealed(), await bare()) for _ in range(count)]


def run(effort: Effort = FULL) -> list[Figure]:
    """Cells with both ends here, and with the provider in another process; first tokens, both here."""
    certificate = tls.p256()
    pairs = effort.of(VISITS) * effort.pairs
    with asyncio.Runner() as runner, dial_trusts(certificate), other_process() as far_urls:
        stack = contextlib.AsyncExitStack()
        try:
            near_urls = runner.run(both_servers(stack))
            return [
                _cells("both ends on one core", runner, stack, near_urls, effort),
                _cells("the client's core", runner, stack, far_urls, effort),
                *(
                    figure(
                        f"connect to first token over TLS, suite {suite}",
                        PEER,
                        "ms",
                        runner.run(visits(stack, pairs, suite, certificate)),
                        less=True,
                        goal=Goal("difference", 1.0),
                    )
                    for suite in supported_suites()
                ),
            ]
        finally:
            runner.run(stack.aclose())


def _cells(
    where: str,
    runner: asyncio.Runner,
    stack: contextlib.AsyncExitStack,
    urls: tuple[str, str],
    effort: Effort,
) -> Figure:
    sealed, bare = runner.run(readers(stack, urls, effort.of(BURSTS)))
    return compare(
        f"answer cells through websockets, {where}",
        PEER,
        "cells/s",
        lambda: runner.run(sealed()),
        lambda: runner.run(bare()),
        effort=effort,
        clock=time.process_time,  # of this process
        goal=Goal("ours", 45_000),
    )


@contextlib.contextmanager
def dial_trusts(certificate: tls.Certificate) -> Iterator[None]:
    """The SDK's own dialling, with this certificate in the place of the system's list."""
    with mock.patch.object(dial, "_tls", return_value=tls.client_context(certificate)):
        yield


@contextlib.contextmanager
def other_process() -> Iterator[tuple[str, str]]:
    """Both servers in a process of their own; their URLs."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.loopback"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    ) as process:
        assert process.stdout is not None
        sealed, bare = json.loads(process.stdout.readline())
        yield sealed, bare


async def serve_until_parent_leaves() -> None:
    """Print the URLs and serve until standard input ends."""
    async with contextlib.AsyncExitStack() as stack:
        print(json.dumps(await both_servers(stack)), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve_until_parent_leaves())
