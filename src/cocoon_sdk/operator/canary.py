"""A small question with a known answer, asked like any other: does the provider really answer?

Questions are drawn and filled in anew each time, so that a provider can neither recognise nor prepare
them. A wrong answer is a warning only: small models do not calculate well, and an echo is a model too.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import NamedTuple

from cocoon_sdk.client import AsyncCocoon
from cocoon_sdk.errors import (
    BudgetExceededError,
    CocoonError,
    InsufficientFundsError,
    NoProviderError,
    VerificationError,
)
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.operator.build import DAY, build_registry, make_role, seal
from cocoon_sdk.operator.verdicts import Check, fail, ok, warn
from cocoon_sdk.payments.amounts import format_amount
from cocoon_sdk.payments.budget import Budget
from cocoon_sdk.registry.fetch import RegistryClient
from cocoon_sdk.registry.model import Descriptor, Entry, RootPayload
from cocoon_sdk.transport.core import Timeouts

MAX_TOKENS = 48
TIMEOUTS = Timeouts(connect=10, first_token=60, idle=30, total=120)

_WORDS = (
    *(
        "amber",
        "basalt",
        "cedar",
        "delta",
        "ember",
        "fjord",
        "garnet",
        "harbor",
        "indigo",
        "juniper",
    ),
    *("kestrel", "lagoon", "meadow", "nectar", "orchid", "pepper", "quartz", "raven", "saffron"),
)
_CAPITALS = (
    *(("France", "Paris"), ("Japan", "Tokyo"), ("Egypt", "Cairo"), ("Peru", "Lima")),
    *(("Norway", "Oslo"), ("Italy", "Rome"), ("Kenya", "Nairobi"), ("Cuba", "Havana")),
)


class Puzzle(NamedTuple):
    """A question, and what a right answer holds."""

    question: str
    expected: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CanarySettings:
    """How to ask. `most` is the most that one question may cost, as coins or nano."""

    most: str | int = "0.01"
    state: str | None = None
    allow_private: bool = False
    rng: random.Random = field(default_factory=random.SystemRandom)


def draw(rng: random.Random) -> Puzzle:
    """A question that was most likely never asked before."""
    kind = rng.randrange(4)
    if kind == 0:
        a, b = rng.randint(11, 79), rng.randint(11, 79)
        asked = rng.choice(
            (f"What is {a} + {b}?", f"Add {a} to {b}.", f"{a} plus {b} is how much?")
        )
        return Puzzle(f"{asked} Give the number only.", str(a + b))
    if kind == 1:
        country, capital = rng.choice(_CAPITALS)
        asked = rng.choice(
            (f"What is the capital of {country}?", f"{country}: which city is its capital?")
        )
        return Puzzle(f"{asked} One word.", capital)
    words = rng.sample(_WORDS, 3)
    if kind == 2:
        return Puzzle(f"Repeat these words exactly: {' '.join(words)}", " ".join(words))
    return Puzzle(f"Which of these words comes second: {', '.join(words)}? One word.", words[1])


async def ask(
    entry: Entry, descriptor: Descriptor, *, network: str, now: int, settings: CanarySettings
) -> list[Check]:
    """One question for each model that costs nothing or that a channel of ours can pay."""
    raw, root = _registry_of_one(entry, network, now)
    client = AsyncCocoon(
        registry=raw,
        trust=root,
        assurance="operator",
        budget=Budget(request=settings.most),
        timeouts=TIMEOUTS,
        state=settings.state,
        allow_private=settings.allow_private,
    )
    # Nothing about this made-up registry is worth remembering.
    client.request_settings().core.registry = RegistryClient(raw, trust=root, cache=False)
    async with client:
        return [
            await _ask(client, offer.id, draw(settings.rng), descriptor.id)
            for offer in descriptor.models
        ]


def judge(name: str, puzzle: Puzzle, text: str, paid: str) -> Check:
    """Whether an answer is one."""
    if not text.strip():
        return fail(name, "it answered nothing", "ask the provider to try its model")
    strange = sum(1 for c in text if c == "\ufffd" or not (c.isprintable() or c.isspace()))
    if 4 * strange > len(text):
        return fail(
            name, "it answered no text that can be read", "ask the provider to try its model"
        )
    said, wanted = (" ".join(re.findall(r"\w+", one.casefold())) for one in (text, puzzle.expected))
    if wanted in said:
        return ok(name, f"it answered as expected{paid}")
    return warn(
        name,
        f"it answered {text.strip()[:60]!r} to {puzzle.question!r}{paid}",
        "review again: if that is all its model can do, decide whether to list it",
    )


async def _ask(client: AsyncCocoon, model: str, puzzle: Puzzle, provider: str) -> Check:
    name = f"canary {model}"
    try:
        reply = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": puzzle.question}],
            max_tokens=MAX_TOKENS,
            temperature=0.0,
        )
    except NoProviderError as error:
        reason = error.rejections.get(provider, str(error))
        if reason.startswith("no channel"):
            fix = f"{reason}, once a registry in COCOON_REGISTRY lists it, a trial one for instance"
            return warn(name, "it was not asked, because it costs coins", fix)
        return fail(name, reason, "the provider must be able to answer a request")
    except (BudgetExceededError, InsufficientFundsError) as error:
        return warn(name, f"it was not asked: {error}", "allow more with --max-cost")
    except VerificationError as error:
        return fail(name, f"IT CHEATED: {error}", "do not list this provider")
    except CocoonError as error:
        return fail(name, str(error), "the provider must be able to answer a request")
    cost = reply.usage.cost_nano
    return judge(name, puzzle, reply.text, f", for {format_amount(cost)} coins" if cost else "")


def _registry_of_one(entry: Entry, network: str, now: int) -> tuple[bytes, bytes]:
    """A registry that lists only this provider, and its root, signed by keys that nobody keeps."""
    root_key, key = Ed25519Key.generate(), Ed25519Key.generate()
    root = RootPayload(
        network=network,
        version=1,
        expires=now + DAY,
        root=make_role([root_key.public_key], 1),
        registry=make_role([key.public_key], 1),
    )
    payload = build_registry(root=root, version=1, prev=None, issued=now, entries=[entry])
    return seal(payload, [key]), seal(root, [root_key])
