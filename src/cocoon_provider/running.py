"""A request that is being served, apart from the stream on which its client listens (wire.md, "Replay").

The client may lose its connection before we notice, and send the same request again on another one. Then
the answer moves there: what was sent is sent again, and it goes on from that point. The work itself, its
vouchers and its receipt stay the same, so nothing is done or charged twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from cocoon_provider.inbox import Inbox, Send
from cocoon_provider.outcomes import Outcome
from cocoon_provider.refusals import Refusal
from cocoon_sdk.errors import WireCode
from cocoon_sdk.protocol import messages

_REPEATED = (messages.Delta, messages.Result, messages.Meter)


@dataclass(slots=True, eq=False)
class _Seat:
    """A stream on which the answer is awaited."""

    inbox: Inbox
    send: Send
    moved: asyncio.Future[None]


class Running:
    """One request's work, and where its frames go.

    Attributes:
        inbox: What the work hears of its client, on whichever stream that is.
    """

    def __init__(self, outcome: Outcome) -> None:
        self.inbox = Inbox()
        self._outcome = outcome
        self._lock = asyncio.Lock()  # one writer: the work, or whoever takes over
        self._seat: _Seat | None = None
        self._repeated = 0  # frames of the answer that the last take-over has brought
        self._meter: tuple[int, messages.Meter] | None = None  # the last, after so many frames
        self._hold: asyncio.Timeout | None = None
        self._work: asyncio.Task[bool] | None = None

    async def start(self, work: Coroutine[None, None, bool], inbox: Inbox, send: Send) -> bool:
        """Run the work for the stream that asked for it; its result.

        Raises:
            Refusal: another stream took over.
        """
        seat = self._sit(inbox, send)
        self._work = asyncio.create_task(work, name="cocoon-request")
        return await self._wait(seat, self._work)

    async def take_over(self, inbox: Inbox, send: Send) -> bool:
        """Go on on another stream, from the first frame of the answer.

        Raises:
            Refusal: the answer is too long to be sent again, or yet another stream took over.
            ConnectionLostError: the new connection is gone as well.
        """
        if self._work is None or not self._outcome.complete:
            raise Refusal(
                WireCode.DUPLICATE_REQUEST,
                "a request with this id is running, and what it has answered cannot be sent again; "
                "wait for its receipt",
                retry_after_ms=1_000,
            )
        seat = self._sit(inbox, send)
        async with self._lock:
            await self._repeat(seat)
        return await self._wait(seat, self._work)

    async def send(self, message: messages.Message, *, end: bool = False) -> None:
        """For the work: send on the stream that listens now.

        Raises:
            ConnectionLostError: its connection is gone.
        """
        while True:
            async with self._lock:
                seat = self._seat
                if seat is None or self._is_repeated(message):
                    return
                if isinstance(message, messages.Meter):
                    self._meter = self._outcome.count, message
                if await self._sent(seat, message, end=end) or isinstance(message, _REPEATED):
                    return  # or the new stream gets it with all the rest

    def _sit(self, inbox: Inbox, send: Send) -> _Seat:
        """From now on this stream is the one that counts."""
        before = self._seat
        seat = self._seat = _Seat(inbox, send, asyncio.get_running_loop().create_future())
        if before is not None:
            before.inbox.lead_to(None)
            before.moved.set_result(None)
            self.inbox.lost = False
        inbox.lead_to(self.inbox)
        if (
            self._hold is not None and not self._hold.expired()
        ):  # the old stream may be one that nobody reads
            self._hold.reschedule(asyncio.get_running_loop().time())
        return seat

    async def _wait(self, seat: _Seat, work: asyncio.Task[bool]) -> bool:
        either: set[asyncio.Future[Any]] = {work, seat.moved}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if seat is self._seat:
                work.cancel()
                await asyncio.wait({work})
            raise
        if seat is not self._seat:
            raise Refusal(
                WireCode.DUPLICATE_REQUEST,
                "the same request came on another connection, where its answer goes on",
            )
        return work.result()

    async def _repeat(self, seat: _Seat) -> None:
        meter_after, meter = self._meter or (-1, None)
        frames = self._outcome.messages()
        self._repeated = len(frames)
        for number, frame in enumerate(frames):
            if number == meter_after and meter is not None:
                await self._sent(seat, meter)
            await self._sent(seat, frame)
        if meter_after == len(frames) and meter is not None:
            await self._sent(seat, meter)

    def _is_repeated(self, message: messages.Message) -> bool:
        return (
            isinstance(message, messages.Delta | messages.Result) and message.seq < self._repeated
        )

    async def _sent(self, seat: _Seat, message: messages.Message, *, end: bool = False) -> bool:
        """Send, unless another stream takes over before it is written: then False."""
        if seat is not self._seat:
            return False
        try:
            async with asyncio.timeout(None) as self._hold:
                await seat.send(message, end=end)
        except TimeoutError:
            return False
        finally:
            self._hold = None
        return True
