"""Steps of 2,048 prompt tokens or 16 completion tokens, two of the latter ahead where paid for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from cocoon_provider.steps import first_step, next_steps
from cocoon_sdk.payments.meter import Counts


@pytest.mark.parametrize(("prompt", "first"), [(0, 0), (1, 1), (2_048, 2_048), (2_049, 2_048)])
def test_the_first_step_is_at_most_2048_prompt_tokens(prompt: int, first: int) -> None:
    assert first_step(prompt) == Counts(prompt=first)


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        (Counts(prompt=2_048), [Counts(prompt=4_096)]),
        (Counts(prompt=1_000, cached=3_500), [Counts(prompt=1_500, cached=3_500)]),  # 500 are left
        (Counts(prompt=5_000), [Counts(5_000, 0, 32), Counts(5_000, 0, 16)]),
        (Counts(5_000, 0, 70), [Counts(5_000, 0, 100), Counts(5_000, 0, 86)]),  # 30 are left
        (Counts(5_000, 0, 90), [Counts(5_000, 0, 100)]),  # one step ends it: no second target
        (Counts(5_000, 0, 100), []),
    ],
)
def test_the_next_step_follows_from_what_is_done(done: Counts, expected: list[Counts]) -> None:
    generation = SimpleNamespace(prompt_tokens=5_000, max_tokens=100)
    assert next_steps(done, generation) == expected  # type: ignore[arg-type]


def test_reasoning_counts_are_carried_along() -> None:
    generation = SimpleNamespace(prompt_tokens=10, max_tokens=100)
    steps = next_steps(Counts(10, 0, 8, reasoning=8), generation)  # type: ignore[arg-type]
    assert [step.reasoning for step in steps] == [8, 8]
