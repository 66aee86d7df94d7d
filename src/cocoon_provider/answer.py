"""The frames of one answer: text batched into cells, the running hash, what was delivered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cocoon_provider.backends.base import Piece
from cocoon_provider.outcomes import Outcome
from cocoon_sdk.payments.receipt import ResponseHash
from cocoon_sdk.protocol.deltas import split_delta
from cocoon_sdk.protocol.messages import (
    Channel,
    Delta,
    FrameType,
    Result,
    encode_body,
)

FLUSH_BYTES = 240
FLUSH_SECONDS = 0.05

Send = Callable[[Delta | Result], Awaitable[None]]


class Answer:
    """Collects pieces and sends them as DELTAs: the first token at once, then by size or time.

    Attributes:
        delivered: Completion tokens in the DELTAs sent.
        waiting: Completion tokens not sent yet.
        reasoning: Those of `delivered` that were reasoning.
    """

    def __init__(self, send: Send, outcome: Outcome, clock: Callable[[], float]) -> None:
        self._send = send
        self._outcome = outcome
        self._clock = clock
        self._hash = ResponseHash()
        self._pieces: list[Piece] = []
        self._bytes = 0
        self._since = 0.0
        self._seq = 0  # of DELTAs and RESULTs together, so that a gap shows
        self.delivered = 0
        self.reasoning = 0
        self.waiting = 0

    @property
    def digest(self) -> bytes:
        """The running response hash over what was sent."""
        return self._hash.digest()

    def add(self, piece: Piece) -> None:
        """Take a piece of text from the backend."""
        if not self._pieces:
            self._since = self._clock()
        self._pieces.append(piece)
        self._bytes += len(piece.text.encode()) + 3 * len(piece.ids)
        self.waiting += len(piece.ids)

    def flush_at(self) -> float | None:
        """When the waiting text should be sent, on the clock; None if there is none."""
        if not self._pieces:
            return None
        if self.delivered == 0 or self._bytes >= FLUSH_BYTES:
            return self._since
        return self._since + FLUSH_SECONDS

    async def flush(self) -> None:
        """Send all that waits. It counts as delivered once handed to the connection."""
        pieces, self._pieces = self._pieces, []
        self._bytes = 0
        for choice, channel, group in _runs(pieces):
            texts = [(piece.text, piece.ids) for piece in group]
            for delta in split_delta(self._seq, choice, channel, texts):
                self._seq += 1
                self.waiting -= len(delta.ids)
                self.delivered += len(delta.ids)
                if channel is Channel.REASONING:
                    self.reasoning += len(delta.ids)
                await self._deliver(FrameType.DELTA, delta)

    async def result(self, kind: str, data: object) -> None:
        """Send one structured value in one part."""
        self._seq += 1
        await self._deliver(FrameType.RESULT, Result(self._seq - 1, 0, 1, kind, data))

    def discard(self) -> None:
        """Forget what waits: the request was cancelled, it is neither sent nor billed."""
        self._pieces, self._bytes, self.waiting = [], 0, 0

    async def _deliver(self, kind: FrameType, frame: Delta | Result) -> None:
        body = encode_body(frame)
        self._hash.update(kind, body)
        self._outcome.add(kind, body)
        await self._send(frame)


def _runs(pieces: list[Piece]) -> list[tuple[int, Channel, list[Piece]]]:
    """Neighbouring pieces of one choice and channel together, in order."""
    runs: list[tuple[int, Channel, list[Piece]]] = []
    for piece in pieces:
        if runs and runs[-1][:2] == (piece.choice, piece.channel):
            runs[-1][2].append(piece)
        else:
            runs.append((piece.choice, piece.channel, [piece]))
    return runs
