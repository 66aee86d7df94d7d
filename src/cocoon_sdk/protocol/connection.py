"""What both sides of a session share once the keys are there: records in, events out, and back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cocoon_sdk.protocol.agreement import Random
from cocoon_sdk.protocol.constants import (
    CLOSE_TIMEOUT,
    MAX_AGE,
    MAX_PLAINTEXT,
    MIN_PLAINTEXT,
)
from cocoon_sdk.protocol.errors import RemoteProtocolError, TruncatedError
from cocoon_sdk.protocol.events import Event, MessageReceived, PeerClosed
from cocoon_sdk.protocol.frames import FLAG_END, FRAME_HEADER
from cocoon_sdk.protocol.framing import unpack_frame
from cocoon_sdk.protocol.keyschedule import SessionKeys
from cocoon_sdk.protocol.lifecycle import Clock
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
)
from cocoon_sdk.protocol.records import RecordReader, RecordWriter
from cocoon_sdk.protocol.sending import Sender


class Connection(Sender):
    """One end of a session. Subclasses bring the handshake: a chain of `_step`s, the last of which is ours."""

    def __init__(
        self,
        *,
        random: Random,
        clock: Clock,
        padding: str,
        max_request_bytes: int,
    ) -> None:
        super().__init__(clock, padding=padding, max_request_bytes=max_request_bytes)
        self._random = random
        self._step: Callable[[bytes], list[Event]] = self._too_early

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
        # The stream header makes the first record longer, which would mark a DELTA.
        if self._is_client and reader.count == 1 and kind is not FrameType.PING:
            raise RemoteProtocolError(f"the provider's first record is a {kind.name}, not a PING")
        body = self._streams.receive(stream, kind, flags, chunk)
        if kind is FrameType.REQUEST and self._pacer is not None:
            self._pacer.opened(stream)
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
                    self._queue(self._require_keys(), 0, FrameType.PONG, token)
            case Pong(token=token):
                self._pings.answered(token)
            case Cover():
                pass
            case Close(reason=reason):
                self._peer_closed = True
                return [PeerClosed(reason, self._streams.unended)]
            case _:
                self._challenges.received(message)
                return [MessageReceived(0, message, body, end=False)]
        return []
