"""Bounds on what strangers can make the provider do before they are known (wire.md, "Limits")."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from cocoon_provider.refusals import Refusal
from cocoon_sdk.errors import WireCode

Clock = Callable[[], float]

MAX_TRACKED_CLIENTS = 10_000
MAX_PAUSE = 5.0


class Patience:
    """How often a client may leave before anything is billed (wire.md, CANCEL): each time costs a step of work.

    Args:
        times: At once.
        seconds: After which one time is forgotten.
    """

    def __init__(self, clock: Clock, *, times: int = 32, seconds: float = 4.0) -> None:
        self._clock = clock
        self._times = times
        self._seconds = seconds
        self._counted: OrderedDict[bytes, tuple[float, float]] = OrderedDict()  # (times, at)

    def check(self, client: bytes) -> None:
        """Whether this client may ask again now.

        Raises:
            Refusal: `overloaded`, with the time after which it may.
        """
        over = self._now(client) - (self._times - 1)
        if over > 0:
            raise Refusal(
                WireCode.OVERLOADED,
                "too many requests of this channel ended before anything was billed; wait a moment",
                retry_after_ms=int(over * self._seconds * 1000) + 1,
            )

    def count(self, client: bytes) -> None:
        """A request of this client ended unbilled."""
        times = self._now(client) + 1
        self._counted.pop(client, None)
        self._counted[client] = times, self._clock()
        while len(self._counted) > MAX_TRACKED_CLIENTS:
            self._counted.popitem(last=False)

    def _now(self, client: bytes) -> float:
        times, at = self._counted.get(client, (0.0, 0.0))
        return max(0.0, times - max(0.0, self._clock() - at) / self._seconds)


class Pace:
    """How fast one connection may have us work for nothing.

    What exceeds it waits, and keeps its stream meanwhile: the eight streams bound the flood, and nothing
    else on the connection suffers.

    Args:
        burst: At once.
        per_second: From then on.
    """

    def __init__(self, clock: Clock, *, burst: int, per_second: float) -> None:
        self._clock = clock
        self._burst = burst
        self._rate = per_second
        self._used = 0.0
        self._at = clock()

    def count(self) -> None:
        """Something was done that brought nothing."""
        now = self._clock()
        self._used = max(0.0, self._used - max(0.0, now - self._at) * self._rate) + 1
        self._at = now

    @property
    def delay(self) -> float:
        """Seconds until the next thing may be done."""
        over = self._used - max(0.0, self._clock() - self._at) * self._rate - self._burst
        return min(MAX_PAUSE, max(0.0, over) / self._rate)

    async def wait(self) -> None:
        """Until the next thing may be done."""
        delay = self.delay
        if delay:
            await asyncio.sleep(delay)


class HandshakeGate:
    """A cap on handshakes in progress, and one line for their public-key work.

    Slow peers hold a place until the handshake times out, but never the line.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._line = asyncio.Lock()
        self._inside = 0

    @property
    def full(self) -> bool:
        """Whether another connection would be refused."""
        return self._inside >= self._limit

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold a place until the peer is known.

        Raises:
            Refusal: `overloaded`, all places are taken.
        """
        if self.full:
            raise Refusal(WireCode.OVERLOADED, "too many handshakes are in progress")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait in line for one piece of public-key work; established sessions run in between."""
        async with self._line:
            await asyncio.sleep(0)
            yield


class RequestLine:
    """How many requests run at once and how many wait, first come first served."""

    def __init__(self, *, active: int, waiting: int, estimate_ms: int = 2_000) -> None:
        self._free = active
        self._max_waiting = waiting
        self._max_of_one = max(1, waiting * 3 // 4)
        self._estimate_ms = estimate_ms
        self._line: OrderedDict[Place, asyncio.Future[None]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many requests stand in line."""
        return len(self._line)

    def enter(self, origin: str = "") -> Place:
        """Take a slot or a place in line. One origin gets at most three quarters of the line.

        Raises:
            Refusal: `overloaded`, with an estimate of when a place will be free.
        """
        if self._free > 0:
            self._free -= 1
            return Place(self, None, origin)
        mine = sum(1 for place in self._line if place.origin == origin) if origin else 0
        if len(self._line) >= self._max_waiting or mine >= self._max_of_one:
            raise Refusal(
                WireCode.OVERLOADED,
                f"{len(self._line)} requests are waiting, {mine} of them of this address; "
                "this provider takes no more",
                retry_after_ms=self._estimate_ms * (len(self._line) + 1),
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = Place(self, turn, origin)
        self._line[place] = turn
        return place

    def position(self, place: Place) -> tuple[int, int]:
        """How many stand before this place, itself included, and the estimated wait in milliseconds."""
        index = list(self._line).index(place) + 1 if place in self._line else 0
        return index, index * self._estimate_ms

    def leave(self, place: Place) -> None:
        """Give the slot or the place in line back; the next in line moves up."""
        turn = self._line.pop(place, None)
        if turn is not None and not turn.done():
            turn.cancel()
            return
        while self._line:
            _, following = self._line.popitem(last=False)
            if not following.done():
                following.set_result(None)
                return
        self._free += 1


class Place:
    """One request's slot, or its place in the line for one. Leave it exactly once."""

    def __init__(self, line: RequestLine, turn: asyncio.Future[None] | None, origin: str) -> None:
        self._line = line
        self._turn = turn
        self.origin = origin
        self._left = False

    @property
    def ready(self) -> bool:
        """Whether the slot is held."""
        return self._turn is None or (self._turn.done() and not self._turn.cancelled())

    def on_turn(self, call: Callable[[], object]) -> None:
        """Call this, from the event loop, once the slot is held."""
        if self._turn is not None:
            self._turn.add_done_callback(lambda _: call())

    def position(self) -> tuple[int, int]:
        """See `RequestLine.position`."""
        return self._line.position(self)

    def leave(self) -> None:
        """Give it back. Idempotent."""
        if not self._left:
            self._left = True
            self._line.leave(self)
