from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cocoon_provider.backends.parameters import Sampling
from cocoon_provider.engine.sampler import Sampler
from cocoon_sdk.errors import ProviderInternalError

NOTHING = np.array([], np.int64)
DRAWS = 4000


def make(*, banned: Any = NOTHING, prompt: Any = (), **parameters: Any) -> Sampler:
    return Sampler(Sampling(**parameters), prompt, banned)


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def expected(logits: np.ndarray, **p: Any) -> np.ndarray:
    """The distribution from its definition, token by token."""
    relative = np.asarray(logits, np.float64) / p.get("temperature", 1.0)
    probability = np.exp(relative - relative.max())
    probability /= probability.sum()
    order = sorted(range(len(logits)), key=lambda i: (-probability[i], i))
    if p.get("top_k"):
        order = order[: p["top_k"]]
    if p.get("top_p", 1.0) < 1.0:
        total, mass, kept = sum(probability[i] for i in order), 0.0, []
        for i in order:
            kept.append(i)
            mass += probability[i]
            if mass >= p["top_p"] * total * (1 - 1e-12):
                break
        order = kept
    order = [i for i in order if probability[i] >= p.get("min_p", 0.0) * probability.max()]
    result = np.zeros(len(logits))
    result[order] = probability[order]
    return result / result.sum()


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 2.0},
        {"top_k": 3},
        {"top_p": 0.8},
        {"min_p": 0.2},
        {"temperature": 1.5, "top_k": 6, "top_p": 0.9, "min_p": 0.05},
    ],
)
def test_draws_follow_the_distribution(parameters: dict[str, Any]) -> None:
    logits = scores(2.0, 1.5, 1.4, 0.0, -0.5, 1.0, -3.0, 0.3, 2.2, -1.0)
    sampler = make(seed=11, **parameters)
    drawn = np.bincount([sampler.choose(logits, i) for i in range(DRAWS)], minlength=10)
    wanted = expected(logits, **parameters) * DRAWS
    assert not drawn[wanted == 0].any()
    kept = wanted > 0
    chi_square = ((drawn[kept] - wanted[kept]) ** 2 / wanted[kept]).sum()
    assert chi_square < 28  # 9 degrees of freedom: one in a thousand


@settings(max_examples=150)
@given(
    st.lists(
        st.sampled_from([-20.0, -2.5, -1.0, 0.0, 0.25, 1.0, 3.0, 3.5]), min_size=1, max_size=12
    ),
    st.sampled_from([0.3, 1.0, 2.0]),
    st.integers(0, 13),
    st.sampled_from([1.0, 0.999, 0.9, 0.5, 0.01, 0.0]),
    st.sampled_from([0.0, 0.1, 1.0]),
)
def test_only_kept_tokens_are_drawn(
    values: list[float], temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    parameters = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    wanted = expected(scores(*values), **parameters)
    sampler = make(seed=3, **parameters)
    assert all(wanted[sampler.choose(scores(*values), i)] > 0 for i in range(30))


def test_top_p_of_a_flat_distribution_reaches_below_every_floor() -> None:
    logits = np.full(30_000, -17.0, np.float32)
    logits[7] = 0.0
    drawn = {make(seed=1, top_p=0.9999999).choose(logits, i) for i in range(3000)}
    assert len(drawn) > 1


def test_greedy_takes_the_lowest_of_equals() -> None:
    assert make(temperature=0.0).choose(scores(1, 5, 5, 2), 0) == 1


def test_tiny_temperature_is_greedy_and_does_not_overflow() -> None:
    sampler = make(temperature=1e-300)
    assert {sampler.choose(scores(1, 5, 4.9, 2), i) for i in range(20)} == {1}


def test_seed_and_position_are_the_whole_randomness() -> None:
    logits = np.zeros(1000, np.float32)
    first, again, other = make(seed=1), make(seed=1), make(seed=2)
    backwards = {i: first.choose(logits, i) for i in reversed(range(50))}
    assert [again.choose(logits, i) for i in range(50)] == [backwards[i] for i in range(50)]
    assert [other.choose(logits, i) for i in range(50)] != [backwards[i] for i in range(50)]
    assert make(seed=2**64 - 1).choose(logits, 0) < 1000


def test_small_changes_of_other_scores_do_not_move_the_draw() -> None:
    logits = np.random.default_rng(0).normal(size=500).astype(np.float32)
    moved = logits + np.random.default_rng(1).normal(scale=1e-6, size=500).astype(np.float32)
    sampler = make(seed=5, top_p=0.95)
    same = sum(sampler.choose(logits, i) == sampler.choose(moved, i) for i in range(300))
    assert same >= 298


def test_banned_tokens_never_come() -> None:
    sampler = make(banned=np.array([1, 2]), logit_bias={1: 100.0})
    assert {sampler.choose(scores(0, 50, 50, 0), i) for i in range(50)} == {0, 3}
    assert make(temperature=0.0, banned=np.array([0])).choose(scores(9, 1), 0) == 1


def test_logit_bias() -> None:
    sampler = make(temperature=0.0, logit_bias={2: 1.5, 0: -100.0})
    assert sampler.choose(scores(9, 1, 0, 0), 0) == 2


def test_presence_and_frequency_penalties_count_the_answer() -> None:
    for parameters, repeats in (({"presence_penalty": 0.6}, 1), ({"frequency_penalty": 0.3}, 2)):
        sampler = make(temperature=0.0, prompt=[0, 0, 0], **parameters)
        logits = scores(1.0, 0.5)
        chosen = []
        for i in range(repeats + 1):
            chosen.append(sampler.choose(logits, i))
            sampler.note(chosen[-1])
        assert chosen == [0] * repeats + [1]


def test_repetition_penalty_counts_prompt_and_answer() -> None:
    sampler = make(temperature=0.0, prompt=[0], repetition_penalty=2.0)
    assert sampler.choose(scores(1.0, 0.6, 0.55), 0) == 1
    sampler.note(1)
    assert sampler.choose(scores(1.0, 0.6, 0.55), 1) == 2
    assert sampler.choose(scores(-0.5, -0.6, -1.1), 1) == 0
    assert (
        make(temperature=0.0, prompt=[0], repetition_penalty=2.0).choose(scores(-1, -1.5), 0) == 1
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_unusable_scores_are_an_error(bad: float) -> None:
    with pytest.raises(ProviderInternalError):
        make().choose(np.full(4, bad, np.float32), 0)


def test_scores_are_left_as_they_were() -> None:
    logits = scores(1, 2, 3)
    make(logit_bias={0: 5.0}, banned=np.array([1])).choose(logits, 0)
    assert logits.tolist() == [1, 2, 3]
