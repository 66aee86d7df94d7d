"""Live sessions, kept for the next request: a warm one costs no round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from cocoon_sdk.errors import CocoonError, ConfigError, DeadlineError
from cocoon_sdk.protocol.errors import LocalProtocolError
from cocoon_sdk.protocol.padding import PaddingPolicy
from cocoon_sdk.transport.connection import Connection
from cocoon_sdk.transport.dial import Peer, open_connection
from cocoon_sdk.transport.failures import twin
from cocoon_sdk.transport.slot import Slot

Key = tuple[str, bytes, bytes, tuple[int, ...] | None]
REFRESH_LIMIT = 10.0  # seconds for a handshake ahead of time

Dial = Callable[..., Awaitable[Connection]]


class Pool:
    """Connections by (endpoint, provider, client key), each with at most eight streams.

    Requests that need a new one wait for the same handshake. A handshake goes on even if those who
    wait for it are cancelled: the next request will be glad of it.

    Raises:
        ConfigError: a padding that there is not.
    """

    def __init__(self, *, padding: str = "default", dial: Dial = open_connection) -> None:
        try:
            PaddingPolicy.parse(padding)
        except LocalProtocolError as error:
            raise ConfigError(str(error)) from error
        self._live: dict[Key, list[Connection]] = {}
        self._dials: dict[Key, asyncio.Task[None]] = {}
        self._padding = padding
        self._dial = dial
        self._closed = False

    async def acquire(self, peer: Peer, *, limit: float) -> tuple[Slot, bool]:
        """The right to open a stream, and whether no new handshake was needed for it.

        Raises:
            ConnectError, HandshakeError, ProviderOverloadedError: no session could be made.
            DeadlineError: not within `limit` seconds.
            ConfigError: the pool is closed.
        """
        fresh = False
        try:
            async with asyncio.timeout(limit):
                while (slot := self._free(peer.key)) is None:
                    if self._closed:
                        raise ConfigError("this client is closed; make a new one")
                    task = self._dials.get(peer.key)
                    if task is None:
                        task, fresh = self._start(peer, limit), True
                    await _outcome(task)
        except TimeoutError as error:
            raise DeadlineError(
                f"no session with {peer.site.endpoint.url} in {limit:g} s; try another provider or "
                "raise the connect timeout",
                phase="connect",
            ) from error
        if slot.connection.ageing and peer.key not in self._dials and not self._closed:
            self._start(peer, REFRESH_LIMIT)  # nobody waits for it; the old one serves meanwhile
        return slot, not fresh

    async def close(self) -> None:
        """Close every connection and give up those being made."""
        self._closed = True
        dials = list(self._dials.values())
        for task in dials:
            task.cancel()
        await asyncio.gather(*dials, return_exceptions=True)
        connections = [one for many in self._live.values() for one in many]
        self._live.clear()
        await asyncio.gather(*(connection.close() for connection in connections))

    def _free(self, key: Key) -> Slot | None:
        for ageing in (False, True):  # the younger first, so that an old one comes to rest
            for connection in self._live.get(key, []):
                slot = connection.slot() if connection.ageing == ageing else None
                if slot is not None:
                    return slot
        return None

    def _start(self, peer: Peer, limit: float) -> asyncio.Task[None]:
        task = asyncio.create_task(self._connect(peer, limit), name="cocoon-dial")
        self._dials[peer.key] = task
        task.add_done_callback(_seen)
        return task

    async def _connect(self, peer: Peer, limit: float) -> None:
        try:
            await self._sweep()
            connection = await self._dial(peer, limit=limit, padding=self._padding)
            self._live.setdefault(peer.key, []).append(connection)
        finally:
            del self._dials[peer.key]

    async def _sweep(self) -> None:
        """Let go of connections that nobody can use any more, whoever they were for."""
        spent: list[Connection] = []
        # Nothing is awaited before all is entered again: others add and sweep meanwhile.
        for key, live in list(self._live.items()):
            old = [one for one in live if one.spent]
            spent += old
            self._live[key] = [one for one in live if one not in old]
            if not self._live[key]:
                del self._live[key]
        await asyncio.gather(*(one.close() for one in spent))


async def _outcome(task: asyncio.Task[None]) -> None:
    """Wait for a handshake that others may wait for as well."""
    try:
        await asyncio.shield(task)
    except CocoonError as error:
        raise twin(error) from error  # errors carry what their own request cost
    except asyncio.CancelledError:
        if task.cancelled():
            raise ConfigError("this client was closed while it connected") from None
        raise


def _seen(task: asyncio.Task[None]) -> None:
    """A failure that nobody waits for any more is no news."""
    if not task.cancelled():
        task.exception()
