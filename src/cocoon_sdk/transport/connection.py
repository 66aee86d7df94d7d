"""One websocket that carries one encrypted session: the thin driver under `protocol.ClientSession`."""

from __future__ import annotations

import asyncio
import contextlib
import time

from cocoon_sdk.errors import (
    CocoonError,
    DecryptionError,
    HandshakeError,
    StreamTruncatedError,
    WireCode,
)
from cocoon_sdk.protocol.constants import CLOSE_PROTOCOL, MAX_RECORDS, MAX_STREAMS
from cocoon_sdk.protocol.errors import ProtocolError, RemoteProtocolError, TruncatedError
from cocoon_sdk.protocol.events import HandshakeCompleted, MessageReceived, PeerClosed
from cocoon_sdk.protocol.messages import Attest, Error, Message
from cocoon_sdk.protocol.session import ClientSession
from cocoon_sdk.transport.challenge import SessionQuotes
from cocoon_sdk.transport.failures import error_of_session, twin
from cocoon_sdk.transport.gossip import HintBox
from cocoon_sdk.transport.guard import GuardedClient
from cocoon_sdk.transport.outbox import LOST, Outbox
from cocoon_sdk.transport.reach import Site
from cocoon_sdk.transport.rest import Rest
from cocoon_sdk.transport.slot import Slot
from cocoon_sdk.transport.stream import Stream

CLOSE_TIMEOUT = 2.0
HANG_UP_TIMEOUT = 0.2
_NORMAL = 1000


