"""One connection over a socket in memory: dispatch, errors as frames, timeouts, and its ends."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from websockets.exceptions import ConnectionClosedOK

from cocoon_provider.admission import Client
from cocoon_provider.asked import Asked
from cocoon_provider.connection import _MAX_QUESTIONS, Connection
from cocoon_provider.inbox import ConnectionLostError, Inbox
from cocoon_provider.limits import HandshakeGate, Pace
from cocoon_provider.refusals import Refusal
from cocoon_provider.service import Service
from cocoon_provider.wire import MAX_UNPACED
from cocoon_sdk.errors import StoreError, WireCode
from cocoon_sdk.protocol import messages
from cocoon_sdk.protocol.constants import (
    CLOSE_RATE,
    HELLO_TIMEOUT,
    IDLE_TIMEOUT,
    MAX_AGE,
    STRICT_INTERVAL,
)
from cocoon_sdk.protocol.events import HandshakeCompleted, MessageReceived, PeerClosed
from cocoon_sdk.protocol.session import ClientSession, ServerSession
from tests.unit.provider.books import CLIENT, IDENTITY, Clock, voucher

pytestmark = pytest.mark.anyio

REQUEST = messages.Request(
    id=b"r" * 16,
    kind="chat",
    model="echo",
    model_hash=bytes(32),
    body={},
    seed=1,
    date="2026-01-01",
    salt=bytes(16),
    price=(0, 0, 0),
    voucher=None,
    resume=None,
)


class Socket:
    """The server's end of a websocket without a network."""

    origin = "192.0.2.1"

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[list[bytes | str] | None] = asyncio.Queue()
        self.sent: list[bytes] = []
        self.code: int | None = None
        self.aborted = False
        self.peer_known = False

    def known(self) -> None:
        self.peer_known = True

    @property
    def transport(self) -> Socket:
        return self

    async def recv_streaming(self) -> AsyncIterator[bytes | str]:
        parts = await self.arrived.get()
        if parts is None:
            raise ConnectionClosedOK(None, None)
        for part in parts:
            yield part

    async def send(self, record: bytes) -> None:
        if self.code is not None:
            raise ConnectionClosedOK(None, None)
        self.sent.append(record)

    async def close(self, code: int) -> None:
        if self.code is None:
            self.code = code
            self.arrived.put_nowait(None)

    def abort(self) -> None:
        self.aborted = True
        self.arrived.put_nowait(None)


class Desk:
    """A service that does what the test says; a request runs until it is released or cancelled."""

    def __init__(self) -> None:
        self.inboxes: list[Inbox] = []
        self.clients: list[Client] = []
        self.late: list[int] = []
        self.release = asyncio.Event()
        self.error: Exception | None = None
        self.cancelled = 0

    async def serve(
        self, client: Client, request: messages.Request, body: bytes, inbox: Inbox, send: Any
    ) -> None:
        self.inboxes.append(inbox)
        self.clients.append(client)
        if self.error is not None:
            raise self.error
        while not (self.release.is_set() or inbox.stopped):
            inbox.wake.clear()
            await inbox.wake.wait()
        await send(messages.Receipt(b"x" * 352), end=True)

    async def late_voucher(self, client: Client, voucher: messages.Voucher) -> None:
        self.late.append(voucher.cumulative)
        await self.release.wait()

    async def state(self, client: Client) -> messages.State:
        if self.error is not None:
            raise self.error
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return messages.State(1, 2, bytes(64), 3, 4)

    async def receipt(self, client: Client, question: messages.ReceiptGet) -> messages.Receipt:
        return messages.Receipt((question.request_id or b"") * 22)

    async def close(self, client: Client, question: messages.CloseRequest) -> messages.CloseAuth:
        return messages.CloseAuth(question.epoch, 9, bytes(64))


