from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.registry.model import Descriptor, ModelOffer, ModelPrice, PromptOverhead
from cocoon_sdk.routing.policy import Routing, Wish, rank

HASH = "ab" * 32


def make(number: int, *, completion: int = 1000, **changes: Any) -> Descriptor:
    offer = ModelOffer(
        id=changes.pop("model", "m"),
        hash=HASH,
        ctx=changes.pop("ctx", 8192),
        price=ModelPrice(prompt=completion // 2, cached=0, completion=completion),
        tokenizer=HASH,
        tokens=HASH,
        quantization=changes.pop("quantization", "int8"),
    )
    return Descriptor(
        id=Ed25519Key(bytes([number]) * 32).public_key.hex(),
        network="devnet/x",
        seq=1,
        issued=0,
        expires=1,
        endpoints=["ws://127.0.0.1:1"],
        suites=[1],
        payout=f"0:{HASH}",
        code_hash=HASH,
        min_deposit=0,
        close_delay=3600,
        window=changes.pop("window", 64),
        models=[offer],
        **changes,
    )


WISH = Wish(model="m", prompt_bytes=1000, messages=1, max_tokens=1000, assurance="operator")
PLENTY = 10**18


def order(
    descriptors: list[Descriptor],
    routing: Routing | None = None,
    wish: Wish = WISH,
    funds: dict[str, int] | None = None,
    quarantined: dict[str, str] | None = None,
) -> tuple[list[str], dict[str, str]]:
    everyone = {one.id: PLENTY for one in descriptors}
    ranking = rank(
        descriptors,
        wish,
        routing or Routing(),
        funds=everyone if funds is None else funds,
        unusable={},
        quarantined=quarantined or {},
    )
    return [one.provider for one in ranking.candidates], dict(ranking.rejections)


def test_the_cheapest_comes_first_and_order_overrides_it() -> None:
    dear, cheap = make(1, completion=9000), make(2, completion=10)
    assert order([dear, cheap])[0] == [cheap.id, dear.id]
    assert order([dear, cheap], Routing(order=[dear.id]))[0] == [dear.id, cheap.id]


@pytest.mark.parametrize(
    ("provider", "routing", "wish", "reason"),
    [
        (make(1, model="other"), Routing(), WISH, "does not list"),
        (make(1), Routing(only=["f" * 64]), WISH, r"routing\.only"),
        (make(1), Routing(ignore=[make(1).id]), WISH, r"routing\.ignore"),
        (make(1), Routing(order=["f" * 64], allow_fallbacks=False), WISH, "fallbacks"),
        (make(1), Routing(quantizations=["f32"]), WISH, "quantization int8"),
        (make(1, region="us"), Routing(regions=["eu"]), WISH, "region us"),
        (
            make(1, completion=10**9),
            Routing(max_price={"completion": "0.5"}),
            WISH,
            "above max_price",
        ),
        (make(1, ctx=999), Routing(), WISH, "context of 999"),
        (
            make(1),
            Routing(),
            Wish(model="m", prompt_bytes=1, messages=1, max_tokens=1, assurance="attested"),
            "no attestation",
        ),
    ],
)
def test_every_rejection_names_its_reason(
    provider: Descriptor, routing: Routing, wish: Wish, reason: str
) -> None:
    import re

    candidates, rejections = order([provider], routing, wish)
    assert candidates == []
    assert re.search(reason, rejections[provider.id])


def test_quarantine_wins_over_everything() -> None:
    bad = make(1)
    assert order([bad], quarantined={bad.id: "overcharged"})[1] == {
        bad.id: "quarantined: overcharged"
    }


def test_without_a_channel_the_rejection_says_how_to_open_one() -> None:
    one = make(1)
    ranking = rank([one], WISH, Routing(), funds={}, unusable={}, quarantined={})
    assert ranking.rejections[one.id] == (f"no channel: cocoon wallet open {one.id} --deposit 0.06")


def test_a_channel_that_is_not_open_is_told_instead_of_how_to_open_a_second_one() -> None:
    one = make(1)
    ranking = rank([one], WISH, Routing(), funds={}, unusable={one.id: "closing"}, quarantined={})
    assert ranking.rejections == {one.id: "closing"}
    assert ranking.shortfall is None
    other_is_open = rank(
        [one], WISH, Routing(), funds={one.id: PLENTY}, unusable={one.id: "closing"}, quarantined={}
    )
    assert len(other_is_open.candidates) == 1


def test_a_shortfall_is_named_only_when_money_is_all_that_is_missing() -> None:
    poor, other = make(1, completion=10**6), make(2, model="other")
    ranking = rank([poor], WISH, Routing(), funds={poor.id: 5}, unusable={}, quarantined={})
    assert ranking.shortfall == 1500  # 1,000 × 0.5 + 1,000 × 1 nano per token
    assert f"cocoon wallet topup {poor.id[:16]} 0.0" in ranking.rejections[poor.id]
    mixed = rank([poor, other], WISH, Routing(), funds={poor.id: 5}, unusable={}, quarantined={})
    assert mixed.shortfall is None


def test_exactly_enough_is_enough() -> None:
    one = make(1, completion=10**6)
    assert order([one], funds={one.id: 1500})[0] == [one.id]
    assert order([one], funds={one.id: 1499})[0] == []


def test_free_models_need_no_channel() -> None:
    free = make(1, completion=0)
    assert order([free], funds={})[0] == [free.id]


@given(
    st.lists(
        st.tuples(st.integers(1, 250), st.integers(0, 10**9)), unique_by=lambda x: x[0], max_size=12
    )
)
def test_every_provider_is_either_ranked_or_rejected_and_the_order_is_stable(
    some: list[tuple[int, int]],
) -> None:
    descriptors = [make(number, completion=price) for number, price in some]
    candidates, rejections = order(descriptors, Routing(max_price={"completion": 10**8}))
    assert sorted(candidates) + sorted(rejections) != [] or not descriptors
    assert set(candidates) | set(rejections) == {one.id for one in descriptors}
    assert not set(candidates) & set(rejections)
    assert order(descriptors[::-1], Routing(max_price={"completion": 10**8}))[0] == candidates


def test_routing_settings_are_checked_at_once() -> None:
    with pytest.raises(ConfigError, match="no part 'output'"):
        Routing(max_price={"output": "1"})
    with pytest.raises(ConfigError):
        Routing(max_price={"prompt": 0.5})  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match="sort"):
        Routing(sort="speed")  # type: ignore[arg-type]


def test_a_window_is_not_the_providers_to_choose() -> None:
    greedy = make(1, window=5000)
    assert "5000 tokens paid ahead" in order([greedy])[1][greedy.id]


def test_only_who_names_an_attestation_is_asked_for_one() -> None:
    without, named = make(1), make(2, att=HASH)
    wish = Wish(model="m", prompt_bytes=1, messages=1, max_tokens=1, assurance="attested")
    candidates, rejected = order([without, named], wish=wish)
    assert candidates == [named.id]
    assert "its owner can read prompts" in rejected[without.id]


def test_the_overhead_of_one_does_not_price_out_another() -> None:
    honest = make(1)
    loud = make(2, prompt_overhead=PromptOverhead(base=10**9, per_message=10**9))
    ranking = rank(
        [honest, loud],
        WISH,
        Routing(),
        funds={honest.id: 10, loud.id: 10},
        unusable={},
        quarantined={},
    )
    assert [one.provider for one in ranking.candidates] == [honest.id]
    assert (
        ranking.candidates[0].prompt_bound
        == 1000 + honest.prompt_overhead.base + honest.prompt_overhead.per_message
    )
