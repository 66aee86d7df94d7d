"""Live sessions, kept for the next request: a warm one costs no round trip."""

from __future__ import annotations

import asyncio

from cocoon_sdk.protocol.constants import MAX_STREAMS
from cocoon_sdk.transport.connection import Connection, Peer, open_connection


class Pool:
    """At most a few connections per (endpoint, provider, client key); dialling is single-flight."""

    def __init__(self, *, padding: str = "default") -> None:
        self._idle_or_busy: dict[tuple[str, bytes, bytes], list[Connection]] = {}
        self._locks: dict[tuple[str, bytes, bytes], asyncio.Lock] = {}
        self._padding = padding

    async def acquire(self, peer: Peer, *, limit: float) -> tuple[Connection, bool]:
        """A connection with a free stream, and whether it had been open before.

        Raises:
            ConnectError, HandshakeError: a new one was needed and could not be made.
        """
        async with self._locks.setdefault(peer.key, asyncio.Lock()):
            live = self._idle_or_busy.setdefault(peer.key, [])
            for connection in list(live):
                if connection.usable and connection.open_streams < MAX_STREAMS:
                    return connection, True
                if connection.over:
                    live.remove(connection)
                    await connection.close()
            connection = await open_connection(peer, limit=limit, padding=self._padding)
            live.append(connection)
            return connection, False

    async def close(self) -> None:
        """Close every connection."""
        connections = [one for many in self._idle_or_busy.values() for one in many]
        self._idle_or_busy.clear()
        await asyncio.gather(*(connection.close() for connection in connections))