class Stage:
    """A client and the connection that serves it, on one clock."""

    def __init__(self, *, places: int = 4, padding: str = "default") -> None:
        self.clock = Clock()
        self.socket, self.desk = Socket(), Desk()
        self.gate = HandshakeGate(places)
        self.events: list[object] = []
        self.client = ClientSession(
            provider_id=IDENTITY.public_key,
            signer=CLIENT,
            channel=None,
            registry=None,
            random=secrets.token_bytes,
            clock=self.clock,
            padding=padding,
        )
        server = ServerSession(identity=IDENTITY, random=secrets.token_bytes, clock=self.clock)
        self.connection = Connection(
            cast("Any", self.socket), server, cast("Service", self.desk), self.gate, self.clock
        )
        self.task = asyncio.create_task(self.connection.run())

    async def carry(self) -> None:
        """Both ways until nothing moves."""
        for _ in range(12):
            for message in self.client.outgoing():
                self.socket.arrived.put_nowait([message])
            for _ in range(20):
                await asyncio.sleep(0)
            sent, self.socket.sent = self.socket.sent, []
            for record in sent:
                self.events += self.client.receive(record)

    async def shake(self) -> Stage:
        self.client.start()
        await self.carry()
        assert any(isinstance(event, HandshakeCompleted) for event in self.events)
        return self

    async def open(self, message: messages.Message, *, end: bool = False) -> int:
        stream = self.client.open_stream()
        self.client.send(stream, message, end=end)
        await self.carry()
        return stream

    def answers(self, stream: int) -> list[MessageReceived]:
        found = [e for e in self.events if isinstance(e, MessageReceived)]
        return [event for event in found if event.stream == stream]

    def error(self, stream: int) -> messages.Error:
        [answer] = self.answers(stream)
        assert isinstance(answer.message, messages.Error)
        assert answer.end
        return answer.message

    async def over(self) -> None:
        await asyncio.wait_for(self.task, 5)


# --- streams


async def test_a_request_is_served_for_the_client_of_the_handshake() -> None:
    stage = await Stage().shake()
    stream = await stage.open(REQUEST)
    assert stage.desk.clients == [
        Client(stage.client.session_id, CLIENT.public_key, None, Socket.origin)
    ]
    assert stage.socket.peer_known
    stage.client.send(stream, voucher(7))
    await stage.carry()
    [inbox] = stage.desk.inboxes
    assert [v.cumulative for v in inbox.vouchers] == [7]
    assert not inbox.stopped
    stage.client.send(stream, messages.Cancel(), end=True)
    await stage.carry()
    assert (inbox.cancelled, inbox.lost) == (True, False)
    assert isinstance(stage.answers(stream)[-1].message, messages.Receipt)


async def test_a_request_that_ends_its_stream_is_cancelled_from_the_start() -> None:
    stage = await Stage().shake()
    await stage.open(REQUEST, end=True)
    assert stage.desk.inboxes[0].cancelled


async def test_a_voucher_after_the_end_is_late_and_only_so_many_are_looked_at() -> None:
    stage = await Stage().shake()
    stage.desk.release.set()
    stream = await stage.open(REQUEST)
    stage.desk.release.clear()
    for amount in range(_MAX_QUESTIONS + 5):
        stage.client.send(stream, voucher(amount))
    await stage.carry()
    assert stage.desk.late == list(range(_MAX_QUESTIONS))
    stage.client.send(stream, messages.Ack(), end=True)  # ignored
    await stage.carry()
    assert not stage.task.done()


async def test_every_question_has_its_answer() -> None:
    stage = await Stage().shake()
    stage.desk.release.set()
    for question, answer in (
        (messages.StateGet(), messages.State(1, 2, bytes(64), 3, 4)),
        (messages.ReceiptGet(b"i" * 16, None), messages.Receipt(b"i" * 352)),
        (messages.CloseRequest(5), messages.CloseAuth(5, 9, bytes(64))),
    ):
        stream = await stage.open(question, end=True)
        [received] = stage.answers(stream)
        assert (received.message, received.end) == (answer, True)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refusal(WireCode.NOT_FOUND, "no such thing"), WireCode.NOT_FOUND),
        (StoreError("disk /dev/sda1 is full"), WireCode.INTERNAL),
        (RuntimeError("SECRET-CANARY"), WireCode.INTERNAL),
    ],
)
async def test_what_goes_wrong_on_a_stream_is_its_error_frame(
    error: Exception, code: WireCode, caplog: pytest.LogCaptureFixture
) -> None:
    stage = await Stage().shake()
    stage.desk.error = error
    for message in (REQUEST, messages.StateGet()):
        said = stage.error(await stage.open(message, end=True))
        assert said.code == code
        assert "sda1" not in said.message
        assert "CANARY" not in said.message + caplog.text
    stage.desk.error = None
    await stage.open(REQUEST)
    assert len(stage.desk.inboxes) == 2  # the connection lives on


async def test_a_session_of_an_hour_takes_nothing_new() -> None:
    stage = await Stage().shake()
    stage.desk.release.set()
    questions = (
        REQUEST,
        messages.StateGet(),
        messages.ReceiptGet(None, 1),
        messages.CloseRequest(5),
    )
    streams = []
    for question in questions:
        streams.append(stage.client.open_stream())
        stage.client.send(streams[-1], question)
    stage.clock.now += MAX_AGE
    await stage.carry()
    for stream in streams:
        assert stage.error(stream).code == WireCode.DRAINING
    assert stage.desk.inboxes == []


