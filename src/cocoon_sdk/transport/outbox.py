"""What a session has sealed, on its way out in order: by those who wait for it, and by those who must not."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from websockets.exceptions import WebSocketException

from cocoon_sdk.protocol.session import ClientSession
from cocoon_sdk.transport.guard import GuardedClient

WRITE_TIMEOUT = 30.0
LOST = (WebSocketException, TimeoutError, OSError)


class Outbox:
    """Writes for one connection. All of its errors are those in `LOST`."""

    def __init__(self, websocket: GuardedClient, session: ClientSession) -> None:
        self._websocket = websocket
        self._session = session
        self._lock = asyncio.Lock()
        self._stirred = asyncio.Event()  # something may have begun that strict padding paces
        self._sealed: deque[bytes] = deque()
        self._pushing: asyncio.Task[None] | None = None

    async def drain(self) -> None:
        """Write all that is sealed, waiting for a slow reader."""
        self._stirred.set()
        # Sealed records must all go out, in order: what a cancelled writer leaves behind waits here for
        # the next one. A record that was handed to the websocket is written even then.
        self._sealed.extend(self._session.outgoing())
        if not self._sealed and not self._lock.locked():
            return  # as after nearly every message of an answer
        async with self._lock:
            while self._sealed:
                async with asyncio.timeout(WRITE_TIMEOUT):
                    await self._websocket.send(self._sealed.popleft())

    def push(self) -> None:
        """Write what is sealed without waiting: reading must not depend on whether the provider reads.

        Where that fails, the reader hears of it as well.
        """
        self._stirred.set()
        self._sealed.extend(self._session.outgoing())
        if self._sealed and not self._lock.locked():
            self._pushing = asyncio.create_task(self._drain_quietly(), name="cocoon-write")

    async def keep_pace(self) -> None:
        """Strict padding: write what is due at each tick, for ever."""
        while True:
            at = self._session.pace_at
            if at is None:
                self._stirred.clear()
                await self._stirred.wait()
                continue
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            self._session.pace()
            await self.drain()

    async def close(self) -> None:
        """End what `push` has begun."""
        if self._pushing is not None:
            self._pushing.cancel()
            await asyncio.wait({self._pushing})

    async def _drain_quietly(self) -> None:
        try:
            await self.drain()
        except LOST:
            self._websocket.transport.abort()
