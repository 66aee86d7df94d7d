"""One user request: choose, reserve, try, and go elsewhere while nothing has been delivered."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial

from cocoon_sdk.errors import (
    CocoonError,
    DeadlineError,
    OverchargeError,
    RequestError,
    StreamTruncatedError,
    VerificationError,
)
from cocoon_sdk.payments.budget import BudgetLedger
from cocoon_sdk.payments.channel import PaymentChannel
from cocoon_sdk.protocol.messages import Delta, Request
from cocoon_sdk.registry.shared import AnySnapshot
from cocoon_sdk.routing.policy import Candidate, Ranking
from cocoon_sdk.transport.attempt import Attempt
from cocoon_sdk.transport.core import Core, total_deadline
from cocoon_sdk.transport.job import Deadlines, Item, Job
from cocoon_sdk.transport.opening import open_session, sites_of
from cocoon_sdk.transport.question import (
    Asked,
    Question,
    Trial,
    may_switch,
    nobody,
    origin_of,
    rank_providers,
)
from cocoon_sdk.transport.reach import Site
from cocoon_sdk.transport.slot import Slot
from cocoon_sdk.types.events import AttemptFailed, AttemptStarted

MAX_ATTEMPTS = 3  # two switches (sdk.md, "Choosing, failing over, hedging")
JITTER = (0.05, 0.25)


class RequestRun:
    """Runs a `Question`. Iterate `items()` once; `asked` is set before its first item."""

    def __init__(self, core: Core, question: Question) -> None:
        self._core = core
        self._question = question
        self._created = int(time.time())
        self._asked: Asked | None = None
        self._total_at = total_deadline(question.timeouts)
        self._attempt: Attempt | None = None
        self._stopped = False
        self._warm = False  # the last attempt ran on a session that had been open before

    @property
    def asked(self) -> Asked:
        """The provider that answers."""
        if self._asked is None:
            raise StreamTruncatedError("no provider has been asked yet; read the stream first")
        return self._asked

    @property
    def charged(self) -> int:
        """Nano that the answer has cost so far."""
        return self._attempt.charged if self._attempt is not None else 0

    def stop(self) -> None:
        """Stop paying now, even while another task reads: that one gets StreamTruncatedError."""
        self._stopped = True
        if self._attempt is not None:
            self._attempt.stop()

    async def items(self) -> AsyncGenerator[Item, None]:
        """The answer of the first provider that gives one.

        Raises:
            CocoonError: as `errors` describes; nothing is retried once text was delivered.
        """
        self._core.enter()
        channels, budget = await self._core.ledger()
        routing = self._question.routing
        snapshot = await self._core.registry.snapshot(
            self._question.model, [*routing.order, *channels], only=routing.only
        )
        ranking = self._rank(snapshot, channels)
        if not ranking.candidates:
            # Perhaps a channel was opened or topped up by another process.
            channels = await self._core.reload_channels()
            ranking = self._rank(snapshot, channels)
        if not ranking.candidates:
            raise nobody(self._question, snapshot, ranking)
        last: CocoonError | None = None
        candidates, number = deque(ranking.candidates[:MAX_ATTEMPTS]), 0
        again: list[Candidate] = []
        while candidates:
            candidate, number = candidates.popleft(), number + 1
            if last is not None:
                await asyncio.sleep(random.uniform(*JITTER))  # noqa: S311 - spreads load, no secret
            request_id = secrets.token_bytes(16)
            delivered = False
            trial = Trial(
                request_id,
                candidate,
                origin_of(snapshot, candidate),
                channels.get(candidate.provider),
            )
            try:
                await budget.open(request_id, candidate.highest, candidate.provider)
            except asyncio.CancelledError:  # it may have been written all the same
                await asyncio.wait({self._core.background(budget.settle(request_id, 0))})
                raise
            try:
                async with aclosing(self._try(trial, number, budget)) as items:
                    async for item in items:
                        delivered = delivered or isinstance(item, Delta)
                        yield item
                return
            except CocoonError as error:
                last = self._failed(error, candidate, request_id, number)
                if delivered or self._stopped or not may_switch(error):
                    raise
                if (
                    isinstance(error, StreamTruncatedError)
                    and self._warm
                    and candidate not in again
                ):
                    # An idle session ends at any moment; that says nothing about its provider.
                    again.append(candidate)
                    candidates.appendleft(candidate)
        assert last is not None  # noqa: S101 - there was at least one candidate
        raise last

    async def _try(
        self, trial: Trial, number: int, budget: BudgetLedger
    ) -> AsyncGenerator[Item, None]:
        """One candidate, with its reservation: the attempt settles it, or nothing was sent."""
        core, candidate, request_id = self._core, trial.candidate, trial.request_id
        attempt: Attempt | None = None
        slot: Slot | None = None
        try:
            core.emit(AttemptStarted(request_id.hex(), candidate.provider, number))
            self._warm = False
            sites = await sites_of(core, trial, allow_private=self._question.allow_private)
            proof, judge = None, core.attestations
            if judge is not None:
                proof = await judge.prove(candidate, sites[0], limit=self._connect_limit())
            slot, self._warm = await open_session(core, trial, sites, limit=self._connect_limit())
            if judge is not None and proof is not None:
                proof = await judge.prove_session(
                    slot.connection, candidate, proof, limit=self._connect_limit()
                )
            job = await self._job(trial, slot.connection.site, partial(budget.settle, request_id))
            if self._stopped:
                raise StreamTruncatedError("the stream was closed before its receipt")
            self._asked = Asked(
                completion_id=f"chatcmpl-{request_id.hex()}",
                model=self._question.model,
                created=self._created,
                provider=candidate.provider,
                attestation=proof.result if proof is not None else None,
            )
            attempt = self._attempt = Attempt(job, slot, core)
            async with aclosing(attempt.run()) as items:
                async for item in items:
                    yield item
        except VerificationError as error:
            core.distrust(candidate.provider, error)
            raise
        finally:
            if slot is not None:
                slot.release()
            if attempt is None:
                await asyncio.wait({core.background(budget.settle(request_id, 0))})

    def _connect_limit(self) -> float:
        limit = self._question.timeouts.connect
        if self._total_at is None:
            return limit
        left = self._total_at - time.monotonic()
        if left <= 0:
            raise DeadlineError(
                "the request's total time is over before a provider answered; raise the total timeout",
                phase="total",
            )
        return min(limit, left)

    def _rank(self, snapshot: AnySnapshot, channels: Mapping[str, PaymentChannel]) -> Ranking:
        return rank_providers(
            self._question,
            snapshot,
            funds={name: channel.available for name, channel in channels.items()},
            unopened=self._core.unopened,
            quarantined=self._core.quarantined,
        )

    async def _job(self, trial: Trial, site: Site, settle: Callable[[int], Awaitable[None]]) -> Job:
        question, candidate = self._question, trial.candidate
        offer, price = candidate.offer, candidate.price
        date = dt.datetime.now(dt.UTC).date().isoformat()
        tokenizer = await self._core.bundles.tokenizer(bytes.fromhex(offer.tokens), site)
        exact = None
        if tokenizer is not None and question.kind == "chat":
            messages = question.body["messages"]
            exact = len(await asyncio.to_thread(tokenizer.chat, messages, date=date))
            if exact > candidate.prompt_bound:
                raise OverchargeError(
                    f"the provider's template makes {exact} tokens of a prompt that has at most "
                    f"{candidate.prompt_bound} by its own descriptor"
                )
        return Job(
            request=Request(
                id=trial.request_id,
                kind="chat",
                model=question.model,
                model_hash=bytes.fromhex(offer.hash),
                body=dict(question.body),
                seed=question.seed,
                date=date,
                salt=question.salt,
                price=(price.prompt, price.cached, price.completion),
            ),
            provider_id=candidate.descriptor.public_key,
            network=trial.origin.network,
            window_tokens=candidate.descriptor.window,
            prompt_bound=candidate.prompt_bound if exact is None else exact,
            prompt_exact=exact,
            max_tokens=question.max_tokens,
            channel=trial.paying,
            codec=tokenizer,
            deadlines=Deadlines(
                first_token=question.timeouts.first_token,
                idle=question.timeouts.idle,
                total_at=self._total_at,
            ),
            store=self._core.store_receipt,
            settle=settle,
        )

    def _failed(
        self, error: CocoonError, candidate: Candidate, request_id: bytes, number: int
    ) -> CocoonError:
        self._core.emit(AttemptFailed(request_id.hex(), candidate.provider, error.code))
        if isinstance(error, RequestError):
            error.request_id = request_id
            error.attempts = number
        return error