class Connection:
    """A live session. Made by `dial.open_connection`; it ends on the first failure or by `close`."""

    def __init__(self, websocket: GuardedClient, session: ClientSession, site: Site) -> None:
        self.site = site
        self._websocket = websocket
        self._session = session
        self._rest = Rest(time.monotonic)
        self._streams: dict[int, Stream] = {}
        self.quotes = SessionQuotes()
        self.hints = HintBox()
        self._promised = 0
        self._outbox = Outbox(websocket, session)
        self._greeted = False  # the handshake is over
        self._failure: CocoonError | None = None
        self._close_code = _NORMAL
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: asyncio.Task[None] | None = None
        self._handshake: asyncio.Future[HandshakeCompleted] = (
            asyncio.get_running_loop().create_future()
        )

    @property
    def session(self) -> ClientSession:
        """The protocol state, for its counters and ids."""
        return self._session

    @property
    def usable(self) -> bool:
        """Whether new streams may be opened here, as far as age and health go."""
        fit = self._failure is None and self._session.ready and not self._session.aged
        return fit and not (self.idle and self._rest.over)

    @property
    def idle(self) -> bool:
        """Whether nobody uses it now."""
        return not self._promised and not self._session.open_streams

    @property
    def ageing(self) -> bool:
        """Whether it is time to have another one ready; this one is still good for new streams."""
        return self._rest.ageing or self._session.frames_sent > MAX_RECORDS // 2

    @property
    def spent(self) -> bool:
        """Whether it can be dropped: it has failed, or is too old and nobody uses it."""
        return self._failure is not None or (self.idle and not self.usable)

    def slot(self) -> Slot | None:
        """The right to open one stream, or None where the connection is full or ending."""
        if not self.usable or self._session.open_streams + self._promised >= MAX_STREAMS:
            return None
        self._promised += 1
        return Slot(self)

    async def handshake(self) -> HandshakeCompleted:
        """Run the handshake; the provider is proved to hold the key that the registry names.

        Raises:
            HandshakeError, ConnectError: it could not be finished.
        """
        self._tasks = [
            asyncio.create_task(self._read(), name="cocoon-read"),
            asyncio.create_task(self._watch(), name="cocoon-watch"),
            asyncio.create_task(self._keep_pace(), name="cocoon-pace"),
        ]
        self._session.start()
        await self._write()
        return await asyncio.shield(self._handshake)

    def open_stream(self, message: Message, *, end: bool = False) -> Stream:
        """A new stream with its first message sealed and waiting for `flush`; see `Slot.open`."""
        self._check()
        try:
            stream = Stream(self, self._session.open_stream())
            self._session.send(stream.number, message, end=end)
        except ProtocolError as error:
            raise StreamTruncatedError(f"no new request fits on this session: {error}") from error
        self._streams[stream.number] = stream
        self._rest.begin()
        return stream

    def give_back(self) -> None:
        """One promised stream will not be opened, or was; for `Slot`."""
        self._promised -= 1

    def forget(self, stream: Stream) -> None:
        """Drop a stream that nobody reads any more."""
        self._streams.pop(stream.number, None)

    async def send(self, stream: int, message: Message, *, end: bool = False) -> None:
        """Seal one message and write all that is sealed.

        Raises:
            StreamTruncatedError, DecryptionError: the connection is over.
        """
        self._check()
        try:
            self._session.send(stream, message, end=end)
        except ProtocolError as error:
            raise StreamTruncatedError(f"this session takes no more frames: {error}") from error
        await self._write()

    async def flush(self) -> None:
        """Write what is sealed.

        Raises:
            StreamTruncatedError, DecryptionError: the connection is over.
        """
        self._check()
        await self._write()

    async def close(self) -> None:
        """Say CLOSE, end the websocket and the tasks. Never raises for a dead peer."""
        self._fail(StreamTruncatedError("the connection was closed by this client"))
        if self._ending is not None:
            await asyncio.shield(self._ending)

    def _check(self) -> None:
        if self._failure is not None:
            raise twin(self._failure)

    async def _write(self) -> None:
        try:
            await self._outbox.drain()
        except LOST as error:
            self._fail(self._truncated())
            raise twin(self._failure or self._truncated()) from error

    async def _read(self) -> None:
        try:
            while True:
                fragments = [part async for part in self._websocket.recv_streaming()]
                if len(fragments) != 1 or not isinstance(fragments[0], bytes):
                    raise RemoteProtocolError("a text or fragmented websocket message")
                for event in self._session.receive(fragments[0]):
                    self._dispatch(event)
                self._outbox.push()
        except LOST:
            self._fail(self._at_end())
        except RemoteProtocolError as error:
            self._close_code = error.close_code
            self._fail(error_of_session(error, handshaken=self._handshake.done()))
        except DecryptionError as error:
            self._close_code = CLOSE_PROTOCOL
            self._fail(error)
        except ProtocolError as error:
            self._fail(StreamTruncatedError(f"the session cannot go on: {error}"))

    def _at_end(self) -> CocoonError:
        if self._websocket.fault is not None:
            broken = RemoteProtocolError("a frame that has no place here", self._websocket.fault)
            return error_of_session(broken, handshaken=self._handshake.done())
        try:
            self._session.eof()
        except TruncatedError:
            return self._truncated()
        return StreamTruncatedError("the provider closed the connection")

    def _truncated(self) -> CocoonError:
        if not self._handshake.done():
            code = self._websocket.close_code
            return HandshakeError(
                "the provider ended the connection during the handshake"
                + (f" (close code {code})" if code else "")
                + "; it may be overloaded or not the provider that the registry names"
            )
        return StreamTruncatedError(
            "the connection to the provider was lost before the stream was complete"
        )

    async def _watch(self) -> None:
        while self._failure is None:
            deadline = self._session.deadline()
            now = time.monotonic()
            await asyncio.sleep(1.0 if deadline is None else min(1.0, max(0.01, deadline - now)))
            try:
                self._session.on_timer()
            except ProtocolError as error:
                self._fail(error_of_session(error, handshaken=self._handshake.done()))
            if self.idle and self._rest.over:  # before the provider does it, amid a new request
                self._fail(StreamTruncatedError("the connection was idle and is closed"))

    async def _keep_pace(self) -> None:
        try:
            await self._outbox.keep_pace()
        except LOST:
            self._fail(self._truncated())

    def _dispatch(self, event: object) -> None:
        match event:
            case HandshakeCompleted():
                self._greeted = True
                self._rest = Rest(time.monotonic)
                self._handshake.set_result(event)
            case MessageReceived(stream=0, message=Error(code=WireCode.REGISTRY_FORK) as hint):
                self.hints.deliver(hint)
            case MessageReceived(stream=0, message=Attest() | Error() as message):
                self.quotes.deliver(message)
            case MessageReceived(stream=0):
                pass  # connection-wide errors are hints; the stream that they concern ends by itself
            case MessageReceived(stream=number):
                self._rest.begin()
                stream = self._streams.get(number)
                if stream is not None:
                    stream.deliver(event)
            case PeerClosed():
                self._fail(StreamTruncatedError("the provider closed the connection"))

    def _fail(self, error: CocoonError) -> None:
        """The end, whoever causes it: readers are told, tasks and socket go in the background."""
        if self._failure is not None:
            return
        self._failure = error
        if not self._handshake.done():
            self._handshake.set_exception(twin(error))
            self._handshake.exception()  # marks it as seen, should nobody be waiting
        self.quotes.fail(error)
        for stream in self._streams.values():
            stream.deliver(error)
        self._ending = asyncio.get_running_loop().create_task(
            self._teardown(), name="cocoon-teardown"
        )

    async def _teardown(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._outbox.close()
        with contextlib.suppress(ProtocolError, *LOST):
            # Before the handshake is over there is nothing to say, and other addresses may be waiting.
            async with asyncio.timeout(CLOSE_TIMEOUT if self._greeted else HANG_UP_TIMEOUT):
                self._session.close()  # queues nothing where the session is dead
                await self._outbox.drain()
                await self._websocket.close(self._close_code)
        self._websocket.transport.abort()  # nothing happens where it is closed already
