"""One user request: choose, reserve, try, and go elsewhere while nothing has been delivered."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from cocoon_sdk.errors import (
    BudgetExceededError,
    CocoonError,
    ConfigError,
    InsufficientFundsError,
    InvalidRequestError,
    ModelNotFoundError,
    NoProviderError,
    RegistryError,
    RequestError,
    StreamTruncatedError,
    VerificationError,
)
from cocoon_sdk.payments.amounts import format_amount
from cocoon_sdk.payments.budget import Reservation
from cocoon_sdk.payments.channel import PaymentChannel
from cocoon_sdk.protocol.messages import Delta, Request
from cocoon_sdk.protocol.params import ChannelId, RegistryRef
from cocoon_sdk.registry.endpoint import parse_endpoint, resolve_endpoint
from cocoon_sdk.registry.model import Descriptor
from cocoon_sdk.registry.snapshot import Snapshot
from cocoon_sdk.routing.policy import Assurance, Candidate, Ranking, Routing, Wish, rank
from cocoon_sdk.ton.chain import DEVNET_NETWORK
from cocoon_sdk.transport.attempt import Attempt, Deadlines, Done, Finish, Job
from cocoon_sdk.transport.bundle import tokenizer_for
from cocoon_sdk.transport.connection import Peer, Site
from cocoon_sdk.transport.core import Core, Timeouts, total_deadline
from cocoon_sdk.types.events import AttemptFailed, AttemptStarted, SessionReady

MAX_ATTEMPTS = 3  # two switches (sdk.md, "Choosing, failing over, hedging")
JITTER = (0.05, 0.25)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the user asked, the same for every provider."""

    model: str
    kind: str
    body: Mapping[str, Any]
    prompt_bytes: int
    message_count: int
    max_tokens: int
    seed: int
    assurance: Assurance
    routing: Routing
    timeouts: Timeouts
    allow_private: bool
    salt: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who answers: the fields that replies repeat."""

    completion_id: str
    model: str
    created: int
    provider: str
    assurance: str


class RequestRun:
    """Runs a `Question`. Iterate `items()` once; `asked` is set before its first item."""

    def __init__(self, core: Core, question: Question) -> None:
        self._core = core
        self._question = question
        self._created = int(time.time())
        self._asked: Asked | None = None
        self._started = time.monotonic()
        self._total_at = total_deadline(question.timeouts)
        self.charged = 0

    @property
    def asked(self) -> Asked:
        """The provider that answers."""
        if self._asked is None:
            raise StreamTruncatedError("no provider has been asked yet; read the stream first")
        return self._asked

    async def items(self) -> AsyncGenerator[Delta | Finish | Done, None]:
        """The answer of the first provider that gives one.

        Raises:
            CocoonError: as `errors` describes; nothing is retried once text was delivered.
        """
        self._core.enter()
        snapshot = await self._core.registry.snapshot()
        channels, budget = await self._core.ledger()
        ranking = self._rank(snapshot, channels)
        if not ranking.candidates:
            raise self._nobody(snapshot, ranking)
        last: CocoonError | None = None
        for number, candidate in enumerate(ranking.candidates[:MAX_ATTEMPTS], start=1):
            if last is not None:
                await asyncio.sleep(random.uniform(*JITTER))  # noqa: S311 - spreads load, no secret
            request_id = secrets.token_bytes(16)
            self._core.emit(AttemptStarted(request_id.hex(), candidate.provider, number))
            delivered = False
            async with budget.reserve(request_id, candidate.highest, candidate.provider) as charge:
                try:
                    site = await self._site(candidate, snapshot)
                    job = await self._job(request_id, candidate, site, snapshot, channels)
                    async with aclosing(
                        self._attempt(job, candidate, site, snapshot, charge)
                    ) as items:
                        async for item in items:
                            delivered = delivered or isinstance(item, Delta)
                            yield item
                    return
                except CocoonError as error:
                    last = self._failed(error, candidate, request_id, number)
                    if delivered or not _may_switch(error):
                        raise
        assert last is not None  # noqa: S101 - there was at least one candidate
        raise last

    def _rank(self, snapshot: Snapshot, channels: Mapping[str, PaymentChannel]) -> Ranking:
        question, now = self._question, int(time.time())
        descriptors: list[Descriptor] = []
        unusable: dict[str, str] = {}
        for listed in snapshot.for_model(question.model):
            try:
                descriptors.append(listed.verify(now))
            except RegistryError as error:
                unusable[listed.id] = str(error)
        overhead = max((_overhead(one, question.message_count) for one in descriptors), default=0)
        wish = Wish(
            model=question.model,
            prompt_tokens=question.prompt_bytes + overhead,
            max_tokens=question.max_tokens,
            assurance=question.assurance,
        )
        ranking = rank(
            descriptors,
            wish,
            question.routing,
            funds={name: channel.available for name, channel in channels.items()},
            quarantined=self._core.quarantined,
        )
        return replace(ranking, rejections={**unusable, **ranking.rejections})

    def _nobody(self, snapshot: Snapshot, ranking: Ranking) -> CocoonError:
        if not ranking.rejections:
            known = sorted({model for one in snapshot.providers for model in one.models})
            return ModelNotFoundError(
                f"no provider in the registry lists the model {self._question.model!r}; "
                f"it lists: {', '.join(known) or 'no models'}"
            )
        reasons = "; ".join(
            f"{name[:12]}… {why}" for name, why in sorted(ranking.rejections.items())
        )
        if ranking.shortfall is not None and "no channel" not in reasons:
            return InsufficientFundsError(
                f"no open channel holds the {format_amount(ranking.shortfall)} that this request may "
                f"cost: {reasons}",
                needed=ranking.shortfall,
            )
        return NoProviderError(
            f"no provider can take this request: {reasons}", rejections=ranking.rejections
        )

    async def _site(self, candidate: Candidate, snapshot: Snapshot) -> Site:
        endpoint = parse_endpoint(candidate.descriptor.endpoints[0])
        addresses = await resolve_endpoint(
            endpoint,
            allow_private=self._question.allow_private,
            allow_loopback=snapshot.network == DEVNET_NETWORK,
        )
        return Site(endpoint, addresses[0])

    async def _job(
        self,
        request_id: bytes,
        candidate: Candidate,
        site: Site,
        snapshot: Snapshot,
        channels: Mapping[str, PaymentChannel],
    ) -> Job:
        question, descriptor, offer = self._question, candidate.descriptor, candidate.offer
        tokenizer = await tokenizer_for(bytes.fromhex(offer.tokens), site)
        date = dt.datetime.now(dt.UTC).date().isoformat()
        bound = question.prompt_bytes + _overhead(descriptor, question.message_count)
        exact = None
        if tokenizer is not None and question.kind == "chat":
            exact = len(
                await asyncio.to_thread(tokenizer.chat, question.body["messages"], date=date)
            )
        return Job(
            request=Request(
                id=request_id,
                kind="chat",
                model=question.model,
                model_hash=bytes.fromhex(offer.hash),
                body=dict(question.body),
                seed=question.seed,
                date=date,
                salt=question.salt,
                price=(candidate.price.prompt, candidate.price.cached, candidate.price.completion),
            ),
            provider_id=descriptor.public_key,
            network=snapshot.network,
            window_tokens=descriptor.window,
            prompt_bound=bound if exact is None else exact,
            prompt_exact=exact,
            max_tokens=question.max_tokens,
            channel=None if candidate.price.free else channels[candidate.provider],
            codec=tokenizer,
            deadlines=Deadlines(
                first_token=question.timeouts.first_token,
                idle=question.timeouts.idle,
                total_at=self._total_at,
            ),
        )

    async def _attempt(
        self, job: Job, candidate: Candidate, site: Site, snapshot: Snapshot, charge: Reservation
    ) -> AsyncGenerator[Delta | Finish | Done, None]:
        channel, request_id = job.channel, job.request.id
        peer = Peer(
            site=site,
            provider_id=job.provider_id,
            signer=channel.signer if channel else None,
            channel=ChannelId(channel.address.workchain, channel.address.hash) if channel else None,
            registry=RegistryRef(snapshot.registry_id, snapshot.version, snapshot.digest),
        )
        connection, reused = await self._core.pool.acquire(
            peer, limit=self._question.timeouts.connect
        )
        self._core.emit(
            SessionReady(request_id.hex(), candidate.provider, connection.session.suite, reused)
        )
        self._asked = Asked(
            completion_id=f"chatcmpl-{request_id.hex()}",
            model=self._question.model,
            created=self._created,
            provider=candidate.provider,
            assurance="operator",
        )
        attempt = Attempt(job, connection, emit=self._core.emit, background=self._core.background)
        try:
            async with aclosing(attempt.run()) as items:
                async for item in items:
                    if isinstance(item, Done):
                        self.charged = item.receipt.price
                    yield item
        finally:
            self.charged = max(self.charged, attempt.due)
            charge.settle(attempt.charged)

    def _failed(
        self, error: CocoonError, candidate: Candidate, request_id: bytes, number: int
    ) -> CocoonError:
        self._core.emit(AttemptFailed(request_id.hex(), candidate.provider, error.code))
        if isinstance(error, VerificationError):
            self._core.quarantined[candidate.provider] = str(error)
        if isinstance(error, RequestError):
            error.request_id = request_id
            error.attempts = number
        return error


def _overhead(descriptor: Descriptor, messages: int) -> int:
    overhead = descriptor.prompt_overhead
    return overhead.base + overhead.per_message * messages


def _may_switch(error: CocoonError) -> bool:
    return not isinstance(error, (InvalidRequestError, BudgetExceededError, ConfigError))
