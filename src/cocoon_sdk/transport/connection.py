"""One websocket that carries one encrypted session: the thin driver under `protocol.ClientSession`."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException

from cocoon_sdk.errors import ConnectError, DecryptionError, HandshakeError, StreamTruncatedError
from cocoon_sdk.keys import Signer
from cocoon_sdk.protocol.constants import CLOSE_TIMEOUT as CLOSE_CODE_TIMEOUT
from cocoon_sdk.protocol.constants import MAX_MESSAGE, SUBPROTOCOL
from cocoon_sdk.protocol.errors import ProtocolError, RemoteProtocolError, TruncatedError
from cocoon_sdk.protocol.events import HandshakeCompleted, MessageReceived, PeerClosed
from cocoon_sdk.protocol.messages import CloseReason, Message
from cocoon_sdk.protocol.params import ChannelId, RegistryRef
from cocoon_sdk.protocol.session import ClientSession
from cocoon_sdk.registry.endpoint import Endpoint

MAX_QUEUE = 16  # wire.md, "Limits"
WRITE_TIMEOUT = 30.0
# A stream's frames wait here while the application reads; an honest provider stays far below this,
# since it works at most one paid window ahead.
MAX_PENDING_FRAMES = 1024
CLOSE_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class Site:
    """Where a provider is: the URL it signed, and the address that was checked and is dialled."""

    endpoint: Endpoint
    address: str


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom a connection is for and as whom we come. `signer` None means anonymous."""

    site: Site
    provider_id: bytes
    signer: Signer | None
    channel: ChannelId | None
    registry: RegistryRef | None

    @property
    def key(self) -> tuple[str, bytes, bytes]:
        """What makes two connections interchangeable."""
        return (
            self.site.endpoint.url,
            self.provider_id,
            self.signer.public_key if self.signer is not None else b"",
        )


class Stream:
    """One request's frames on a connection."""

    def __init__(self, connection: Connection, number: int) -> None:
        self._connection = connection
        self._frames: asyncio.Queue[MessageReceived | Exception] = asyncio.Queue()
        self.number = number
        self.ended = False

    async def send(self, message: Message, *, end: bool = False) -> None:
        """Send one message; `end` says that this side is done with the stream."""
        await self._connection.send(self.number, message, end=end)

    async def receive(self) -> MessageReceived:
        """The next message.

        Raises:
            StreamTruncatedError: the connection ended before the stream did.
            DecryptionError: a record did not authenticate.
        """
        item = await self._frames.get()
        if isinstance(item, Exception):
            self._frames.put_nowait(item)  # every later call ends the same way
            raise item
        self.ended = self.ended or item.end
        return item

    def deliver(self, item: MessageReceived | Exception) -> None:
        """Called by the connection's reader."""
        if self._frames.qsize() >= MAX_PENDING_FRAMES and not isinstance(item, Exception):
            raise DecryptionError("the provider sent far more than was paid for; connection closed")
        self._frames.put_nowait(item)


