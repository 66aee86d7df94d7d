"""The life of one end of a session: before the keys, ready, closed by either side, dead."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

from cocoon_sdk.protocol.constants import MAX_AGE, MAX_RECORDS, SOFT_AGE, SOFT_RECORDS
from cocoon_sdk.protocol.errors import LocalProtocolError
from cocoon_sdk.protocol.pacing import Pacer
from cocoon_sdk.protocol.records import RecordReader, RecordWriter

Clock = Callable[[], float]

# Room for the records of the message under way and for CLOSE, so that a refusal queues nothing.
_LAST_RECORDS = 1 << 16


class Lifecycle:
    """State and counters that both roles expose. Record keys are held by nobody but the ciphers."""

    _idle: ClassVar[float] = math.inf  # seconds without a frame on any stream

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._outgoing: list[bytes] = []
        self._writer: RecordWriter | None = None
        self._reader: RecordReader | None = None
        self._pacer: Pacer | None = None  # of strict padding, once the keys are there
        self._session_id = self._exporter = b""
        self._suite = 0
        self._dead = False
        self._closed = False
        self._peer_closed = False
        self._established = math.inf
        self._active = clock()
        self._quiet = math.inf  # seconds that may pass from `_active`
        self.bytes_sent = 0
        self.bytes_received = 0

    @property
    def ready(self) -> bool:
        """Whether the handshake is over and neither a failure nor a CLOSE of either side came since."""
        return self._writer is not None and not (self._dead or self._closed or self._peer_closed)

    @property
    def aged(self) -> bool:
        """Whether the session is too old for new streams, in time or records; those that run may end."""
        worn = max(self.frames_sent, self.frames_received) >= SOFT_RECORDS
        return worn or self._clock() >= self._established + SOFT_AGE

    @property
    def session_id(self) -> bytes:
        """16 bytes that both sides agree on; part of receipts."""
        self._require_keys()
        return self._session_id

    @property
    def exporter(self) -> bytes:
        """32 secret bytes that bind other protocols to this session."""
        self._require_keys()
        return self._exporter

    @property
    def suite(self) -> int:
        """The number of the cipher suite."""
        self._require_keys()
        return self._suite

    @property
    def frames_sent(self) -> int:
        """Records sealed so far."""
        return 0 if self._writer is None else self._writer.count

    @property
    def frames_received(self) -> int:
        """Records opened so far."""
        return 0 if self._reader is None else self._reader.count

    def deadline(self) -> float | None:
        """When `on_timer` is next due, on the injected clock; None: never."""
        if self._dead or (self._closed and self._peer_closed):
            return None
        due = min(self._active + self._quiet, self._established + MAX_AGE)
        return None if due == math.inf else due

    @property
    def unpaced(self) -> int:
        """Records that wait for their tick; none where padding is not strict."""
        return 0 if self._pacer is None else self._pacer.waiting

    def outgoing(self) -> list[bytes]:
        """Drain the websocket messages to send now, in order."""
        messages, self._outgoing = self._outgoing, []
        return messages

    def _transmit(self, message: bytes) -> None:
        if self._pacer is None:
            self._outgoing.append(message)
        else:
            self._pacer.put(message)
        self.bytes_sent += len(message)

    def _touch(self, quiet: float) -> None:
        """Something happened now; the next thing is due within `quiet` seconds."""
        self._active = self._clock()
        self._quiet = quiet

    def _require_keys(self) -> RecordWriter:
        if self._writer is None:
            raise LocalProtocolError("the handshake is not over")
        return self._writer

    def _sendable(self) -> RecordWriter:
        if self._dead:
            raise LocalProtocolError("the session has failed")
        if self._closed:
            raise LocalProtocolError("the session was closed by this side")
        writer = self._require_keys()
        if writer.count > MAX_RECORDS - _LAST_RECORDS:
            raise LocalProtocolError(f"{writer.count} records were sent; open a new session")
        return writer

    def _kill(self) -> None:
        self._dead = True
        self._outgoing.clear()
