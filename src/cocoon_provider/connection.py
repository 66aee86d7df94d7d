"""One websocket and its encrypted session: frames in, tasks per stream, frames out with backpressure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from cocoon_provider.admission import Client
from cocoon_provider.limits import HandshakeGate
from cocoon_provider.refusals import Refusal, internal_refusal, refusal_of
from cocoon_provider.service import Service
from cocoon_provider.serving import ConnectionLostError, Inbox
from cocoon_sdk.errors import CocoonError
from cocoon_sdk.protocol import messages
from cocoon_sdk.protocol.constants import CLOSE_PROTOCOL, CLOSE_RATE
from cocoon_sdk.protocol.errors import LocalProtocolError, RemoteProtocolError
from cocoon_sdk.protocol.events import HandshakeCompleted, MessageReceived, PeerClosed
from cocoon_sdk.protocol.messages import CloseReason
from cocoon_sdk.protocol.session import ServerSession

log = logging.getLogger(__name__)

WRITE_TIMEOUT = 30.0
_NO_DEADLINE_POLL = 60.0
_GOING_AWAY = 1001
_NORMAL = 1000

Answering = Callable[[], Awaitable[None]]


class Connection:
    """Drives one `ServerSession`. `run` returns when the connection is over and its streams ended."""

    def __init__(
        self,
        socket: ServerConnection,
        session: ServerSession,
        service: Service,
        gate: HandshakeGate,
        clock: Callable[[], float],
    ) -> None:
        self._socket = socket
        self._session = session
        self._service = service
        self._gate = gate
        self._clock = clock
        self._client: Client | None = None
        self._inboxes: dict[int, Inbox] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._write_lock = asyncio.Lock()
        self._lost = False

    async def run(self) -> None:
        """Serve until either side closes."""
        timer = asyncio.create_task(self._watch_deadlines(), name="cocoon-deadlines")
        try:
            await self._read()
        except ConnectionClosed:
            pass
        except RemoteProtocolError as error:
            await self._hang_up(error)
        except Refusal:
            await self._socket.close(CLOSE_RATE)
        finally:
            self._lost = True
            timer.cancel()
            for inbox in self._inboxes.values():
                inbox.cancel(lost=True)
            await asyncio.gather(timer, *self._tasks, return_exceptions=True)

    async def go_away(self) -> None:
        """Say CLOSE (going away) and end the connection; its streams have ended."""
        try:
            self._session.close(CloseReason.GOING_AWAY)
            await self._flush()
        except ConnectionLostError:
            return
        await self._socket.close(_GOING_AWAY)

    async def drained(self) -> None:
        """Wait until no stream is being served."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    # --- reading

    async def _read(self) -> None:
        async with self._gate.enter():
            while not self._session.ready:
                self._take(await self._receive())
                await self._flush_or_close()
        while True:
            closed = self._take(await self._receive())
            await self._flush_or_close()
            if closed:
                await self._answer_close()
                return

    async def _receive(self) -> bytes:
        """One whole message.

        Raises:
            RemoteProtocolError: text, or a message in several websocket frames.
        """
        fragments = [part async for part in self._socket.recv_streaming()]
        if len(fragments) != 1 or not isinstance(fragments[0], bytes):
            raise RemoteProtocolError(
                "text and fragmented websocket messages are refused", CLOSE_PROTOCOL
            )
        return fragments[0]

    def _take(self, message: bytes) -> bool:
        """Feed the session; True when the peer has said CLOSE."""
        closed = False
        for event in self._session.receive(message):
            match event:
                case HandshakeCompleted():
                    self._client = Client.of(event)
                case MessageReceived():
                    self._dispatch(event)
                case PeerClosed():
                    closed = True
        return closed

    def _dispatch(self, event: MessageReceived) -> None:
        inbox = self._inboxes.get(event.stream)
        match event.message:
            case messages.Request() as request:
                self._start_request(event.stream, request, event)
            case messages.Voucher() as voucher if inbox is not None:
                inbox.put(voucher)
            case messages.Cancel() | messages.Error() if inbox is not None:
                inbox.cancel()
            case messages.StateGet():
                self._start(event.stream, self._service.state)
            case messages.ReceiptGet() as question:
                self._start(event.stream, lambda client: self._service.receipt(client, question))
            case messages.CloseRequest() as question:
                self._start(event.stream, lambda client: self._service.close(client, question))
            case _:
                pass  # ACKs, and frames that crossed our END

    # --- streams

    def _start_request(
        self, stream: int, request: messages.Request, event: MessageReceived
    ) -> None:
        inbox = self._inboxes[stream] = Inbox()

        async def send(message: messages.Message, *, end: bool = False) -> None:
            await self._send(stream, message, end=end)

        async def serve() -> None:
            try:
                await self._service.serve(self._known(), request, event.body, inbox, send)
            finally:
                self._inboxes.pop(stream, None)

        if event.end:
            inbox.cancel()
        self._spawn(stream, serve)

    def _start(self, stream: int, answer: Callable[[Client], Awaitable[messages.Message]]) -> None:
        async def reply() -> None:
            await self._send(stream, await answer(self._known()), end=True)

        self._spawn(stream, reply)

    def _spawn(self, stream: int, work: Answering) -> None:
        task = asyncio.create_task(self._guard(stream, work), name=f"cocoon-stream-{stream}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, stream: int, work: Answering) -> None:
        """Turn whatever goes wrong on a stream into its ERROR frame."""
        try:
            try:
                await work()
            except Refusal as refusal:
                await self._send(stream, refusal.frame(), end=True)
            except CocoonError as error:
                log.warning("stream failed: %s: %s", error.code, error)
                await self._send(stream, refusal_of(error).frame(), end=True)
        except ConnectionLostError:
            pass
        except LocalProtocolError:
            log.exception("a stream could not be answered")
            await self._socket.close(_NORMAL)
        except Exception:
            log.exception("a stream failed unexpectedly")
            await self._fail(stream)

    async def _fail(self, stream: int) -> None:
        try:
            await self._send(stream, internal_refusal().frame(), end=True)
        except (ConnectionLostError, LocalProtocolError):
            return

    def _known(self) -> Client:
        if self._client is None:
            raise RemoteProtocolError("a frame before the handshake")
        return self._client

    # --- writing

    async def _send(self, stream: int, message: messages.Message, *, end: bool = False) -> None:
        if self._lost:
            raise ConnectionLostError
        self._session.send(stream, message, end=end)
        await self._flush()

    async def _flush(self) -> None:
        """Write what is queued, in order. A reader too slow for 30 s is cut off."""
        async with self._write_lock:
            for wire in self._session.outgoing():
                try:
                    async with asyncio.timeout(WRITE_TIMEOUT):
                        await self._socket.send(wire)
                except (ConnectionClosed, TimeoutError):
                    self._lose()
                    raise ConnectionLostError from None

    async def _flush_or_close(self) -> None:
        try:
            await self._flush()
        except ConnectionLostError:
            raise RemoteProtocolError("the connection was lost", _NORMAL) from None

    def _lose(self) -> None:
        self._lost = True
        for inbox in self._inboxes.values():
            inbox.cancel(lost=True)
        transport: Any = self._socket.transport
        transport.abort()

    async def _answer_close(self) -> None:
        """The peer said CLOSE: end its streams, say CLOSE too."""
        for inbox in self._inboxes.values():
            inbox.cancel()
        await self.drained()
        self._session.close(CloseReason.NORMAL)
        await self._flush_or_close()
        await self._socket.close(_NORMAL)

    async def _hang_up(self, error: RemoteProtocolError) -> None:
        log.info("connection ended: %s", error)
        await self._socket.close(error.close_code)

    async def _watch_deadlines(self) -> None:
        while True:
            deadline = self._session.deadline()
            delay = _NO_DEADLINE_POLL if deadline is None else deadline - self._clock()
            await asyncio.sleep(max(0.01, delay))
            if self._tasks:
                # A stream that waits in line or computes is not idle.
                await asyncio.sleep(1.0)
                continue
            try:
                self._session.on_timer()
            except RemoteProtocolError as error:
                try:
                    await self._flush()
                except ConnectionLostError:
                    return
                await self._hang_up(error)
                return
