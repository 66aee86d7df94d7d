"""Which providers may take a request, in which order, and why the others may not. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.payments.amounts import format_amount, format_coins, parse_amount
from cocoon_sdk.payments.meter import Price, highest_cost
from cocoon_sdk.registry.model import Descriptor, ModelOffer

Assurance = Literal["operator", "attested"]
HUNDREDTH = 10_000_000
TOP_UP_GAS = HUNDREDTH // 2  # what adding coins uses up, generously
DEPOSIT_OVERHEAD = 5 * HUNDREDTH  # rent, cushion and the opening message, generously
PRICE_PARTS = ("prompt", "cached", "completion")
# What is signed ahead can be lost, so a provider may not choose its window freely.
MAX_WINDOW_TOKENS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """How to choose. Field names are those of OpenRouter's `provider` object.

    Providers are named by their id (64 hex digits). `max_price` has the keys prompt, cached, completion;
    values are decimal coins or int nano, per million tokens.
    """

    order: Sequence[str] = ()
    only: Sequence[str] = ()
    ignore: Sequence[str] = ()
    allow_fallbacks: bool = True
    sort: Literal["price"] = "price"
    max_price: Mapping[str, str | int] = field(default_factory=dict)
    quantizations: Sequence[str] = ()
    regions: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.sort != "price":
            raise ConfigError(f"routing sort {self.sort!r} is not known; use 'price'")
        for part, amount in self.max_price.items():
            if part not in PRICE_PARTS:
                raise ConfigError(
                    f"max_price has no part {part!r}; use one of {', '.join(PRICE_PARTS)}"
                )
            parse_amount(amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What routing must know of a request.

    A prompt has at most as many tokens as bytes, and what each provider's template adds.
    """

    model: str
    prompt_bytes: int
    messages: int
    max_tokens: int
    assurance: Assurance


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A provider that may take the request.

    Attributes:
        prompt_bound: the most tokens that the prompt can have there.
        highest: the most that the request can cost there, in nano.
    """

    provider: str
    descriptor: Descriptor
    offer: ModelOffer
    price: Price
    prompt_bound: int
    highest: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates, best first, and the reason for every rejected provider (by id)."""

    candidates: tuple[Candidate, ...]
    rejections: Mapping[str, str]
    shortfall: (
        int | None
    )  # the cheapest request's cost, where only coins in open channels are missing


def offer_price(offer: ModelOffer) -> Price:
    """The price of an offer, nano per million tokens."""
    return Price(offer.price.prompt, offer.price.cached, offer.price.completion)


def rank(
    descriptors: Sequence[Descriptor],
    wish: Wish,
    routing: Routing,
    *,
    funds: Mapping[str, int],
    unusable: Mapping[str, str],
    quarantined: Mapping[str, str],
) -> Ranking:
    """Filter and order providers.

    Args:
        descriptors: what the registry lists, one per provider.
        wish: the request.
        routing: the user's choice.
        funds: nano that the client's open channel with a provider can still sign for, by provider id.
        unusable: why the client's channel with a provider is not open, by provider id.
        quarantined: providers that failed a verification, with the reason.
    """
    candidates: list[Candidate] = []
    rejections: dict[str, str] = {}
    unpaid: list[int] = []
    for descriptor in descriptors:
        offer = descriptor.offer(wish.model)
        if offer is None:
            rejections[descriptor.id] = f"does not list the model {wish.model}"
            continue
        price = offer_price(offer)
        overhead = descriptor.prompt_overhead
        bound = wish.prompt_bytes + overhead.base + overhead.per_message * wish.messages
        candidate = Candidate(
            provider=descriptor.id,
            descriptor=descriptor,
            offer=offer,
            price=price,
            prompt_bound=bound,
            highest=highest_cost(price, prompt_total=bound, max_tokens=wish.max_tokens),
        )
        reason = _rejection(candidate, wish, routing, quarantined)
        if reason is None:
            reason = _payment_rejection(candidate, funds, unusable)
            if reason is None:
                candidates.append(candidate)
                continue
            if candidate.provider in funds:
                unpaid.append(candidate.highest)
        rejections[descriptor.id] = reason
    shortfall = min(unpaid) if unpaid and len(unpaid) == len(rejections) else None
    return Ranking(tuple(_ordered(candidates, routing)), rejections, shortfall)


def _rejection(
    candidate: Candidate,
    wish: Wish,
    routing: Routing,
    quarantined: Mapping[str, str],
) -> str | None:
    name, offer = candidate.provider, candidate.offer
    if name in quarantined:
        return f"quarantined: {quarantined[name]}"
    if routing.only and name not in routing.only:
        return "not in routing.only"
    if name in routing.ignore:
        return "in routing.ignore"
    if not routing.allow_fallbacks and routing.order and name not in routing.order:
        return "not in routing.order, and fallbacks are off"
    if routing.quantizations and offer.quantization not in routing.quantizations:
        return f"serves quantization {offer.quantization}"
    if routing.regions and candidate.descriptor.region not in routing.regions:
        return f"is in region {candidate.descriptor.region or 'unknown'}"
    if wish.assurance == "attested" and candidate.descriptor.att is None:
        return "has no attestation: its owner can read prompts (assurance='operator' accepts that)"
    for part, limit in routing.max_price.items():
        asked = getattr(candidate.price, part)
        if asked > parse_amount(limit):
            return f"asks {format_amount(asked)} per million {part} tokens, above max_price"
    if candidate.descriptor.window > MAX_WINDOW_TOKENS:
        return (
            f"wants {candidate.descriptor.window} tokens paid ahead, more than {MAX_WINDOW_TOKENS}"
        )
    if offer.ctx < wish.max_tokens:
        return f"has a context of {offer.ctx} tokens, fewer than max_tokens={wish.max_tokens}"
    return None


def _payment_rejection(
    candidate: Candidate, funds: Mapping[str, int], unusable: Mapping[str, str]
) -> str | None:
    if candidate.price.free:
        return None
    if candidate.provider not in funds:
        if candidate.provider in unusable:  # a second channel would lock more coins
            return unusable[candidate.provider]
        deposit = format_amount(_deposit_hint(candidate))
        return f"no channel: cocoon wallet open {candidate.provider} --deposit {deposit}"
    lacking = candidate.highest - funds[candidate.provider]
    if lacking > 0:
        more = format_amount(_hundredths(lacking + TOP_UP_GAS))
        return (
            f"the channel has {format_coins(funds[candidate.provider])} left, the request may cost "
            f"{format_coins(candidate.highest)}: cocoon wallet topup {candidate.provider[:16]} {more}, "
            "or lower max_tokens"
        )
    return None


def _ordered(candidates: list[Candidate], routing: Routing) -> list[Candidate]:
    places = {name: place for place, name in enumerate(routing.order)}
    return sorted(
        candidates,
        key=lambda one: (places.get(one.provider, len(places)), one.highest, one.provider),
    )


def _deposit_hint(candidate: Candidate) -> int:
    """Enough for the provider's minimum, this request, rent and opening; in hundredths of a coin."""
    least = candidate.descriptor.min_deposit + candidate.highest + DEPOSIT_OVERHEAD
    return _hundredths(least)


def _hundredths(nano: int) -> int:
    """The next full hundredth of a coin."""
    return -(-nano // HUNDREDTH) * HUNDREDTH
