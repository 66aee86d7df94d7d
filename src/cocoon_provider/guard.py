"""A server's websocket that keeps strangers within bounds before the session sees a byte.

What it adds to the library's own: sockets are counted from the moment they open, request heads are
bounded as a whole, and each frame is judged before it is queued (wire.md, "Limits").
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.frames import CloseCode, Frame

from cocoon_provider.doors import Doors, address_group
from cocoon_sdk.protocol.constants import CLOSE_PROTOCOL, CLOSE_TOO_LARGE
from cocoon_sdk.protocol.websocket import FrameGuard

MAX_HEAD = 16 * 1024  # of the HTTP request, all its headers together
READ_BYTES = 64 * 1024  # at once; the library queues all frames of one read, whatever their number
SEND_BUFFER = 64 * 1024  # in the kernel, so that a slow reader is felt soon
ABORT_AFTER = 3.0
_GREETINGS = 2  # CLIENT_HELLO and CLIENT_AUTH
_CODES: Mapping[int, int] = {
    CloseCode.MESSAGE_TOO_BIG: CLOSE_TOO_LARGE,
    CloseCode.PROTOCOL_ERROR: CLOSE_PROTOCOL,
    CloseCode.INVALID_DATA: CLOSE_PROTOCOL,
}


class GuardedSocket(ServerConnection):
    """One socket of the public port.

    Args:
        doors: Where it is counted.
        by_peer: Whether the peer's address is the client's; behind a trusted proxy it is not.
        clock: Monotonic seconds.
    """

    def __init__(
        self, *args: Any, doors: Doors, by_peer: bool, clock: Callable[[], float], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        # The library's own faults, too, end with a code of ours and without a word (wire.md, "Limits"). It
        # makes the protocol object itself and offers no other place to change that.
        self._fail, self.protocol.fail = self.protocol.fail, self._end  # type: ignore[method-assign] # see above
        self._doors = doors
        self._by_peer = by_peer
        self._guard = FrameGuard(clock, greetings=_GREETINGS)
        self._entered = False
        self._claimed: str | None = None
        self._head = 0
        self._messages = 0
        self._refused = False

    @property
    def origin(self) -> str:
        """Whom this socket counts for; empty where that is not known."""
        return "" if self._claimed is None else address_group(self._claimed)

    def claim(self, address: str) -> bool:
        """Count this socket as one of that address until it closes; False: the address has too many."""
        if self._claimed is not None:
            return True
        if not self._doors.claim(address):
            return False
        self._claimed = address
        return True

    def known(self) -> None:
        """The handshake of the session is over: what the client has to ask may come in."""
        self._set_reading(paused=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A stranger has connected."""
        super().connection_made(transport)
        if hasattr(
            transport, "max_size"
        ):  # of the selector loop; others read little at once anyway
            transport.max_size = READ_BYTES
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._entered = self._doors.enter()
        peer = self.remote_address
        if not self._entered or (self._by_peer and not self.claim(str(peer[0]) if peer else "")):
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, and makes room."""
        super().connection_lost(exc)
        if self._entered:
            self._doors.leave()
        if self._claimed is not None:
            self._doors.release(self._claimed)

    def data_received(self, data: bytes) -> None:
        """Bytes from the network."""
        if self.request is None:
            self._head += len(data)
            if self._head > MAX_HEAD:
                self.transport.abort()
                return
        super().data_received(data)

    def process_event(self, event: Any) -> None:
        """One frame, or the HTTP request that precedes them."""
        if self._refused:
            return
        if isinstance(event, Frame):
            code = self._guard.fault(int(event.opcode), fin=event.fin, size=len(event.data))
            if code is not None:
                self._refuse(code)
                return
            if event.opcode.name == "BINARY":
                self._messages += 1
                if self._messages == _GREETINGS:
                    self._set_reading(paused=True)
        super().process_event(event)

    def _end(self, code: int, reason: str = "") -> None:  # noqa: ARG002 - strangers get no reasons
        self._fail(_CODES.get(code, code))

    def _refuse(self, code: int) -> None:
        self._refused = True
        self._fail(code)
        self.send_data()
        self.loop.call_later(ABORT_AFTER, self.transport.abort)

    def _set_reading(self, *, paused: bool) -> None:
        if self.transport.is_closing():
            return
        if paused:
            self.transport.pause_reading()
        elif not self.recv_messages.paused:
            self.transport.resume_reading()
