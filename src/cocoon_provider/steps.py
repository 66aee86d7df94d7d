"""The steps that a request is worked off in: 2,048 prompt tokens or 16 completion tokens each."""

from __future__ import annotations

from cocoon_provider.backends.base import Generation
from cocoon_sdk.payments.meter import COMPLETION_STEP, PROMPT_STEP, Counts

_AHEAD = (2, 1)  # steps reserved at once, the best first


def first_step(prompt_tokens: int) -> Counts:
    """The counts after the first prompt step, at the full prompt price."""
    return Counts(prompt=min(PROMPT_STEP, prompt_tokens))


def next_steps(counts: Counts, generation: Generation) -> list[Counts]:
    """The counts worth paying for next, the furthest first; empty when all is done.

    Where the window allows it two completion steps are reserved, so that the backend works on one while
    the commit of the other is under way.
    """
    left = generation.prompt_tokens - counts.prefilled
    if left > 0:
        return [counts.advance(prompt=min(PROMPT_STEP, left))]
    tokens = generation.max_tokens - counts.completion
    steps = dict.fromkeys(min(ahead * COMPLETION_STEP, tokens) for ahead in _AHEAD)
    return [counts.advance(completion=step) for step in steps if step > 0]
