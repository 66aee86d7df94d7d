"""Strict padding: one direction of a session as cells at a fixed rate (wire.md, "Padding").

While streams are open, each tick lets one record go for every open stream: the next that waits, or a COVER.
An answer's last frame is held back until its number of ticks is a round one. So the wire shows that somebody
asks, and roughly how long the answer takes, but neither its pace nor its exact length.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from cocoon_sdk.protocol.constants import STRICT_INTERVAL
from cocoon_sdk.protocol.padding import rounded_cells

Seal = Callable[[], object]
"""Seals one body and hands its records to `put`."""


class Pacer:
    """The records that wait for their tick. It counts ticks; the session says when one has come."""

    __slots__ = ("_clock", "_held", "_next", "_opened", "_ticks", "_waiting")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: deque[bytes] = deque()
        self._held: dict[int, tuple[int, Seal]] = {}
        self._opened: dict[int, int] = {}
        self._next = -math.inf
        self._ticks = 0

    @property
    def waiting(self) -> int:
        """Records that have not gone yet; it is for whoever writes to stop before they are many."""
        return len(self._waiting)

    def put(self, message: bytes) -> None:
        """Take a sealed record; they leave in the order in which they came."""
        self._waiting.append(message)

    def opened(self, stream: int) -> None:
        """A stream begins whose answer is to have a round length."""
        self._opened.setdefault(stream, self._ticks)

    def rounds(self, stream: int) -> bool:
        """Whether the answer on this stream is to have a round length."""
        return stream in self._opened

    def hold(self, stream: int, seal: Seal, streams: int) -> None:
        """Keep the last frame of an answer until its length is a round one."""
        begun = self._opened.pop(stream)
        before = math.ceil(len(self._waiting) / max(1, streams))  # ticks until its turn comes
        self._held[stream] = (begun + rounded_cells(self._ticks - begun + before + 1), seal)

    def due(self, streams: int) -> float | None:
        """When the next tick is; None while nothing is open and nothing waits."""
        if not (streams or self._waiting or self._held):
            return None
        return self._next

    def tick(self, streams: int, cover: Seal) -> list[bytes]:
        """What goes now, with `streams` open; only for when `due` says so."""
        now = self._clock()
        # A late tick is not made up for: nobody sends faster than the rate.
        self._next += STRICT_INTERVAL
        if self._next <= now:
            self._next = now + STRICT_INTERVAL
        self._ticks += 1
        cells = max(1, streams, len(self._held))
        for stream, (at, seal) in tuple(self._held.items()):
            if at <= self._ticks:
                del self._held[stream]
                seal()
        going: list[bytes] = []
        while len(going) < cells:
            if not self._waiting:
                cover()
            going.append(self._waiting.popleft())
        return going

    def drain(self) -> list[bytes]:
        """All that waits or is held: the session ends."""
        for _, seal in self._held.values():
            seal()
        self._held.clear()
        going = list(self._waiting)
        self._waiting.clear()
        return going
