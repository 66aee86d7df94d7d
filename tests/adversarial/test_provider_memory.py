"""What one connection costs a provider in memory, at rest and when its client stops reading."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
import time
from collections.abc import AsyncIterator
from typing import cast

import pytest

from cocoon_provider.backends.echo import EchoBackend
from cocoon_sdk.payments.meter import Price
from cocoon_sdk.protocol.events import HandshakeCompleted
from cocoon_sdk.protocol.session import ClientSession
from tests.child_provider import Child, child_provider
from tests.provider_world import World, request
from tests.raw_socket import BINARY, RawSocket, frame, upgraded

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

BOUND = 256 * 1024
IDLE = 300
SLOW = 60
FREE = Price(0, 0, 0)


class Peers:
    """Authenticated connections to a provider in another process."""

    def __init__(self, child: Child, stack: contextlib.AsyncExitStack) -> None:
        self._child = child
        self._stack = stack
        self.sessions: list[tuple[RawSocket, ClientSession]] = []

    async def add(self, count: int) -> None:
        for _ in range(count):
            peer = await self._stack.enter_async_context(upgraded(self._child.port))
            session = ClientSession(
                provider_id=self._child.identity.public_key,
                signer=None,
                channel=None,
                registry=None,
                random=secrets.token_bytes,
                clock=time.monotonic,
            )
            session.start()
            events: list[object] = []
            while not any(isinstance(event, HandshakeCompleted) for event in events):
                await self.flush(peer, session)
                events += session.receive(await peer.message())
            await self.flush(peer, session)
            self.sessions.append((peer, session))

    async def flush(self, peer: RawSocket, session: ClientSession) -> None:
        for message in session.outgoing():
            await peer.send(frame(BINARY, message))


@contextlib.asynccontextmanager
async def crowd() -> AsyncIterator[tuple[Child, Peers]]:
    async with child_provider() as child, contextlib.AsyncExitStack() as stack:
        peers = Peers(child, stack)
        await peers.add(20)  # what is loaded and allocated once is not counted
        yield child, peers


async def settled(child: Child) -> int:
    """The memory once it does not grow any more."""
    seen = [await child.memory()]
    async with asyncio.timeout(60):
        while len(seen) < 4 or seen[-1] - seen[-4] > 256 * 1024:
            await asyncio.sleep(0.4)
            seen.append(await child.memory())
    return seen[-1]


async def test_an_idle_session_is_small() -> None:
    async with crowd() as (child, peers):
        before = await settled(child)
        await peers.add(IDLE)
        each = (await settled(child) - before) // IDLE
    assert each < BOUND // 4, f"{each} bytes for each idle connection"


async def test_a_client_that_stops_reading_costs_little() -> None:
    """Its answer waits in buffers of a fixed size, and what does not fit is not computed."""
    async with crowd() as (child, peers):
        before = await settled(child)
        first = len(peers.sessions)
        await peers.add(SLOW)
        for peer, session in peers.sessions[first:]:
            asked = request(cast("World", _Names()), "go on", model="free", price=FREE)
            session.send(session.open_stream(), asked)
            await peers.flush(peer, session)
        each = (await settled(child) - before) // SLOW
        assert await child.streams() == SLOW
    assert each < BOUND, f"{each} bytes for each connection whose client stopped reading"


class _Names:
    """As much of a World as `request` asks for."""

    backend = EchoBackend(("echo", "free"), context=1_000_000)
