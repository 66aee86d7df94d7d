"""The sending half of a session: messages into records, at once or at the rate of strict padding."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import msgspec

from cocoon_sdk.protocol.challenges import ChallengeLedger
from cocoon_sdk.protocol.errors import LocalProtocolError
from cocoon_sdk.protocol.frames import MAX_CHUNK, body_limits
from cocoon_sdk.protocol.framing import pack_frame, pack_frames
from cocoon_sdk.protocol.lifecycle import Clock, Lifecycle
from cocoon_sdk.protocol.messages import (
    Close,
    CloseReason,
    FrameType,
    Message,
    Ping,
    encode_body,
    frame_type,
)
from cocoon_sdk.protocol.padding import PaddingPolicy
from cocoon_sdk.protocol.pings import PingLedger
from cocoon_sdk.protocol.records import RecordWriter
from cocoon_sdk.protocol.streams import StreamTable

_ENCODING_ERRORS = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)


class Sender(Lifecycle):
    """What a session may send, when, and in which records."""

    _is_client: ClassVar[bool]

    def __init__(self, clock: Clock, *, padding: str, max_request_bytes: int) -> None:
        super().__init__(clock)
        self._padding = PaddingPolicy.parse(padding)
        self._padded = self._padding is not PaddingPolicy.OFF
        self._streams = StreamTable(
            is_client=self._is_client, limits=body_limits(max_request_bytes)
        )
        self._pings = PingLedger(clock)
        self._challenges = ChallengeLedger()
        self._max_chunk = MAX_CHUNK

    @property
    def open_streams(self) -> int:
        """Streams that not both sides have ended."""
        return len(self._streams)

    def send(self, stream: int, message: Message, *, end: bool = False) -> int:
        """Queue a message, cut into records as needed; `end` says that it is our last on the stream.

        Returns how many websocket messages were queued. In strict padding they leave with `pace`, and the
        end of an answer, which is sealed later, counts as none.

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
        elif stream == 0:
            self._challenges.sending(message)
        if end and self._pacer is not None and self._pacer.rounds(stream):
            seal = partial(self._queue, writer, stream, kind, body, end=True)
            self._pacer.hold(stream, seal, self._audience)
            count = 0
        else:
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
        if self._pacer is not None:  # what waits for its tick goes now
            self._outgoing += self._pacer.drain()
            self._pacer = None
        self._queue(self._writer, 0, FrameType.CLOSE, encode_body(Close(reason)))

    @property
    def pace_at(self) -> float | None:
        """When `pace` is next due, on the injected clock; None: there is nothing to pace."""
        if self._pacer is None or self._dead:
            return None
        return self._pacer.due(self._audience)

    def pace(self) -> None:
        """Strict padding: let the records of one tick into `outgoing`. Before `pace_at` nothing happens."""
        at = self.pace_at
        if self._pacer is None or self._writer is None or at is None or self._clock() < at:
            return
        cover = partial(self._queue, self._writer, 0, FrameType.COVER, b"")
        self._outgoing += self._pacer.tick(self._audience, cover)

    @property
    def _audience(self) -> int:
        """Streams for which strict padding keeps its rate."""
        return 0 if self._peer_closed else len(self._streams)

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