async def test_a_request_that_has_to_wait_is_kept_as_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = await Stage().shake()
    kept: list[Asked] = []

    class Watched(Asked):
        __slots__ = ()

        def __init__(self, request: messages.Request, body: bytes) -> None:
            super().__init__(request, body)
            kept.append(self)

    monkeypatch.setattr("cocoon_provider.connection.Asked", Watched)
    stage.desk.error = Refusal(WireCode.NOT_FOUND, "no such thing")
    stage.connection._idle_pace = Pace(stage.clock, burst=1, per_second=0.001)
    for _ in range(2):
        await stage.open(REQUEST, end=True)
    waiting = await stage.open(REQUEST, end=True)
    assert not stage.answers(waiting)
    assert kept[-1]._request is None
    assert kept[-1].take() == (REQUEST, messages.encode_body(REQUEST))


async def test_late_vouchers_come_no_faster_than_other_questions() -> None:
    stage = await Stage().shake()
    stage.desk.release.set()
    stream = await stage.open(REQUEST)
    stage.connection._question_pace = Pace(stage.clock, burst=3, per_second=0.001)
    for amount in range(5):
        stage.client.send(stream, voucher(amount))
    await stage.carry()
    assert stage.desk.late == [0, 1, 2]


# --- ends


async def test_a_peers_close_cancels_what_runs_and_is_answered_after_it() -> None:
    stage = await Stage().shake()
    stream = await stage.open(REQUEST)
    stage.client.close()
    await stage.carry()
    await stage.over()
    assert stage.desk.inboxes[0].cancelled
    assert isinstance(stage.answers(stream)[-1].message, messages.Receipt)
    assert [e.reason for e in stage.events if isinstance(e, PeerClosed)] == [0]
    assert stage.socket.code == 1000


async def test_a_lost_peer_ends_its_requests_and_its_questions() -> None:
    stage = await Stage().shake()
    await stage.open(REQUEST)
    await stage.open(messages.StateGet(), end=True)
    await stage.socket.close(1006)
    await stage.over()
    assert stage.desk.inboxes[0].lost
    assert stage.desk.cancelled == 1
    assert stage.socket.aborted


@pytest.mark.parametrize("parts", [["text"], [b"one", b"two"], [b"\x10" * 300], [b""]])
async def test_what_is_no_record_ends_the_connection_without_a_word(
    parts: list[bytes | str],
) -> None:
    stage = await Stage().shake()
    await stage.open(REQUEST)
    stage.socket.sent.clear()
    stage.socket.arrived.put_nowait(parts)
    await stage.over()
    assert stage.socket.code == 4400
    assert stage.desk.inboxes[0].lost


async def test_a_full_gate_hangs_up_before_anything_is_read() -> None:
    stage = Stage(places=0)
    stage.client.start()
    for message in stage.client.outgoing():
        stage.socket.arrived.put_nowait([message])
    await stage.over()
    assert (stage.socket.code, stage.socket.sent) == (CLOSE_RATE, [])


async def test_the_gate_is_left_when_the_peer_is_known_or_gone() -> None:
    stage = await Stage(places=1).shake()
    assert not stage.gate.full
    other = Stage(places=1)
    await asyncio.sleep(0)
    assert other.gate.full
    await other.socket.close(1006)
    await other.over()
    assert not other.gate.full


async def test_going_away_says_close() -> None:
    stage = await Stage().shake()
    await stage.connection.go_away()
    await stage.carry()
    await stage.over()
    assert [e.reason for e in stage.events if isinstance(e, PeerClosed)] == [1]
    assert stage.socket.code == 1001
    await stage.connection.go_away()  # to a peer that is gone already: no error


async def test_drained_waits_for_requests_and_not_for_questions() -> None:
    stage = await Stage().shake()
    await stage.open(REQUEST)
    await stage.open(messages.StateGet(), end=True)
    waiting = asyncio.create_task(stage.connection.drained())
    await stage.carry()
    assert not waiting.done()
    stage.desk.inboxes[0].cancel()
    await stage.carry()
    assert waiting.done()


async def test_a_send_after_the_loss_is_refused() -> None:
    stage = await Stage().shake()
    await stage.socket.close(1006)
    await stage.over()
    with pytest.raises(ConnectionLostError):
        await stage.connection._wire.send(1, messages.Ack())


