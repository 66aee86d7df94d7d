"""What both sides of a session share once the keys are there: records in, events out, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import msgspec
from nacl.bindings import crypto_secretstream_xchacha20poly1305_TAG_FINAL as TAG_FINAL
from nacl.bindings import crypto_secretstream_xchacha20poly1305_TAG_MESSAGE as TAG_MESSAGE
from nacl.bindings import crypto_secretstream_xchacha20poly1305_TAG_REKEY as TAG_REKEY

from cocoon_sdk.protocol.constants import (
    CLOSE_TIMEOUT,
    DEFAULT_MAX_REQUEST,
    MAX_AGE,
    MAX_PLAINTEXT,
    MIN_PLAINTEXT,
)
from cocoon_sdk.protocol.errors import LocalProtocolError, RemoteProtocolError, TruncatedError
from cocoon_sdk.protocol.events import Event, MessageReceived, PeerClosed
from cocoon_sdk.protocol.frames import (
    FLAG_END,
    FLAG_MORE,
    FRAGMENTED,
    FRAME_HEADER,
    KNOWN_FLAGS,
    MAX_CHUNK,
    body_limits,
)
from cocoon_sdk.protocol.handshake import Random
from cocoon_sdk.protocol.keyschedule import SessionKeys
from cocoon_sdk.protocol.messages import (
    BodyError,
    Close,
    CloseReason,
    Cover,
    FrameType,
    Message,
    Ping,
    Pong,
    decode_body,
    encode_body,
    frame_type,
)
from cocoon_sdk.protocol.padding import PaddingPolicy, bucket, request_bucket
from cocoon_sdk.protocol.pings import PingLedger
from cocoon_sdk.protocol.records import RecordReader, RecordWriter
from cocoon_sdk.protocol.streams import StreamTable

Clock = Callable[[], float]

_FRAME_TYPES = {int(kind): kind for kind in FrameType}
_ENCODING_ERRORS = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)


class Connection(ABC):
    """One end of a session. Subclasses bring the handshake and the timeouts."""

    _is_client: ClassVar[bool]

    def __init__(
        self,
        *,
        random: Random,
        clock: Clock,
        padding: str = "default",
        max_request_bytes: int = DEFAULT_MAX_REQUEST,
    ) -> None:
        self._random = random
        self._clock = clock
        self._padding = PaddingPolicy.parse(padding)
        self._padded = self._padding is not PaddingPolicy.OFF
        self._streams = StreamTable(
            is_client=self._is_client, limits=body_limits(max_request_bytes)
        )
        self._pings = PingLedger(clock)
        self._outgoing: list[bytes] = []
        self._keys: SessionKeys | None = None
        self._writer: RecordWriter | None = None
        self._reader: RecordReader | None = None
        self._suite = 0
        self._max_chunk = MAX_CHUNK
        self._dead = False
        self._closed = False
        self._peer_closed = False
        self._established = self._active = clock()
        self.bytes_sent = 0
        self.bytes_received = 0

    @property
    def ready(self) -> bool:
        """Whether the handshake is over and the session neither failed nor closed by us."""
        return self._writer is not None and not self._dead and not self._closed

    @property
    def session_id(self) -> bytes:
        """16 bytes that both sides agree on; part of receipts."""
        return self._session().session_id

    @property
    def exporter(self) -> bytes:
        """32 secret bytes that bind other protocols to this session."""
        return self._session().exporter

    @property
    def suite(self) -> int:
        """The number of the cipher suite."""
        self._session()
        return self._suite

    @property
    def open_streams(self) -> int:
        """Streams that not both sides have ended."""
        return len(self._streams)

    @property
    def frames_sent(self) -> int:
        """Records sealed so far."""
        return 0 if self._writer is None else self._writer.count

    @property
    def frames_received(self) -> int:
        """Records opened so far."""
        return 0 if self._reader is None else self._reader.count

    def receive(self, message: bytes) -> list[Event]:
        """Take one whole binary websocket message.

        Raises:
            RemoteProtocolError: the peer broke the protocol; hang up with its `close_code`.
        """
        if self._dead:
            raise RemoteProtocolError("the session is over")
        self.bytes_received += len(message)
        try:
            if self._reader is None:
                return self._handshake(message)
            return self._record(self._reader, message)
        except RemoteProtocolError:
            self._kill()
            raise

    def send(self, stream: int, message: Message, *, end: bool = False) -> int:
        """Queue a message, cut into records as needed; `end` says that it is our last on the stream.

        Returns how many websocket messages were queued.

        Raises:
            LocalProtocolError: the protocol forbids it here and now; nothing was queued.
        """
        kind = frame_type(message)
        if kind is FrameType.CLOSE:
            raise LocalProtocolError("end a session with close()")
        writer = self._sendable()
        try:
            body = encode_body(message)
        except _ENCODING_ERRORS as error:
            raise LocalProtocolError(f"{kind.name} cannot be encoded: {error}") from error
        self._streams.check_send(stream, kind, len(body), end=end)
        if len(body) > self._max_chunk and kind not in FRAGMENTED:
            raise LocalProtocolError(f"{kind.name} of {len(body)} bytes exceeds the peer's records")
        if isinstance(message, Ping):
            self._pings.sending(message.token)
        count = self._seal(writer, stream, kind, body, end=end)
        self._streams.sent(stream, kind, end=end)
        if stream:
            self._active = self._clock()
        return count

    def outgoing(self) -> list[bytes]:
        """Drain the websocket messages to send, in order."""
        messages, self._outgoing = self._outgoing, []
        return messages

    def close(self, reason: CloseReason = CloseReason.NORMAL) -> None:
        """Queue our CLOSE; nothing can be sent after it. Calling it again changes nothing.

        Before the handshake is over there is no CLOSE to send: the session just ends.
        """
        if self._closed or self._dead:
            return
        if self._writer is None:
            self._kill()
            return
        self._closed = True
        body = encode_body(Close(reason))
        self._queue(self._writer, FrameType.CLOSE, 0, 0, body, TAG_FINAL)

    def eof(self) -> None:
        """The transport has ended.

        Raises:
            TruncatedError: without the peer's CLOSE; whatever it had not ended is incomplete.
        """
        if self._dead or self._peer_closed:
            self._dead = True
            return
        self._kill()
        raise TruncatedError("the connection ended without CLOSE", self._streams.unended)

    @abstractmethod
    def deadline(self) -> float | None:
        """When `on_timer` is next due, on the injected clock."""

    def on_timer(self) -> None:
        """To be called at `deadline()`; before it nothing happens.

        Raises:
            RemoteProtocolError: the peer was too slow, or the session too old (4408). After the
                handshake a CLOSE is left in `outgoing`, to be sent before hanging up.
        """
        due = self.deadline()
        if due is None or self._clock() < due:
            return
        if self._writer is None:
            self._kill()
            raise RemoteProtocolError("the handshake took too long", CLOSE_TIMEOUT)
        aged = self._clock() >= self._established + MAX_AGE
        self.close(CloseReason.AGE if aged else CloseReason.IDLE)
        self._dead = True
        raise RemoteProtocolError("the session is too old" if aged else "idle", CLOSE_TIMEOUT)

    @abstractmethod
    def _handshake(self, message: bytes) -> list[Event]:
        """Take a message while there are no keys."""

    def _establish(
        self, keys: SessionKeys, suite: int, *, max_plaintext: int = MAX_PLAINTEXT
    ) -> None:
        send, receive = (keys.c2s, keys.s2c) if self._is_client else (keys.s2c, keys.c2s)
        self._keys, self._suite = keys, suite
        self._writer = RecordWriter(send)
        self._reader = RecordReader(receive, padded=self._padded)
        self._max_chunk = max_plaintext - FRAME_HEADER.size
        self._established = self._active = self._clock()

    def _transmit(self, message: bytes) -> None:
        self._outgoing.append(message)
        self.bytes_sent += len(message)

    def _record(self, reader: RecordReader, message: bytes) -> list[Event]:
        if self._peer_closed:
            raise RemoteProtocolError("a record after CLOSE")
        plaintext, tag = reader.open(message)
        number, flags, stream, size = FRAME_HEADER.unpack_from(plaintext)
        end = FRAME_HEADER.size + size
        if end > len(plaintext):
            raise RemoteProtocolError(f"a body of {size} bytes overruns its record")
        if plaintext[end:] != bytes(len(plaintext) - end):
            raise RemoteProtocolError("padding that is not zero")
        kind = _FRAME_TYPES.get(number)
        if kind is None:
            raise RemoteProtocolError(f"unknown frame type {number}")
        if flags & ~KNOWN_FLAGS:
            raise RemoteProtocolError(f"unknown flags {flags:#04x}")
        closing = kind is FrameType.CLOSE
        if tag != (TAG_FINAL if closing else TAG_REKEY if flags & FLAG_END else TAG_MESSAGE):
            raise RemoteProtocolError(f"tag {tag} on a {kind.name} with flags {flags:#04x}")
        if kind is FrameType.DELTA and self._padded and len(plaintext) != MIN_PLAINTEXT:
            raise RemoteProtocolError("a DELTA outside the constant cell")
        body = self._streams.receive(stream, kind, flags, plaintext[FRAME_HEADER.size : end])
        if stream:
            self._active = self._clock()
        if body is None:
            return []
        try:
            decoded = decode_body(kind, body)
        except BodyError as error:
            raise RemoteProtocolError(str(error)) from error
        if stream == 0:
            return self._on_connection_frame(decoded, body)
        return [MessageReceived(stream, decoded, body, bool(flags & FLAG_END))]

    def _on_connection_frame(self, message: Message, body: bytes) -> list[Event]:
        match message:
            case Ping(token=token):
                self._pings.received()
                if self.ready:
                    self.send(0, Pong(token))
            case Pong(token=token):
                self._pings.answered(token)
            case Cover():
                pass
            case Close(reason=reason):
                self._peer_closed = True
                return [PeerClosed(reason, self._streams.unended)]
            case _:
                return [MessageReceived(0, message, body, end=False)]
        return []

    def _seal(
        self, writer: RecordWriter, stream: int, kind: FrameType, body: bytes, *, end: bool
    ) -> int:
        """Queue the records of one body."""
        limit = self._max_chunk
        view, count, start = memoryview(body), 1, 0
        while len(body) - start > limit:
            chunk = view[start : start + limit]
            self._queue(writer, kind, FLAG_MORE, stream, chunk, TAG_MESSAGE)
            start += limit
            count += 1
        flags, tag = (FLAG_END, TAG_REKEY) if end else (0, TAG_MESSAGE)
        self._queue(writer, kind, flags, stream, view[start:] if start else body, tag)
        return count

    def _queue(
        self,
        writer: RecordWriter,
        kind: FrameType,
        flags: int,
        stream: int,
        chunk: bytes | memoryview,
        tag: int,
    ) -> None:
        head = FRAME_HEADER.pack(kind, flags, stream, len(chunk))
        used = len(head) + len(chunk)
        padding = b""
        if self._padded:
            fit = request_bucket if kind is FrameType.REQUEST else bucket
            padding = bytes(fit(used) - used)
        self._transmit(writer.seal(b"".join((head, chunk, padding)), tag))

    def _sendable(self) -> RecordWriter:
        if self._dead:
            raise LocalProtocolError("the session has failed")
        if self._closed:
            raise LocalProtocolError("the session was closed by this side")
        if self._writer is None:
            raise LocalProtocolError("the handshake is not over")
        return self._writer

    def _session(self) -> SessionKeys:
        if self._keys is None:
            raise LocalProtocolError("the handshake is not over")
        return self._keys

    def _kill(self) -> None:
        self._dead = True
        self._outgoing.clear()
