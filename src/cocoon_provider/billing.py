"""How one stream is paid for: against a channel, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from cocoon_provider.book import ChannelBook
from cocoon_provider.ledger import Progress
from cocoon_provider.mirror import ChannelMirror
from cocoon_provider.opening import Ended, Opening
from cocoon_provider.refusals import Refusal
from cocoon_provider.tables import ChannelKey
from cocoon_sdk.errors import WireCode
from cocoon_sdk.payments.meter import Counts, Price, window_cost
from cocoon_sdk.payments.receipt import (
    FinishReason,
    ResponseHash,
)
from cocoon_sdk.protocol import messages
from cocoon_sdk.ton.address import Address


@dataclass(frozen=True, slots=True)
class Job:
    """The facts of one accepted request that its receipt and its price depend on.

    Attributes:
        max_tokens: Over all choices.
        window_tokens: K of our descriptor.
    """

    request_id: bytes
    request_hash: bytes
    session_id: bytes
    model_hash: bytes
    price: Price
    prompt_tokens: int
    max_tokens: int
    window_tokens: int


class Billing(Protocol):
    """What the serving loop asks about money."""

    @property
    def metered(self) -> bool:
        """Whether METERs are sent and vouchers awaited."""

    async def open(self, first: Counts, voucher: messages.Voucher | None) -> Ended | None:
        """Enter the stream, its first step reserved; or the receipt it had got before."""

    async def voucher(self, voucher: messages.Voucher) -> None:
        """Take a voucher that arrived on the stream."""

    async def advance(
        self, counts: Counts, response_hash: bytes, targets: Sequence[Counts]
    ) -> Progress:
        """Make progress durable and reserve one of the targets, the first that is paid for."""

    async def finish(self, counts: Counts, response_hash: bytes, reason: FinishReason) -> bytes:
        """End the stream; its receipt."""

    async def drop(self) -> None:
        """Forget a stream of which nothing was billed or delivered."""

    def listening(self, wake: asyncio.Event) -> AbstractContextManager[None]:
        """A context in which `wake` is set when a payment may have arrived."""


class ChannelBilling:
    """Billing against one channel, by the rules of payments.md §3."""

    def __init__(
        self, book: ChannelBook, mirror: ChannelMirror, key: ChannelKey, client_key: bytes, job: Job
    ) -> None:
        self._book = book
        self._mirror = mirror
        self._key = key
        self._client_key = client_key
        self._job = job
        self._granted = Counts()
        # (due, counts) of the METERs that the client may still acknowledge, oldest first
        self._marks: list[tuple[int, Counts]] = [(0, Counts())]

    @property
    def metered(self) -> bool:
        """Free models on a channel have receipts, but nothing to meter."""
        return not self._job.price.free

    async def open(self, first: Counts, voucher: messages.Voucher | None) -> Ended | None:
        """See `opening.open_stream`."""
        if voucher is None and self.metered:
            raise Refusal(
                WireCode.PAYMENT_REQUIRED,
                "this model is not free; the request must carry the channel's highest voucher",
            )
        opening = Opening(
            request_id=self._job.request_id,
            request_hash=self._job.request_hash,
            session_id=self._job.session_id,
            model_hash=self._job.model_hash,
            price=self._job.price,
            window=self._window(Counts()),
            first=first,
            response_hash=ResponseHash().digest(),
        )
        self._granted = first
        return await self._book.open_stream(self._key, opening, voucher, self._client_key)

    async def voucher(self, voucher: messages.Voucher) -> None:
        """Take it; where the mirror cannot cover it, look for a top-up and try again."""
        while len(self._marks) > 1 and self._marks[1][0] <= voucher.acked_due:
            self._marks.pop(0)
        due, counts = self._marks[0]
        window_end = due + self._window(counts)
        try:
            await self._take(voucher, window_end)
        except Refusal as refusal:
            if refusal.code is not WireCode.INSUFFICIENT_FUNDS:
                raise
            try:
                await self._mirror.usable(
                    Address.parse(self._key.address), self._client_key, cover=voucher.cumulative
                )
            except Refusal:
                raise refusal from None
            await self._take(voucher, window_end)

    async def advance(
        self, counts: Counts, response_hash: bytes, targets: Sequence[Counts]
    ) -> Progress:
        """See `ledger.advance`; on a free model every step is paid for and nothing is durable."""
        if not self.metered:
            return Progress(0, 0, targets[0] if targets else None)
        progress = await self._book.advance(
            self._key,
            self._job.request_id,
            counts,
            response_hash,
            window=self._window(counts),
            granted=self._granted,
            targets=targets,
        )
        self._granted = progress.granted or self._granted
        if self._marks[-1][1] != counts:
            self._marks.append((progress.due, counts))
        return progress

    async def finish(self, counts: Counts, response_hash: bytes, reason: FinishReason) -> bytes:
        """See `ledger.finish`."""
        return await self._book.finish(
            self._key, self._job.request_id, counts, response_hash, reason
        )

    async def drop(self) -> None:
        """See `ledger.drop`."""
        await self._book.drop(self._key, self._job.request_id)

    @contextmanager
    def listening(self, wake: asyncio.Event) -> Iterator[None]:
        """Woken by every change of the channel."""
        with self._book.listening(self._key, wake):
            yield

    def _window(self, counts: Counts) -> int:
        return window_cost(
            self._job.price,
            counts,
            prompt_total=self._job.prompt_tokens,
            max_tokens=self._job.max_tokens,
            k=self._job.window_tokens,
        )

    async def _take(self, voucher: messages.Voucher, window_end: int) -> None:
        await self._book.take_voucher(
            self._key, self._job.request_id, voucher, self._client_key, window_end
        )
