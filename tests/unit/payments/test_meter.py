"""Prices, dues, steps and windows: what both sides must compute alike."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.payments.meter import (
    PROMPT_STEP,
    WINDOW_TOKENS,
    Counts,
    Price,
    cost,
    highest_cost,
    step_cost,
    window_cost,
)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    prompt = draw(st.integers(0, 10**12))
    return Price(prompt, draw(st.integers(0, prompt)), draw(st.integers(0, 10**12)))


counts = st.builds(
    Counts, st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.just(0)
)


@given(counts, prices())
def test_cost_is_the_exact_price_rounded_up(done: Counts, price: Price):
    exact = Fraction(
        done.prompt * price.prompt
        + done.cached * price.cached
        + done.completion * price.completion,
        10**6,
    )
    assert cost(done, price) == ceil(exact)


def test_rounding_happens_once_on_the_total():
    price = Price(prompt=1, cached=1, completion=1)
    assert cost(Counts(1, 1, 1), price) == 1
    assert cost(Counts(500_000, 250_000, 250_001), price) == 2


@given(prices(), st.lists(st.integers(0, 50), min_size=1, max_size=60))
def test_steps_add_up_to_the_price_and_dues_never_fall(price: Price, steps: list[int]):
    done, due = Counts(prompt=7), cost(Counts(prompt=7), price)
    for tokens in steps:
        step = step_cost(price, done, completion=tokens)
        assert step >= 0
        done, due = done.advance(completion=tokens), due + step
    assert due == cost(done, price)


@given(
    price=prices(),
    total=st.integers(0, 20_000),
    max_tokens=st.integers(0, 300),
    k=st.integers(1, 128),
    data=st.data(),
)
def test_no_progress_within_the_window_is_dearer_than_due_plus_window(
    price: Price, total: int, max_tokens: int, k: int, data: st.DataObject
):
    prefilled = data.draw(st.integers(0, total))
    cached = data.draw(st.integers(0, prefilled))
    completion = data.draw(st.integers(0, max_tokens))
    done = Counts(prefilled - cached, cached, completion)
    bound = cost(done, price) + window_cost(
        price, done, prompt_total=total, max_tokens=max_tokens, k=k
    )
    room = 0 if completion else min(2 * PROMPT_STEP, total - prefilled)
    more_prompt = data.draw(st.integers(0, room))
    more_cached = data.draw(st.integers(0, more_prompt))
    more = data.draw(st.integers(0, min(k, max_tokens - completion)))
    later = done.advance(prompt=more_prompt - more_cached, cached=more_cached, completion=more)
    assert cost(later, price) <= bound
    full = done.advance(prompt=room, completion=min(k, max_tokens - completion))
    assert cost(full, price) == bound
    assert bound <= highest_cost(price, prompt_total=total, max_tokens=max_tokens)


PRICE = Price(prompt=1_000_000, cached=0, completion=100_000_000)


@pytest.mark.parametrize(
    ("done", "prompt_total", "max_tokens", "expected"),
    [
        (Counts(), 10_000, 1000, 2 * PROMPT_STEP + 100 * WINDOW_TOKENS),
        (Counts(), 3000, 1000, 3000 + 100 * WINDOW_TOKENS),
        (Counts(), 3000, 10, 3000 + 1000),
        (Counts(prompt=2048, cached=100), 3000, 10, 852 + 1000),
        (Counts(prompt=3000), 3000, 1000, 100 * WINDOW_TOKENS),
        # the first completion token ends the prefill, whatever the bound still allows
        (Counts(prompt=10, completion=1), 3000, 1000, 100 * WINDOW_TOKENS),
        (Counts(prompt=10, completion=990), 3000, 1000, 1000),
        (Counts(prompt=10, completion=1000), 3000, 1000, 0),
    ],
)
def test_windows(done: Counts, prompt_total: int, max_tokens: int, expected: int):
    assert window_cost(PRICE, done, prompt_total=prompt_total, max_tokens=max_tokens) == expected


@pytest.mark.parametrize("price", [Price(1, 2, 3), Price(-1, -1, 0), Price(0, 0, 2**63)])
def test_impossible_prices(price: Price):
    with pytest.raises(ConfigError):
        price.validate()


def test_free():
    assert Price(0, 0, 0).validate().free
    assert not Price(0, 0, 1).free
    assert not Price(1, 0, 0).free


def test_counts_only_grow():
    assert Counts(2, 1, 1).covers(Counts(2, 0, 1))
    assert not Counts(2, 0, 1).covers(Counts(1, 1, 1))
