"""The price in REQUEST governs, unless it is below ours in any part."""

from __future__ import annotations

import pytest

from cocoon_provider.pricing import PriceList
from cocoon_provider.refusals import Refusal, refusal_of
from cocoon_sdk.errors import (
    ConfigError,
    ContextLengthError,
    InvalidRequestError,
    ModelNotFoundError,
    ProviderInternalError,
    ProviderOverloadedError,
    WireCode,
)
from cocoon_sdk.payments.meter import Price

PRICES = PriceList({"m": Price(10, 5, 20), "free": Price(0, 0, 0)})


@pytest.mark.parametrize("offered", [(10, 5, 20), (11, 5, 20), (10, 6, 20), (10, 5, 99)])
def test_a_price_not_below_ours_governs(offered: tuple[int, int, int]) -> None:
    assert PRICES.accept("m", offered) == Price(*offered)


@pytest.mark.parametrize("offered", [(9, 5, 20), (10, 4, 20), (10, 5, 19), (0, 0, 0)])
def test_a_price_below_ours_in_any_part_is_refused_with_ours(offered: tuple[int, int, int]) -> None:
    with pytest.raises(Refusal) as caught:
        PRICES.accept("m", offered)
    assert caught.value.code is WireCode.PRICE_CHANGED
    assert caught.value.frame().detail == {"price": [10, 5, 20]}


def test_cached_tokens_may_not_cost_more_than_others() -> None:
    with pytest.raises(Refusal) as caught:
        PRICES.accept("m", (10, 11, 20))
    assert caught.value.code is WireCode.INVALID_REQUEST


def test_a_free_model_is_free() -> None:
    assert PRICES.accept("free", (0, 0, 0)).free


def test_a_model_without_price_is_a_mistake_in_the_settings() -> None:
    with pytest.raises(ConfigError, match="no price"):
        PRICES["other"]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ModelNotFoundError("m1"), WireCode.MODEL_NOT_FOUND, "m1"),
        (ContextLengthError("m2"), WireCode.CONTEXT_LENGTH, "m2"),
        (InvalidRequestError("m3"), WireCode.INVALID_REQUEST, "m3"),
        (ProviderOverloadedError("m4", retry_after=1.5), WireCode.OVERLOADED, "m4"),
        (ProviderInternalError("inside"), WireCode.INTERNAL, "the provider failed"),
        (ConfigError("inside"), WireCode.INTERNAL, "the provider failed"),
    ],
)
def test_errors_become_refusals(error: Exception, code: WireCode, message: str) -> None:
    refusal = refusal_of(error)  # type: ignore[arg-type]
    assert refusal.code is code
    assert message in refusal.message
    assert "inside" not in refusal.message
