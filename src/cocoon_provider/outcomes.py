"""What was answered, for ten minutes: a retry gets the same frames again (wire.md, "Replay").

Bodies live in memory only and are capped; receipts of paid requests are durable in the books.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from cocoon_provider.refusals import Refusal
from cocoon_sdk.errors import WireCode
from cocoon_sdk.protocol.messages import Delta, Receipt, Result

KEEP_SECONDS = 600.0
MAX_ANSWER_BYTES = 256 * 1024
MAX_TOTAL_BYTES = 64 * 1024 * 1024
MAX_OUTCOMES = 50_000
_OVERHEAD = 1_024


@dataclass(slots=True)
class Outcome:
    """One request: its hash, the frames of its answer while they fit, its receipt once it ended."""

    request_hash: bytes
    at: float
    frames: list[Delta | Result] = field(default_factory=list)
    size: int = _OVERHEAD
    complete: bool = True
    receipt: Receipt | None = None


class Outcomes:
    """Requests by (client key, request id); anonymous clients share the empty key."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[bytes, bytes], Outcome] = OrderedDict()
        self._size = 0

    def find(self, client: bytes, request_id: bytes, request_hash: bytes) -> Outcome | None:
        """The outcome of the same request; None if it is new.

        Raises:
            Refusal: `duplicate_request`: running now, or the id was used for another request.
        """
        self._expire()
        outcome = self._kept.get((client, request_id))
        if outcome is None:
            return None
        if outcome.request_hash != request_hash:
            raise Refusal(
                WireCode.DUPLICATE_REQUEST,
                "this request id was used for another request; draw 16 fresh random bytes",
            )
        if outcome.receipt is None:
            raise Refusal(
                WireCode.DUPLICATE_REQUEST,
                "a request with this id is running already; wait for its receipt",
                retry_after_ms=1_000,
            )
        return outcome

    def begin(self, client: bytes, request_id: bytes, request_hash: bytes) -> Outcome:
        """Note a request that starts now."""
        outcome = Outcome(request_hash, self._clock())
        self._kept[client, request_id] = outcome
        self._size += outcome.size
        return outcome

    def add(self, outcome: Outcome, frame: Delta | Result, size: int) -> None:
        """Keep a frame of the answer, unless the answer has become too long to keep."""
        if not outcome.complete:
            return
        if outcome.size + size > MAX_ANSWER_BYTES:
            self._size -= outcome.size - _OVERHEAD
            outcome.frames, outcome.size, outcome.complete = [], _OVERHEAD, False
            return
        outcome.frames.append(frame)
        outcome.size += size
        self._size += size

    def end(self, outcome: Outcome, receipt: bytes) -> None:
        """The request has its receipt; it is kept from now on."""
        outcome.receipt = Receipt(receipt)
        outcome.at = self._clock()

    def forget(self, client: bytes, request_id: bytes) -> None:
        """Drop a request that was refused: it may be tried again under the same id."""
        outcome = self._kept.pop((client, request_id), None)
        if outcome is not None:
            self._size -= outcome.size

    def _expire(self) -> None:
        horizon = self._clock() - KEEP_SECONDS
        for key, outcome in list(self._kept.items()):
            crowded = self._size > MAX_TOTAL_BYTES or len(self._kept) > MAX_OUTCOMES
            if outcome.receipt is None:
                continue
            if outcome.at > horizon and not crowded:
                break
            self.forget(*key)