async def test_strict_padding_holds_the_work_back_and_keeps_no_answers_in_memory(
    sleeper: Sleeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(padding="strict")
    sleeper.clock = stage.clock
    written = 0

    async def serve(client: Client, request: Any, body: bytes, inbox: Inbox, send: Any) -> bool:
        nonlocal written
        for number in range(2_000):
            await send(messages.Delta(number, 0, messages.Channel.CONTENT, "x", [1]))
            written += 1
        return True

    monkeypatch.setattr(stage.desk, "serve", serve)
    stage.client.start()
    await sleeper.settle(stage)
    for _ in range(2):
        stage.client.send(stage.client.open_stream(), REQUEST)
    await sleeper.settle(stage)
    session = stage.connection._session
    assert session.unpaced <= MAX_UNPACED + 2
    before = written
    for _ in range(40):
        await sleeper.advance(stage, STRICT_INTERVAL)
    assert before + 60 <= written <= before + 100  # two cells a tick, and the work goes on
    assert session.unpaced <= MAX_UNPACED + 2
    await stage.socket.close(1006)
    await stage.over()  # who waits for a tick hears of the loss


# --- time


class Sleeper:
    """`asyncio.sleep` on the test's clock."""

    def __init__(self) -> None:
        self.clock: Clock | None = None
        self.real = asyncio.sleep
        self.moved = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        if not seconds or self.clock is None:
            await self.real(0)
            return
        until = self.clock.now + seconds
        while self.clock.now < until:
            await self.moved.wait()

    async def settle(self, stage: Stage) -> None:
        """Long enough for what strict padding lets go."""
        for _ in range(80):
            stage.client.pace()
            await self.advance(stage, STRICT_INTERVAL)

    async def advance(self, stage: Stage, seconds: float) -> None:
        stage.clock.now += seconds
        self.moved.set()
        self.moved = asyncio.Event()
        await stage.carry()


@pytest.fixture
async def sleeper(monkeypatch: pytest.MonkeyPatch) -> Sleeper:
    made = Sleeper()
    monkeypatch.setattr("cocoon_provider.connection.asyncio.sleep", made)
    return made


async def test_a_silent_peer_is_hung_up_on(sleeper: Sleeper) -> None:
    stage = Stage()
    sleeper.clock = stage.clock
    await stage.carry()
    await sleeper.advance(stage, HELLO_TIMEOUT - 0.1)
    assert stage.socket.code is None
    await sleeper.advance(stage, 0.2)
    await stage.over()
    assert stage.socket.code == 4408


async def test_a_session_at_work_is_not_idle_and_one_without_work_is(sleeper: Sleeper) -> None:
    stage = Stage()
    sleeper.clock = stage.clock
    await stage.shake()
    stream = await stage.open(REQUEST)
    for _ in range(3):
        await sleeper.advance(stage, IDLE_TIMEOUT + 10)
    assert not stage.task.done()
    stage.client.send(stream, messages.Cancel(), end=True)
    await stage.carry()
    for _ in range(3):
        await sleeper.advance(stage, IDLE_TIMEOUT + 10)
    await stage.over()
    assert stage.socket.code == 4408
    assert [e.reason for e in stage.events if isinstance(e, PeerClosed)] == [2]


async def test_an_old_session_ends_with_its_last_request_whoever_keeps_asking(
    sleeper: Sleeper,
) -> None:
    stage = Stage()
    sleeper.clock = stage.clock
    await stage.shake()
    stream = await stage.open(REQUEST)
    await sleeper.advance(stage, MAX_AGE + 1)
    assert not stage.task.done()
    stage.client._clock = lambda: 0.0  # this one does not know its age
    for _ in range(4):  # questions that are never answered
        await stage.open(messages.StateGet(), end=True)
        await sleeper.advance(stage, 1)
    assert not stage.task.done()
    stage.client.send(stream, messages.Cancel(), end=True)
    await stage.carry()
    for _ in range(4):
        if not stage.task.done():
            await stage.open(messages.StateGet(), end=True)
        await sleeper.advance(stage, 1)
    await stage.over()
    assert isinstance(stage.answers(stream)[-1].message, messages.Receipt)
    assert [e.reason for e in stage.events if isinstance(e, PeerClosed)] == [3]


async def test_questions_alone_do_not_keep_an_old_session(sleeper: Sleeper) -> None:
    stage = Stage()
    sleeper.clock = stage.clock
    await stage.shake()
    await stage.open(messages.StateGet(), end=True)  # never answered
    await sleeper.advance(stage, MAX_AGE + 1)
    for _ in range(3):
        await sleeper.advance(stage, 1)
    await stage.over()
    assert stage.socket.code == 4408
