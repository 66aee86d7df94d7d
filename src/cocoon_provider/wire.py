"""A session on its websocket: whole messages in, records out in order, slow readers cut off."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from websockets.exceptions import ConnectionClosed

from cocoon_provider.guard import GuardedSocket
from cocoon_provider.inbox import ConnectionLostError
from cocoon_sdk.protocol import messages
from cocoon_sdk.protocol.constants import CLOSE_PROTOCOL
from cocoon_sdk.protocol.errors import RemoteProtocolError
from cocoon_sdk.protocol.messages import CloseReason
from cocoon_sdk.protocol.session import ServerSession

WRITE_TIMEOUT = 30.0
MAX_UNPACED = 64  # records that wait for a tick of strict padding, before who writes has to wait
PARTING_TIMEOUT = 3.0  # for what is left to write when a connection ends


class Wire:
    """Reads and writes for one connection.

    Args:
        on_lost: Called once, when the peer can no longer be reached.
    """

    def __init__(
        self, socket: GuardedSocket, session: ServerSession, on_lost: Callable[[], None]
    ) -> None:
        self._socket = socket
        self._session = session
        self._on_lost = on_lost
        self._lock = asyncio.Lock()
        self._lost = False
        self._stirred = asyncio.Event()  # something may have begun that strict padding paces
        self._ticked = asyncio.Event()  # a tick has passed, or there will be no more
        self._sealed: deque[bytes] = deque()
        self._writer: asyncio.Task[None] | None = None

    def known(self) -> None:
        """The peer has authenticated: from now on it may send more than a handshake."""
        self._socket.known()

    @property
    def origin(self) -> str:
        """Whom the peer counts for where clients share something: its address, or network."""
        return self._socket.origin

    async def receive(self) -> bytes:
        """One whole message.

        Raises:
            RemoteProtocolError: text, or a message in several websocket frames.
            ConnectionLostError: the connection ended.
        """
        try:
            fragments = [part async for part in self._socket.recv_streaming()]
        except ConnectionClosed:
            self.lose()
            raise ConnectionLostError from None
        if len(fragments) != 1 or not isinstance(fragments[0], bytes):
            raise RemoteProtocolError(
                "text and fragmented websocket messages are refused", CLOSE_PROTOCOL
            )
        return fragments[0]

    async def send(self, stream: int, message: messages.Message, *, end: bool = False) -> None:
        """Seal and write one message. Where strict padding lags behind, wait until it has caught up.

        Raises:
            ConnectionLostError: the connection ended, or the peer did not read for 30 s.
            LocalProtocolError: the protocol forbids it here and now.
        """
        if self._lost:
            raise ConnectionLostError
        self._session.send(stream, message, end=end)
        await self.flush()
        while self._session.unpaced > MAX_UNPACED:
            await self._ticked.wait()
            if self._lost:
                raise ConnectionLostError

    async def flush(self) -> None:
        """Write what is queued, in the order in which it was sealed.

        Raises:
            ConnectionLostError: as in `send`.
        """
        self._stirred.set()
        async with self._lock:
            # What a cancelled writer leaves behind waits for the next one: a gap would end the session.
            self._sealed.extend(self._session.outgoing())
            while self._sealed:
                # A bare timer ends the wait just as well as asyncio.timeout would, and costs far less.
                slow = asyncio.get_running_loop().call_later(WRITE_TIMEOUT, self.lose)
                try:
                    await self._socket.send(self._sealed.popleft())
                except ConnectionClosed:
                    self.lose()
                    raise ConnectionLostError from None
                finally:
                    slow.cancel()
                if (
                    self._lost
                ):  # the timer's doing; a socket that is cut off may end the wait quietly
                    raise ConnectionLostError

    def push(self) -> None:
        """Write what is queued, without waiting: who reads must never depend on whether the peer does.

        What can be queued by reading alone is bounded: PONGs, which come at the rate of the peer's PINGs.
        """
        self._stirred.set()
        self._sealed.extend(self._session.outgoing())
        if self._sealed and not self._lock.locked():  # else whoever holds it writes these as well
            self._writer = asyncio.create_task(self._write_quietly(), name="cocoon-write")

    async def _write_quietly(self) -> None:
        with contextlib.suppress(ConnectionLostError):
            await self.flush()

    async def keep_pace(self, clock: Callable[[], float]) -> None:
        """Strict padding: write what is due at each tick, for as long as the connection lasts."""
        while not self._lost:
            at = self._session.pace_at
            if at is None:
                self._stirred.clear()
                await self._stirred.wait()
                continue
            await asyncio.sleep(max(0.0, at - clock()))
            self._session.pace()
            self._tick()
            with contextlib.suppress(ConnectionLostError):
                await self.flush()

    async def close(self, reason: CloseReason, code: int = 1000) -> None:
        """Say CLOSE and end the websocket."""
        self._session.close(reason)
        await self.hang_up(code)

    async def hang_up(self, code: int) -> None:
        """Write what is left, as far as the peer reads, and end the websocket without a word."""
        self._socket.known()  # or the peer's own close would not be read
        try:
            async with asyncio.timeout(PARTING_TIMEOUT):
                await self.flush()
        except TimeoutError:
            self.lose()
            return
        await self._socket.close(code)

    def lose(self) -> None:
        """The peer is gone: nothing is written any more."""
        if not self._lost:
            self._lost = True
            self._socket.transport.abort()
            self._tick()
            self._on_lost()

    def _tick(self) -> None:
        """Wake those who wait for records to leave."""
        self._ticked.set()
        self._ticked = asyncio.Event()
