"""Everything that a first request would wait for, done ahead: registry, addresses, handshake, tokenizer."""

from __future__ import annotations

import asyncio
import secrets

from cocoon_sdk.errors import CocoonError, DeadlineError, VerificationError
from cocoon_sdk.protocol.messages import State, StateGet
from cocoon_sdk.transport.core import Core
from cocoon_sdk.transport.opening import open_session, sites_of
from cocoon_sdk.transport.question import (
    Question,
    Trial,
    may_switch,
    nobody,
    origin_of,
    rank_providers,
)
from cocoon_sdk.transport.recovery import ask


async def prewarm(core: Core, question: Question) -> str:
    """The id (hex) of the provider that such a question would be put to, with a session ready.

    Nothing is reserved and nothing paid.

    Raises:
        CocoonError: as a request would, before it is sent.
    """
    core.enter()
    channels, _ = await core.ledger()
    routing = question.routing
    snapshot = await core.registry.snapshot(
        question.model, [*routing.order, *channels], only=routing.only
    )
    ranking = rank_providers(
        question,
        snapshot,
        funds={name: channel.available for name, channel in channels.items()},
        unopened=core.unopened,
        quarantined=core.quarantined,
    )
    failure: CocoonError | None = None
    for candidate in ranking.candidates:
        origin = origin_of(snapshot, candidate)
        trial = Trial(secrets.token_bytes(16), candidate, origin, channels.get(candidate.provider))
        try:
            await _warm(core, question, trial)
        except CocoonError as error:
            if isinstance(error, VerificationError):
                core.distrust(candidate.provider, error)
            if not may_switch(error):
                raise
            failure = failure or error
        else:
            return candidate.provider
    raise failure or nobody(question, snapshot, ranking)


async def _warm(core: Core, question: Question, trial: Trial) -> None:
    limit, candidate = question.timeouts.connect, trial.candidate
    sites = await sites_of(core, trial, allow_private=question.allow_private)
    judge = core.attestations
    proof = await judge.prove(candidate, sites[0], limit=limit) if judge is not None else None
    slot, reused = await open_session(core, trial, sites, limit=limit)
    try:
        connection = slot.connection
        if judge is not None and proof is not None:
            await judge.prove_session(connection, candidate, proof, limit=limit)
        if not reused:
            # A session without a question is closed after half a minute; one that was used, after five.
            try:
                async with asyncio.timeout(limit):
                    await ask(connection, StateGet(), State)
            except TimeoutError as error:
                raise DeadlineError(
                    f"{connection.site.endpoint.url} opens sessions and answers nothing in {limit:g} s; "
                    "try another provider or raise the connect timeout",
                    phase="connect",
                ) from error
        await core.bundles.tokenizer(bytes.fromhex(candidate.offer.tokens), connection.site)
    finally:
        slot.release()
