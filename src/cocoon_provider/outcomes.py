"""What was answered, for ten minutes: a retry gets the same frames again (wire.md, "Replay").

Bodies live in memory only and are capped; receipts of paid requests are durable in the books.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from cocoon_provider.refusals import Refusal
from cocoon_sdk.errors import WireCode
from cocoon_sdk.protocol.messages import Delta, FrameType, Receipt, Result, decode_body

if TYPE_CHECKING:
    from cocoon_provider.running import Running

KEEP_SECONDS = 600.0
MAX_ANSWER_BYTES = 96 * 1024
MAX_TOTAL_BYTES = 64 * 1024 * 1024
MAX_OUTCOMES = 50_000
_OVERHEAD = 1_024
_HEADER = struct.Struct("<BI")  # frame type, length of the body that follows

_Key = tuple[bytes, bytes]


@dataclass(slots=True)
class Outcome:
    """One request: its hash, the bodies of its answer while they fit, its receipt once it ended.

    Attributes:
        complete: Whether all the bodies so far are kept.
        count: How many frames the answer has, kept or not.
        running: Where the answer goes, while the request is served.
    """

    key: _Key
    request_hash: bytes
    ended_at: float = 0.0
    complete: bool = True
    count: int = 0
    receipt: Receipt | None = None
    running: Running | None = None
    _bodies: bytearray = field(default_factory=bytearray)  # objects would weigh many times as much

    @property
    def size(self) -> int:
        """Bytes that it takes in memory."""
        return _OVERHEAD + len(self._bodies)

    def add(self, kind: FrameType, body: bytes) -> None:
        """Keep a frame of the answer, unless the answer has become too long to keep."""
        self.count += 1
        if not self.complete:
            return
        self._bodies += _HEADER.pack(kind, len(body))
        self._bodies += body
        if len(self._bodies) > MAX_ANSWER_BYTES:
            self.complete, self._bodies = False, bytearray()

    def messages(self) -> list[Delta | Result]:
        """The frames that are kept: all of them, or none."""
        found, view, at = list[Delta | Result](), bytes(self._bodies), 0
        while at < len(view):
            kind, size = _HEADER.unpack_from(view, at)
            at += _HEADER.size
            frame = decode_body(FrameType(kind), view[at : at + size])
            found.append(cast("Delta | Result", frame))
            at += size
        return found


class Outcomes:
    """Requests by (client key, request id); anonymous clients share the empty key."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._running: dict[_Key, Outcome] = {}
        self._ended: OrderedDict[_Key, Outcome] = OrderedDict()  # the oldest first
        self._size = 0

    def find(self, client: bytes, request_id: bytes, request_hash: bytes) -> Outcome | None:
        """The outcome of the same request, which runs or has ended; None if it is new.

        Raises:
            Refusal: `duplicate_request`: not yet admitted, or the id was used for another request.
        """
        self._expire()
        key = client, request_id
        outcome = self._ended.get(key) or self._running.get(key)
        if outcome is None:
            return None
        if outcome.request_hash != request_hash:
            raise Refusal(
                WireCode.DUPLICATE_REQUEST,
                "this request id was used for another request; draw 16 fresh random bytes",
            )
        if outcome.receipt is None and outcome.running is None:
            raise Refusal(
                WireCode.DUPLICATE_REQUEST,
                "a request with this id is being looked at; ask again in a moment",
                retry_after_ms=1_000,
            )
        return outcome

    def begin(self, client: bytes, request_id: bytes, request_hash: bytes) -> Outcome:
        """Note a request that starts now."""
        outcome = self._running[client, request_id] = Outcome((client, request_id), request_hash)
        return outcome

    def end(self, outcome: Outcome, receipt: bytes) -> None:
        """The request has its receipt; it is kept from now on."""
        self._running.pop(outcome.key, None)
        outcome.receipt = Receipt(receipt)
        outcome.running = None
        outcome.ended_at = self._clock()
        self._ended[outcome.key] = outcome
        self._size += outcome.size
        self._expire()

    def forget(self, outcome: Outcome) -> None:
        """Drop a request that was refused: it may be tried again under the same id."""
        outcome.running = None
        self._running.pop(outcome.key, None)

    def _expire(self) -> None:
        horizon = self._clock() - KEEP_SECONDS
        while self._ended:
            oldest = next(iter(self._ended.values()))
            crowded = self._size > MAX_TOTAL_BYTES or len(self._ended) > MAX_OUTCOMES
            if oldest.ended_at > horizon and not crowded:
                return
            del self._ended[oldest.key]
            self._size -= oldest.size
