"""The loop that serves one request: grant what is paid, deliver, meter, end with a receipt."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from cocoon_provider.answer import Answer
from cocoon_provider.backends.base import Finished, Generation, Piece, Prefilled
from cocoon_provider.billing import Billing
from cocoon_provider.failures import describe
from cocoon_provider.feed import Feed
from cocoon_provider.inbox import ConnectionLostError, Inbox, Send
from cocoon_provider.limits import Place
from cocoon_provider.refusals import Refusal, internal_refusal, refusal_of
from cocoon_provider.steps import first_step, next_steps
from cocoon_sdk.errors import CocoonError, WireCode
from cocoon_sdk.payments.meter import COMPLETION_STEP, Counts
from cocoon_sdk.payments.receipt import FinishReason
from cocoon_sdk.protocol import messages

log = logging.getLogger(__name__)

VOUCHER_TIMEOUT = 10.0
QUEUE_INTERVAL = 5.0
_STALL_SECONDS = 0.5  # a backend that holds text back may have used up its grant unseen
_POLL_SECONDS = 1.0


class Serving:
    """One request, from its place in line to the receipt's bytes. Run it once."""

    def __init__(
        self,
        *,
        generation: Generation,
        billing: Billing,
        answer: Answer,
        inbox: Inbox,
        place: Place,
        send: Send,
        clock: Callable[[], float],
    ) -> None:
        self._generation = generation
        self._billing = billing
        self._answer = answer
        self._inbox = inbox
        self._place = place
        self._send = send
        self._clock = clock
        self._counts = Counts()
        self._metered = Counts()
        self._granted = first_step(generation.prompt_tokens)
        self._unpaid_since: float | None = None
        self._quiet_since = clock()
        self._finished: Finished | None = None
        self._feed = Feed(generation, inbox.wake)

    async def run(self) -> bytes | None:
        """Serve. The receipt; None where nothing was billed and an ERROR ended the stream.

        Never raises for what client or backend did; the ERROR frame has been sent by then.
        """
        refusal: Refusal | None = None
        reason = FinishReason.ERROR
        try:
            with self._billing.listening(self._inbox.wake):
                await self._wait_in_line()
                reason = await self._produce()
        except Refusal as error:
            refusal = error
        except ConnectionLostError:
            reason = FinishReason.CANCELLED
        except CocoonError as error:
            log.warning("a request failed: %s", error.code)
            refusal = refusal_of(error)
        except asyncio.CancelledError:
            await asyncio.shield(self._stop())
            raise
        except Exception as error:  # noqa: BLE001 - the client gets an ERROR, the log its place
            log.error("a request failed unexpectedly: %s", describe(error))
            refusal = internal_refusal()
        await self._stop()
        return await self._conclude(reason, refusal)

    async def _conclude(self, reason: FinishReason, refusal: Refusal | None) -> bytes | None:
        final = self._final_counts()
        if refusal is not None and final == Counts():
            await self._billing.drop()
            await self._try_send(refusal.frame(), end=True)
            return None
        raw = await self._billing.finish(final, self._answer.digest, reason)
        if refusal is not None:
            await self._try_send(refusal.frame())
        return raw

    async def _try_send(self, message: messages.Message, *, end: bool = False) -> None:
        if self._inbox.lost:
            return
        try:
            await self._send(message, end=end)
        except ConnectionLostError:
            self._inbox.cancel(lost=True)

    def _final_counts(self) -> Counts:
        """What is billed: the prompt as METERed and the tokens in DELTAs (wire.md, CANCEL)."""
        prefill = self._metered if self._billing.metered else self._counts
        return Counts(
            prefill.prompt, prefill.cached, self._answer.delivered, self._answer.reasoning
        )

    async def _wait_in_line(self) -> None:
        self._place.on_turn(self._inbox.wake.set)
        told_at: float | None = None
        while not self._place.ready and not self._inbox.stopped:
            self._inbox.wake.clear()
            now = self._clock()
            if told_at is None or now - told_at >= QUEUE_INTERVAL:
                await self._send(messages.Queue(*self._place.position()))
                told_at = now
            await self._nap(told_at + QUEUE_INTERVAL - now)

    async def _produce(self) -> FinishReason:
        if not self._inbox.stopped:
            self._grant(self._granted)
        while True:
            self._inbox.wake.clear()
            if self._inbox.stopped:
                self._answer.discard()
                return FinishReason.CANCELLED
            for _ in range(len(self._inbox.vouchers)):  # no more: others arrive meanwhile
                await self._billing.voucher(self._inbox.vouchers.popleft())
            self._absorb()
            if self._flush_due():
                await self._answer.flush()
            self._count_delivered()
            if self._finished is not None:
                return await self._complete(self._finished)
            if self._feed.ended and not self._feed.events:
                await self._answer.flush()
                self._count_delivered()
                raise self._feed.failure()
            if self._meter_due():
                await self._answer.flush()
                self._count_delivered()
                await self._meter()
            elif self._unpaid_since is not None:
                await self._meter()
            self._check_paid()
            if not self._feed.events and not self._inbox.vouchers:
                await self._sleep()

    async def _complete(self, finished: Finished) -> FinishReason:
        await self._answer.flush()
        self._count_delivered()
        if self._counts.prefilled > self._metered.prefilled:
            await self._meter()  # the model ended at once: the prompt was worked off all the same
        for choice, reason in enumerate(finished.reasons):
            await self._answer.result("finish", {"choice": choice, "reason": reason})
        if "cancelled" in finished.reasons:
            return FinishReason.CANCELLED
        return FinishReason.LENGTH if "length" in finished.reasons else FinishReason.STOP

    def _absorb(self) -> None:
        """Take what the backend has produced."""
        if self._feed.events:
            self._quiet_since = self._clock()
        while self._feed.events:
            event = self._feed.events.popleft()
            match event:
                case Prefilled(prompt=prompt, cached=cached):
                    self._counts = self._counts._replace(prompt=prompt, cached=cached)
                case Piece():
                    self._answer.add(event)
                    if self._answer.delivered == 0:
                        return  # the first token goes out before anything else is looked at
                case Finished():
                    self._finished = event

    def _flush_due(self) -> bool:
        at = self._answer.flush_at()
        return at is not None and self._clock() >= at

    def _count_delivered(self) -> None:
        self._counts = self._counts._replace(
            completion=self._answer.delivered, reasoning=self._answer.reasoning
        )

    def _meter_due(self) -> bool:
        """After each prompt step, after 16 tokens, and when the backend has used up its grant."""
        if self._counts.prefilled > self._metered.prefilled:
            return True
        fresh = self._answer.delivered + self._answer.waiting - self._metered.completion
        if fresh >= COMPLETION_STEP:
            return True
        return fresh > 0 and self._clock() - self._quiet_since >= _STALL_SECONDS

    async def _meter(self) -> None:
        """Make the due durable, reserve the next step, tell the client, let the backend go on."""
        counts, digest = self._counts, self._answer.digest
        progress = await self._billing.advance(counts, digest, next_steps(counts, self._generation))
        news, self._metered = counts != self._metered, counts
        if news and self._billing.metered:
            await self._send(
                messages.Meter(
                    counts.prompt,
                    counts.cached,
                    counts.completion,
                    digest,
                    progress.due,
                    progress.wanted,
                )
            )
        if progress.granted is not None:
            self._unpaid_since = None
            self._grant(progress.granted)
        elif self._unpaid_since is None and counts.completion < self._generation.max_tokens:
            self._unpaid_since = self._clock()

    def _grant(self, target: Counts) -> None:
        self._granted = target
        self._generation.grant(prompt=target.prefilled, completion=target.completion)

    def _check_paid(self) -> None:
        if self._unpaid_since is None:
            return
        if self._clock() - self._unpaid_since >= VOUCHER_TIMEOUT:
            raise Refusal(
                WireCode.PAYMENT_REQUIRED,
                f"no sufficient voucher came within {VOUCHER_TIMEOUT:g} s; the answer stops here",
            )

    async def _sleep(self) -> None:
        """Until something arrives or a timer is due."""
        now = self._clock()
        wakes = [now + _POLL_SECONDS]
        flush_at = self._answer.flush_at()
        if flush_at is not None:
            wakes.append(flush_at)
        if self._answer.delivered + self._answer.waiting > self._metered.completion:
            stalled_at = self._quiet_since + _STALL_SECONDS
            if stalled_at > now:
                wakes.append(stalled_at)
        await self._nap(min(wakes) - now)

    async def _nap(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._inbox.wake.wait()
        except TimeoutError:
            return

    async def _stop(self) -> None:
        self._place.leave()
        await self._feed.stop()
