"""What a provider proves before a prompt leaves: its bundle, verified once, and a quote for a session."""

from __future__ import annotations

import asyncio
import functools
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cocoon_sdk.attestation.bundle import (
    MAX_BUNDLE,
    MAX_COLLATERAL,
    MAX_QUOTE,
    Bundle,
    bundle_digest,
    decode_bundle,
    decode_claims,
)
from cocoon_sdk.attestation.policy import AttestationPolicy
from cocoon_sdk.attestation.verifier import AttestationVerifier, demand
from cocoon_sdk.errors import (
    AttestationError,
    ConnectError,
    DeadlineError,
    ProviderInternalError,
    ProviderOverloadedError,
)
from cocoon_sdk.protocol.messages import Attest
from cocoon_sdk.routing.policy import Candidate
from cocoon_sdk.transport.connection import Connection
from cocoon_sdk.transport.failures import error_from_frame
from cocoon_sdk.transport.page import PageError, get_page
from cocoon_sdk.transport.reach import Site
from cocoon_sdk.types.attestation import AttestationResult, AttestationStep

if TYPE_CHECKING:
    import httpx

MAX_KEPT = 64

Key = tuple[bytes, str]


@dataclass(frozen=True, slots=True)
class Proof:
    """A bundle that passed every check, and the verdict."""

    bundle: Bundle
    result: AttestationResult


class Attestations:
    """Proofs by provider and digest, kept until they lapse. One fetch serves all who wait for it.

    Args:
        policy: Gives what is accepted; called on first use.
        verifier: Who decides.
        clock: Unix seconds.
        transport: Replaces the network, in tests.
    """

    def __init__(
        self,
        policy: Callable[[], AttestationPolicy],
        verifier: AttestationVerifier,
        *,
        clock: Callable[[], float] = time.time,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._load_policy = policy
        self._verifier = verifier
        self._clock = clock
        self._transport = transport
        self._locks: dict[Key, asyncio.Lock] = {}
        self._kept: OrderedDict[Key, Proof] = OrderedDict()

    @functools.cached_property
    def _policy(self) -> AttestationPolicy:
        return self._load_policy()

    async def prove(self, candidate: Candidate, site: Site, *, limit: float) -> Proof:
        """What the bundle proves that the candidate's descriptor names, for the model on offer.

        Raises:
            AttestationError: missing, not the named bytes, or a step failed; `.steps` says which.
            ConnectError: it could not be fetched now.
            DeadlineError: not within `limit` seconds.
            ConfigError: nothing that checks quotes is installed, or the policy is no policy.
        """
        try:
            async with asyncio.timeout(limit):
                proof = await self._bundle(candidate, site)
        except TimeoutError as error:
            raise _late(f"no attestation bundle from {site.endpoint.url}", limit) from error
        claimed = decode_claims(proof.bundle.claims).model_hash.hex()
        offered = candidate.offer.hash
        detail = "the claims name the model on offer"
        if claimed != offered:
            detail = f"the claims name the model {claimed}, on offer is {offered}"
        result = _with_step(proof.result, "model", claimed == offered, detail)
        return replace(proof, result=demand(result))

    async def prove_session(
        self, connection: Connection, candidate: Candidate, proof: Proof, *, limit: float
    ) -> Proof:
        """Where the policy wants it, the same with a quote made for this very session, asked for once.

        Raises:
            AttestationError: the provider makes none, or a step failed.
            DeadlineError, ProviderOverloadedError, ProviderInternalError: none came within `limit` seconds,
                or can be had now.
            StreamTruncatedError, DecryptionError: the session is over.
            ConfigError: nothing that checks quotes is installed.
        """
        if not self._policy.fresh:
            return proof
        try:
            async with asyncio.timeout(limit):
                fresh = await self._fresh(connection, candidate, proof)
        except TimeoutError as error:
            raise _late("no quote for this session", limit) from error
        steps = tuple(replace(step, name=f"fresh {step.name}") for step in fresh.steps)
        combined = replace(
            proof.result,
            fresh=True,
            checked_at=fresh.checked_at,
            valid_until=min(proof.result.valid_until, fresh.valid_until),
            steps=(*proof.result.steps, *steps),
        )
        return replace(proof, result=demand(combined))

    async def _fresh(
        self, connection: Connection, candidate: Candidate, proof: Proof
    ) -> AttestationResult:
        quotes = connection.quotes
        async with quotes.lock:
            fresh = quotes.result
            if fresh is None or self._clock() >= fresh.valid_until:
                bundle = await self._asked(connection, proof)
                fresh = await self._verified(bundle, candidate, connection.session.exporter)
                quotes.result = fresh
            return fresh

    async def _bundle(self, candidate: Candidate, site: Site) -> Proof:
        descriptor = candidate.descriptor
        key = (descriptor.public_key, descriptor.att or "")
        async with self._locks.setdefault(key, asyncio.Lock()):
            proof = self._kept.get(key)
            if proof is None or self._clock() >= proof.result.valid_until:
                self._kept.pop(key, None)
                bundle = await self._fetched(descriptor.att or "", site)
                result = demand(await self._verified(bundle, candidate, None))
                proof = self._kept[key] = Proof(bundle, result)
            self._kept.move_to_end(key)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
            return proof

    async def _fetched(self, digest: str, site: Site) -> Bundle:
        try:
            raw = await get_page(
                site, f"/attestation/{digest}", limit=MAX_BUNDLE, transport=self._transport
            )
        except PageError as error:
            why = f"no attestation bundle from {site.endpoint.url}: {error}"
            if error.passing:
                raise ConnectError(f"{why}; try again, or another provider") from error
            raise _missing("bundle", why) from error
        if bundle_digest(raw).hex() != digest:
            raise _missing(
                "bundle",
                f"the bundle of {site.endpoint.url} is not the one that its descriptor names",
            )
        return decode_bundle(raw)

    async def _asked(self, connection: Connection, proof: Proof) -> Bundle:
        answer = await connection.quotes.ask(connection)
        if not isinstance(answer, Attest):
            refusal = error_from_frame(answer)
            if isinstance(refusal, ProviderOverloadedError | ProviderInternalError):
                raise refusal  # no answer to what was asked, and so nothing that speaks against it
            raise _missing("fresh quote", f"no quote for this session: {refusal}")
        for name, size, most in (
            ("quote", len(answer.quote), MAX_QUOTE),
            ("collateral", len(answer.collateral), MAX_COLLATERAL),
        ):
            if not 0 < size <= most:
                raise _missing("fresh quote", f"its {name} has {size} bytes, not 1 to {most}")
        return replace(proof.bundle, quote=answer.quote, collateral=answer.collateral)

    async def _verified(
        self, bundle: Bundle, candidate: Candidate, exporter: bytes | None
    ) -> AttestationResult:
        return await asyncio.to_thread(
            self._verifier.verify,
            bundle,
            candidate.descriptor.public_key,
            self._policy,
            int(self._clock()),
            exporter=exporter,
        )


def _with_step(result: AttestationResult, name: str, ok: bool, detail: str) -> AttestationResult:
    step = AttestationStep(name=name, ok=ok, detail=detail)
    return replace(result, steps=(*result.steps, step))


def _late(what: str, limit: float) -> DeadlineError:
    return DeadlineError(
        f"{what} in {limit:g} s; try another provider, or raise the connect timeout",
        phase="connect",
    )


def _missing(step: str, why: str) -> AttestationError:
    return AttestationError(
        f"attestation failed: {why}", steps=(AttestationStep(name=step, ok=False, detail=why),)
    )
