"""What both sides of a session share once the keys are there: records in, events out, and back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import msgspec

from cocoon_sdk.protocol.constants import (
    CLOSE_TIMEOUT,
    MAX_AGE,
    MAX_PLAINTEXT,
    MIN_PLAINTEXT,
)
from cocoon_sdk.protocol.errors import LocalProtocolError, RemoteProtocolError, TruncatedError
from cocoon_sdk.protocol.events import Event, MessageReceived, PeerClosed
from cocoon_sdk.protocol.frames import (
    FLAG_END,
    FRAME_HEADER,
    MAX_CHUNK,
    body_limits,
)
from cocoon_sdk.protocol.framing import pack_frame, pack_frames, unpack_frame
from cocoon_sdk.protocol.handshake import Random
from cocoon_sdk.protocol.keyschedule import SessionKeys
from cocoon_sdk.protocol.lifecycle import Clock, Lifecycle
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
from cocoon_sdk.protocol.padding import PaddingPolicy
from cocoon_sdk.protocol.pings import PingLedger
from cocoon_sdk.protocol.records import RecordReader, RecordWriter
from cocoon_sdk.protocol.streams import StreamTable

_ENCODING_ERRORS = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)


class Connection(Lifecycle):
    """One end of a session. Subclasses bring the handshake: a chain of `_step`s, the last of which is ours."""

    _is_client: ClassVar[bool]

    def __init__(
        self,
        *,
        random: Random,
        clock: Clock,
        padding: str,
        max_request_bytes: int,
    ) -> None:
        super().__init__(clock)
        self._random = random
        self._padding = PaddingPolicy.parse(padding)
        self._padded = self._padding is not PaddingPolicy.OFF
        self._streams = StreamTable(
            is_client=self._is_client, limits=body_limits(max_request_bytes)
        )
        self._pings = PingLedger(clock)
        self._max_chunk = MAX_CHUNK
        self._step: Callable[[bytes], list[Event]] = self._too_early

    @property
    def open_streams(self) -> int:
        """Streams that not both sides have ended."""
        return len(self._streams)

    def receive(self, message: bytes) -> list[Event]:
        """Take one whole binary websocket message.

        Raises:
            RemoteProtocolError: the peer broke the protocol; hang up with its `close_code`.
        """
        if self._dead:
            raise RemoteProtocolError("the session is over")
        self.bytes_received += len(message)
        try:
            return self._step(message)
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
        if kind is FrameType.CLOSE or kind is FrameType.PONG:
            raise LocalProtocolError(f"{kind.name} is the session's own: see close() and receive()")
        writer = self._sendable()
        try:
            body = encode_body(message)
        except _ENCODING_ERRORS as error:
            raise LocalProtocolError(f"{kind.name} cannot be encoded: {error}") from error
        self._streams.check_send(stream, kind, len(body), end=end)
        if isinstance(message, Ping):
            self._pings.sending(message.token)
        count = self._queue(writer, stream, kind, body, end=end)
        self._streams.sent(stream, kind, end=end)
        if stream:
            self._touch(self._idle)
        return count

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
        self._queue(self._writer, 0, FrameType.CLOSE, encode_body(Close(reason)))

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

    def _establish(
        self, keys: SessionKeys, suite: int, *, max_plaintext: int = MAX_PLAINTEXT
    ) -> None:
        send, receive = (keys.c2s, keys.s2c) if self._is_client else (keys.s2c, keys.c2s)
        self._session_id, self._exporter, self._suite = keys.session_id, keys.exporter, suite
        self._writer = RecordWriter(send)
        self._reader = RecordReader(receive, padded=self._padded)
        self._max_chunk = max_plaintext - FRAME_HEADER.size
        self._established = self._clock()
        self._step = partial(self._record, self._reader)  # lets go of the handshake's secrets

    @staticmethod
    def _too_early(_message: bytes) -> list[Event]:
        raise RemoteProtocolError("the peer spoke first")

    def _record(self, reader: RecordReader, message: bytes) -> list[Event]:
        if self._peer_closed:
            raise RemoteProtocolError("a record after CLOSE")
        plaintext, tag = reader.open(message)
        kind, flags, stream, chunk = unpack_frame(plaintext, tag)
        if kind is FrameType.DELTA and self._padded and len(plaintext) != MIN_PLAINTEXT:
            raise RemoteProtocolError("a DELTA outside the constant cell")
        body = self._streams.receive(stream, kind, flags, chunk)
        if stream:
            self._touch(self._idle)
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
                if not self._closed:
                    self._queue(self._sendable(), 0, FrameType.PONG, token)
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

    def _queue(
        self, writer: RecordWriter, stream: int, kind: FrameType, body: bytes, *, end: bool = False
    ) -> int:
        """Seal the records of one body; how many they are."""
        if len(body) <= self._max_chunk:  # nearly all, and each token of an answer comes this way
            plaintext, tag = pack_frame(kind, stream, body, end=end, padded=self._padded)
            self._transmit(writer.seal(plaintext, tag))
            return 1
        before = writer.count
        for plaintext, tag in pack_frames(
            kind, stream, body, end=end, limit=self._max_chunk, padded=self._padded
        ):
            self._transmit(writer.seal(plaintext, tag))
        return writer.count - before
