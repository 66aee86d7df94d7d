"""What tokens cost: prices, counts, dues, steps and windows (payments.md §3).

Both sides compute with these functions, so that they agree to the last nano. Everything is integer.
Totals are rounded up once; the cost of a part is the difference of two rounded totals. Hence dues never
fall, the parts of a request add up to exactly its price, and `due + window_cost` is the highest due
that any progress within the window can reach.
"""

from __future__ import annotations

from typing import NamedTuple

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.payments.amounts import MAX_NANO

TOKENS_PER_PRICE = 1_000_000
PROMPT_STEP = 2048
COMPLETION_STEP = 16
WINDOW_TOKENS = 64
_WINDOW_PROMPT = 2 * PROMPT_STEP


class Price(NamedTuple):
    """Nano per million tokens. `cached` is the price of prompt tokens found in the prefix cache."""

    prompt: int
    cached: int
    completion: int

    @property
    def free(self) -> bool:
        """Whether nothing is ever charged: such requests carry no voucher."""
        return self.prompt == 0 and self.cached == 0 and self.completion == 0

    def validate(self) -> Price:
        """This price, checked.

        Raises:
            ConfigError: a part is negative or 2^63 and above, or cached tokens cost more than fresh ones.
        """
        for name, nano in self._asdict().items():
            if not 0 <= nano <= MAX_NANO:
                raise ConfigError(f"the {name} price {nano} is not between 0 and 2^63 - 1 nano")
        if self.cached > self.prompt:
            raise ConfigError(
                f"cached prompt tokens at {self.cached} nano cost more than fresh ones at "
                f"{self.prompt}; the cached price must not be higher"
            )
        return self


class Counts(NamedTuple):
    """Tokens of one request. `prompt` and `cached` are disjoint; `reasoning` is part of `completion`."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0

    @property
    def prefilled(self) -> int:
        """Prompt tokens done so far, fresh or from the cache."""
        return self.prompt + self.cached

    def advance(self, *, prompt: int = 0, cached: int = 0, completion: int = 0) -> Counts:
        """These counts after so many more tokens."""
        return self._replace(
            prompt=self.prompt + prompt,
            cached=self.cached + cached,
            completion=self.completion + completion,
        )

    def covers(self, other: Counts) -> bool:
        """Whether no count is lower than in `other`: counts of one request only grow."""
        return (
            self.prompt >= other.prompt
            and self.cached >= other.cached
            and self.completion >= other.completion
        )


def cost(counts: Counts, price: Price) -> int:
    """The price of these counts in nano, rounded up once on the total."""
    total = (
        counts.prompt * price.prompt
        + counts.cached * price.cached
        + counts.completion * price.completion
    )
    return -(-total // TOKENS_PER_PRICE)


def step_cost(
    price: Price, counts: Counts, *, prompt: int = 0, cached: int = 0, completion: int = 0
) -> int:
    """What the due grows by when so many tokens are done next."""
    after = counts.advance(prompt=prompt, cached=cached, completion=completion)
    return cost(after, price) - cost(counts, price)


def window_cost(
    price: Price,
    counts: Counts,
    *,
    prompt_total: int,
    max_tokens: int,
    k: int = WINDOW_TOKENS,
) -> int:
    """W: how far the due may run ahead of `counts`, in nano.

    While prefilling two prompt steps at the full prompt price, no more than `prompt_total` leaves; always
    `k` completion tokens, no more than `max_tokens` leaves. The first completion token ends the prefill,
    so a loose bound on the prompt stops counting there. `max_tokens` is the sum over all choices.
    """
    prompt = 0
    if counts.completion == 0:
        prompt = min(_WINDOW_PROMPT, max(0, prompt_total - counts.prefilled))
    completion = min(k, max(0, max_tokens - counts.completion))
    return step_cost(price, counts, prompt=prompt, completion=completion)


def highest_cost(price: Price, *, prompt_total: int, max_tokens: int) -> int:
    """The most that a request can cost: what budgets reserve (payments.md §5)."""
    return cost(Counts(prompt=prompt_total, completion=max_tokens), price)