class Connection:
    """A live session. Made by `open_connection`; closed once, by whoever holds it."""

    def __init__(self, websocket: ClientConnection, session: ClientSession, peer: Peer) -> None:
        self._websocket = websocket
        self._session = session
        self._streams: dict[int, Stream] = {}
        self._write_lock = asyncio.Lock()
        self._sealed: deque[bytes] = deque()
        self._failure: Exception | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._handshake: asyncio.Future[HandshakeCompleted] = (
            asyncio.get_running_loop().create_future()
        )
        self.peer = peer

    @property
    def session(self) -> ClientSession:
        """The protocol state, for its counters and ids."""
        return self._session

    @property
    def usable(self) -> bool:
        """Whether new streams may be opened here, as far as age and health go."""
        return self._failure is None and self._session.ready and not self._session.aged

    @property
    def over(self) -> bool:
        """Whether nobody can use this any more: it failed, or aged with no stream left."""
        return self._failure is not None or (not self.usable and self.open_streams == 0)

    @property
    def open_streams(self) -> int:
        """How many streams are in use."""
        return self._session.open_streams

    async def handshake(self, limit: float) -> HandshakeCompleted:
        """Run the handshake; the provider is proved to hold the key that the registry names."""
        self._tasks = [
            asyncio.create_task(self._read(), name="cocoon-read"),
            asyncio.create_task(self._watch(), name="cocoon-watch"),
        ]
        self._session.start()
        await self._flush()
        async with asyncio.timeout(limit):
            return await asyncio.shield(self._handshake)

    def open_stream(self) -> Stream:
        """A new stream with the next odd id."""
        if self._failure is not None:
            raise self._failure
        stream = Stream(self, self._session.open_stream())
        self._streams[stream.number] = stream
        return stream

    def forget(self, stream: Stream) -> None:
        """Drop a stream that both sides have ended, or that nobody reads any more."""
        self._streams.pop(stream.number, None)

    async def send(self, stream: int, message: Message, *, end: bool) -> None:
        """Queue one message and write all that is queued."""
        if self._failure is not None:
            raise self._failure
        self._session.send(stream, message, end=end)
        await self._flush()

    async def close(self) -> None:
        """Say CLOSE, end the websocket and the tasks. Never raises for a dead peer."""
        if self._failure is None and self._session.ready:
            with contextlib.suppress(ProtocolError, WebSocketException, TimeoutError, OSError):
                self._session.close(CloseReason.NORMAL)
                await self._flush()
        self._fail(StreamTruncatedError("the connection was closed by this client"))
        await self._teardown()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _teardown(self) -> None:
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(WebSocketException, TimeoutError, OSError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._websocket.close()

    async def _flush(self) -> None:
        # Sealed records must all go out, in order: what a cancelled writer leaves behind waits here for
        # the next one. A record that was handed to the websocket is written even then.
        async with self._write_lock:
            self._sealed.extend(self._session.outgoing())
            while self._sealed:
                async with asyncio.timeout(WRITE_TIMEOUT):
                    await self._websocket.send(self._sealed.popleft())

    async def _read(self) -> None:
        try:
            async for message in self._websocket:
                if isinstance(message, str):
                    raise DecryptionError("the provider sent a text message; connection closed")
                for event in self._session.receive(message):
                    self._dispatch(event)
                await self._flush()
            self._session.eof()
            self._fail(StreamTruncatedError("the provider closed the connection"))
        except TruncatedError:
            self._fail(self._truncated())
        except RemoteProtocolError as error:
            self._fail(_as_user_error(error, handshaken=self._handshake.done()))
        except (WebSocketException, TimeoutError, OSError):
            self._fail(self._truncated())
        except DecryptionError as error:
            self._fail(error)

    def _truncated(self) -> Exception:
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
                await self._flush()
            except ProtocolError as error:
                self._fail(_as_user_error(error, handshaken=self._handshake.done()))
            except (WebSocketException, TimeoutError, OSError):
                self._fail(self._truncated())

    def _dispatch(self, event: object) -> None:
        match event:
            case HandshakeCompleted():
                self._handshake.set_result(event)
            case MessageReceived(stream=0):
                pass  # connection-wide errors are hints; the stream that they concern ends by itself
            case MessageReceived(stream=number):
                stream = self._streams.get(number)
                if stream is not None:
                    stream.deliver(event)
            case PeerClosed():
                self._fail(StreamTruncatedError("the provider closed the connection"))

    def _fail(self, error: Exception) -> None:
        if self._failure is not None:
            return
        self._failure = error
        if not self._handshake.done():
            self._handshake.set_exception(error)
            self._handshake.exception()  # marks it as seen, should nobody be waiting
        for stream in self._streams.values():
            if not stream.ended:
                stream.deliver(error)


def _as_user_error(error: ProtocolError, *, handshaken: bool) -> Exception:
    if isinstance(error, RemoteProtocolError) and error.close_code == CLOSE_CODE_TIMEOUT:
        if handshaken:
            return StreamTruncatedError(f"the session with the provider ended: {error}")
        return ConnectError(f"the provider did not finish the handshake: {error}")
    if not handshaken:
        return HandshakeError(
            f"the provider could not prove that it is the one in the registry: {error}"
        )
    return DecryptionError(f"the provider broke the encrypted session: {error}")


async def open_connection(peer: Peer, *, limit: float, padding: str = "default") -> Connection:
    """Dial, upgrade and run the handshake within `limit` seconds.

    Raises:
        ConnectError: nobody answers there, or it does not speak the subprotocol.
        HandshakeError: somebody answers who is not this provider.
    """
    session = ClientSession(
        provider_id=peer.provider_id,
        signer=peer.signer,
        channel=peer.channel,
        registry=peer.registry,
        random=secrets.token_bytes,
        clock=time.monotonic,
        padding=padding,
    )
    started = time.monotonic()
    url = peer.site.endpoint.url
    try:
        websocket = await connect(
            url,
            host=peer.site.address,  # not resolved a second time
            port=peer.site.endpoint.port,
            proxy=None,
            subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]  # a NewType of str
            compression=None,
            max_size=MAX_MESSAGE,
            max_queue=MAX_QUEUE,
            open_timeout=limit,
            user_agent_header=None,  # no fingerprint (wire.md, "Messages")
        )
    except (InvalidURI, InvalidHandshake) as error:
        raise ConnectError(
            f"{url} answers but does not speak {SUBPROTOCOL}; the registry may be out of date"
        ) from error
    except (OSError, TimeoutError) as error:
        raise ConnectError(
            f"cannot reach {url}: {error or 'timed out'}; "
            "the provider may be down, another one can be chosen"
        ) from error
    connection = Connection(websocket, session, peer)
    try:
        if websocket.subprotocol != SUBPROTOCOL:
            raise ConnectError(f"{url} did not select the subprotocol {SUBPROTOCOL}")
        await connection.handshake(max(0.1, limit - (time.monotonic() - started)))
    except TimeoutError as error:
        await connection.close()
        raise ConnectError(f"{url} did not finish the handshake in {limit:g} s") from error
    except BaseException:
        await connection.close()
        raise
    return connection
