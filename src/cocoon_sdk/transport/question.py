"""What a user asked, who may answer it, and what is said when nobody can."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cocoon_sdk.errors import (
    BudgetExceededError,
    CocoonError,
    ConfigError,
    ContextLengthError,
    DeadlineError,
    InsufficientFundsError,
    InvalidRequestError,
    ModelNotFoundError,
    NoProviderError,
    RegistryError,
    StoreError,
)
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus
from cocoon_sdk.payments.amounts import format_coins
from cocoon_sdk.payments.channel import PaymentChannel
from cocoon_sdk.registry.listed import Origin
from cocoon_sdk.registry.model import Descriptor
from cocoon_sdk.registry.shared import AnySnapshot
from cocoon_sdk.routing.policy import Assurance, Candidate, Ranking, Routing, Wish, rank
from cocoon_sdk.transport.core import Timeouts
from cocoon_sdk.types.attestation import AttestationResult

# What another provider cannot make good: our own settings, limits and books, and a bad parameter.
_FINAL = (BudgetExceededError, ConfigError, InvalidRequestError, StoreError)
_ELSEWHERE = (ModelNotFoundError, ContextLengthError)  # one provider's word only


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
    attestation: AttestationResult | None

    @property
    def assurance(self) -> Assurance:
        """What was established, whatever was asked for."""
        return "operator" if self.attestation is None else "attested"


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate under one request id. `origin` is the registry through which it was chosen."""

    request_id: bytes
    candidate: Candidate
    origin: Origin
    channel: PaymentChannel | None

    @property
    def paying(self) -> PaymentChannel | None:
        """The channel that pays; free models are met without one."""
        return None if self.candidate.price.free else self.channel


def rank_providers(
    question: Question,
    snapshot: AnySnapshot,
    *,
    funds: Mapping[str, int],
    unopened: Mapping[str, ChannelState],
    quarantined: Mapping[str, str],
) -> Ranking:
    """Who may answer, best first. A descriptor that fails its own checks is a rejection like any other.

    `funds` and `unopened` are of the client's channels, by provider id: what the open ones can still
    sign for, and those that are opening, closing, or without their key.
    """
    now = int(time.time())
    descriptors: list[Descriptor] = []
    invalid: dict[str, str] = {}
    for listed in snapshot.for_model(question.model):
        try:
            descriptors.append(listed.verify(now))
        except RegistryError as error:
            invalid[listed.id] = str(error)
    wish = Wish(
        model=question.model,
        prompt_bytes=question.prompt_bytes,
        messages=question.message_count,
        max_tokens=question.max_tokens,
        assurance=question.assurance,
    )
    ranking = rank(
        descriptors,
        wish,
        question.routing,
        funds=funds,
        unusable={name: _why_unopened(state) for name, state in unopened.items()},
        quarantined=quarantined,
    )
    return replace(ranking, rejections={**invalid, **ranking.rejections})


def origin_of(snapshot: AnySnapshot, candidate: Candidate) -> Origin:
    """The registry through which a candidate of the ranking was chosen."""
    listed = snapshot.get(candidate.provider)
    assert listed is not None  # noqa: S101 - the ranking was made from this snapshot
    return listed.chosen(int(time.time())).origin


def _why_unopened(state: ChannelState) -> str:
    address = state.address.raw
    if state.status is ChannelStatus.OPEN:
        return (
            f"the voucher key of your channel {address} is missing; restore its file, or set "
            f"COCOON_VOUCHER_KEY to it (`cocoon wallet close {address}` works without it)"
        )
    if state.status is not ChannelStatus.CLOSING:
        return f"your channel {address} is {state.status}; look again with: cocoon wallet show"
    until = dt.datetime.fromtimestamp(state.close_at, dt.UTC).isoformat()
    return (
        f"your channel {address} is closing until {until}; "
        f"`cocoon wallet cancel-close {address}` makes it usable again"
    )


def nobody(question: Question, snapshot: AnySnapshot, ranking: Ranking) -> CocoonError:
    """Why there is no candidate."""
    if not ranking.rejections:
        known = sorted(snapshot.models)
        return ModelNotFoundError(
            f"no provider in the registry lists the model {question.model!r}; "
            f"it lists: {', '.join(known) or 'no models'}{missing(snapshot)}"
        )
    reasons = "; ".join(f"{name[:12]}… {why}" for name, why in sorted(ranking.rejections.items()))
    if ranking.shortfall is not None:
        return InsufficientFundsError(
            f"no open channel holds the {format_coins(ranking.shortfall)} that this request may "
            f"cost: {reasons}",
            needed=ranking.shortfall,
        )
    return NoProviderError(
        f"no provider can take this request: {reasons}{missing(snapshot)}",
        rejections=ranking.rejections,
    )


def missing(snapshot: AnySnapshot) -> str:
    """What the registry could not show, as the end of a message."""
    told = "; ".join(str(error) for error in snapshot.errors[:3])
    return f" (not all of the registry could be read: {told})" if told else ""


def may_switch(error: CocoonError) -> bool:
    """Whether another provider may do better."""
    if isinstance(error, DeadlineError) and error.phase == "total":
        return False
    return isinstance(error, _ELSEWHERE) or not isinstance(error, _FINAL)
