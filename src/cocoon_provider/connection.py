"""One connection: the handshake, a task per stream, timeouts, and the three ways it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from cocoon_provider.admission import Client
from cocoon_provider.asked import Asked
from cocoon_provider.deadlines import overdue
from cocoon_provider.failures import describe
from cocoon_provider.guard import GuardedSocket
from cocoon_provider.inbox import ConnectionLostError, Inbox
from cocoon_provider.limits import HandshakeGate, Pace
from cocoon_provider.refusals import Refusal, internal_refusal, refusal_of
from cocoon_provider.service import Service
from cocoon_provider.wire import Wire
from cocoon_sdk.errors import CocoonError, WireCode
from cocoon_sdk.protocol import messages
from cocoon_sdk.protocol.constants import CLOSE_RATE, MAX_AGE
from cocoon_sdk.protocol.errors import LocalProtocolError, RemoteProtocolError
from cocoon_sdk.protocol.events import HandshakeCompleted, MessageReceived, PeerClosed
from cocoon_sdk.protocol.messages import CloseReason
from cocoon_sdk.protocol.session import ServerSession

log = logging.getLogger(__name__)

_MAX_QUESTIONS = 32
# Requests that were refused, cancelled or only repeated; the first are for honest misfortune.
_FREE_BURST, _FREE_PER_SECOND = 32, 8.0
# Questions cost a look into the books; a new session may fetch 256 receipts (payments.md §3).
_QUESTION_BURST, _QUESTIONS_PER_SECOND = 320, 32.0
_GOING_AWAY = 1001

Work = Callable[[Client], Awaitable[None]]


class Connection:
    """Drives one `ServerSession`. `run` returns when the connection is over and its streams ended."""

    def __init__(
        self,
        socket: GuardedSocket,
        session: ServerSession,
        service: Service,
        gate: HandshakeGate,
        clock: Callable[[], float],
    ) -> None:
        self._session = session
        self._service = service
        self._gate = gate
        self._clock = clock
        self._wire = Wire(socket, session, self._lost)
        self._client: Client | None = None
        self._ready_at = clock()
        self._inboxes: dict[int, Inbox] = {}
        self._requests: set[asyncio.Task[None]] = set()
        self._questions: set[asyncio.Task[None]] = set()
        self._idle_pace = Pace(clock, burst=_FREE_BURST, per_second=_FREE_PER_SECOND)
        self._question_pace = Pace(clock, burst=_QUESTION_BURST, per_second=_QUESTIONS_PER_SECOND)

    async def run(self) -> None:
        """Serve until either side closes."""
        timers = [
            asyncio.create_task(self._watch_deadlines(), name="cocoon-deadlines"),
            asyncio.create_task(self._wire.keep_pace(self._clock), name="cocoon-pace"),
        ]
        try:
            with self._gate.enter():
                await self._shake_hands()
            await self._read()
        except ConnectionLostError:
            pass
        except Refusal:
            await self._wire.hang_up(CLOSE_RATE)
        except RemoteProtocolError as error:
            log.info("connection ended: %s", error)
            with contextlib.suppress(ConnectionLostError):
                await self._wire.hang_up(error.close_code)
        finally:
            self._wire.lose()
            for task in (*timers, *self._questions):
                task.cancel()
            await asyncio.gather(*timers, *self._questions, *self._requests, return_exceptions=True)

    async def go_away(self) -> None:
        """Say CLOSE (going away) and end the connection; its requests have ended."""
        with contextlib.suppress(ConnectionLostError):
            await self._wire.close(CloseReason.GOING_AWAY, _GOING_AWAY)

    async def drained(self) -> None:
        """Wait until no request is being served."""
        while self._requests:
            await asyncio.wait(tuple(self._requests))

    # --- reading

    async def _shake_hands(self) -> None:
        while not self._session.ready:
            message = await self._wire.receive()
            async with self._gate.turn():
                self._take(message)
            await self._wire.flush()

    async def _read(self) -> None:
        while not self._take(await self._wire.receive()):
            self._wire.push()
        # The peer said CLOSE: it wants nothing more, and gets our CLOSE when its requests have ended.
        for inbox in self._inboxes.values():
            inbox.cancel()
        await self.drained()
        await self._wire.close(CloseReason.NORMAL)

    def _take(self, message: bytes) -> bool:
        """Feed the session; True when the peer has said CLOSE."""
        closed = False
        for event in self._session.receive(message):
            match event:
                case HandshakeCompleted():
                    self._client = Client.of(event, self._wire.origin)
                    self._ready_at = self._clock()
                    self._wire.known()
                    self._gossip(event)
                case MessageReceived():
                    self._dispatch(event)
                case PeerClosed():
                    closed = True
        return closed

    def _gossip(self, event: HandshakeCompleted) -> None:
        """Once per session: that the registry which the client uses has another content elsewhere."""
        if event.registry is not None:
            hint = self._service.gossip(event.registry)
            if hint is not None:
                self._session.send(0, hint)

    def _dispatch(self, event: MessageReceived) -> None:
        inbox = self._inboxes.get(event.stream)
        match event.message:
            case (
                messages.Request()
                | messages.StateGet()
                | messages.ReceiptGet()
                | messages.CloseRequest()
            ) if self._aged:
                self._start_question(event.stream, _too_old)
            case messages.Request() as request:
                self._start_request(event, Asked(request, event.body))
            case messages.Voucher() as voucher if inbox is not None:
                inbox.put(voucher)
            case messages.Voucher() as voucher if len(self._questions) < _MAX_QUESTIONS:
                self._spawn(self._questions, event.stream, partial(self._late, voucher))
            case messages.Cancel() | messages.Error() if inbox is not None:
                inbox.cancel()
            case messages.AttestChallenge() if len(self._questions) < _MAX_QUESTIONS:
                self._start_question(0, lambda _: self._service.attest(self._session.exporter))
            case messages.StateGet():
                self._start_question(event.stream, self._service.state)
            case messages.ReceiptGet() as get:
                self._start_question(event.stream, lambda c: self._service.receipt(c, get))
            case messages.CloseRequest() as close:
                self._start_question(event.stream, lambda c: self._service.close(c, close))
            case _:
                pass  # ACKs, and frames that crossed our END

    # --- streams

    def _start_request(self, event: MessageReceived, asked: Asked) -> None:
        stream = event.stream
        inbox = self._inboxes[stream] = Inbox()
        if event.end:
            inbox.cancel()

        async def send(message: messages.Message, *, end: bool = False) -> None:
            await self._wire.send(stream, message, end=end)

        async def work(client: Client) -> None:
            try:
                if self._idle_pace.delay:
                    asked.fold()
                await self._idle_pace.wait()
                if not await self._service.serve(client, *asked.take(), inbox, send):
                    self._idle_pace.count()
            except Refusal:
                self._idle_pace.count()
                raise
            finally:
                self._inboxes.pop(stream, None)

        self._spawn(self._requests, stream, work)

    def _start_question(
        self, stream: int, answer: Callable[[Client], Awaitable[messages.Message]]
    ) -> None:
        async def work(client: Client) -> None:
            self._question_pace.count()
            await self._question_pace.wait()
            await self._wire.send(stream, await answer(client), end=stream != 0)

        self._spawn(self._questions, stream, work)

    async def _late(self, voucher: messages.Voucher, client: Client) -> None:
        self._question_pace.count()
        await self._question_pace.wait()
        await self._service.late_voucher(client, voucher)

    def _spawn(self, group: set[asyncio.Task[None]], stream: int, work: Work) -> None:
        task = asyncio.create_task(self._guard(stream, work), name=f"cocoon-stream-{stream}")
        group.add(task)
        task.add_done_callback(group.discard)

    async def _guard(self, stream: int, work: Work) -> None:
        """Turn whatever goes wrong on a stream into its ERROR frame."""
        if self._client is None:  # the session gives no frames before the handshake
            return
        try:
            await work(self._client)
            return
        except ConnectionLostError:
            return
        except Refusal as error:
            refusal = error
        except CocoonError as error:
            log.warning("a stream failed: %s: %s", error.code, error)
            refusal = refusal_of(error)
        except Exception as error:  # noqa: BLE001 - the client gets an ERROR, the log its place
            log.error("a stream failed unexpectedly: %s", describe(error))
            refusal = internal_refusal()
        with contextlib.suppress(ConnectionLostError, LocalProtocolError):
            await self._wire.send(stream, refusal.frame(), end=True)

    def _lost(self) -> None:
        for inbox in self._inboxes.values():
            inbox.cancel(lost=True)

    # --- time

    @property
    def _aged(self) -> bool:
        """Whether only what runs already may go on here (wire.md, "Properties": at most 60 minutes)."""
        return self._clock() >= self._ready_at + MAX_AGE

    def _busy(self) -> bool:
        """Whether it is at work, and so not idle.

        Of an old session only the last requests count: who keeps asking would keep it for ever.
        """
        return bool(self._requests) or (bool(self._questions) and not self._aged)

    async def _watch_deadlines(self) -> None:
        error = await overdue(self._session, self._busy, self._clock)
        log.info("connection ended: %s", error)
        with contextlib.suppress(ConnectionLostError):
            await self._wire.hang_up(error.close_code)


async def _too_old(_client: Client) -> messages.Message:
    raise Refusal(WireCode.DRAINING, "this session is an hour old; connect anew and ask again")
