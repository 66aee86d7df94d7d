"""The attached minimum under the fees of 2026, the older ones, and ten times those; rent."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cocoon_sdk.devnet.blockchain_config import FEES_2024, FEES_2026, Fees
from cocoon_sdk.ton.contract.channel import (
    ATTACHED,
    MIN_OPENING,
    coop_close_body,
    provider_close_body,
    request_close_body,
)

from .world import CLIENT, COIN, PROVIDER, PROVIDER_KEY, STRANGER, Outcome, World, sign

pytestmark = pytest.mark.contract

YEAR = 365 * 24 * 3600


def _due(fees: Fees) -> World:
    world = World(fees=fees).opened()
    assert world.request_close(value=COIN).code == 0
    world.now = world.data.close_at
    return world


OPERATIONS: dict[str, tuple[Callable[[Fees], World], Callable[[World], Outcome]]] = {
    "redeem": (lambda f: World(fees=f).opened(), lambda w: w.redeem(COIN // 2)),
    "redeem by a stranger": (
        lambda f: World(fees=f).opened(),
        lambda w: w.redeem(COIN // 2, by=STRANGER),
    ),
    "request_close": (lambda f: World(fees=f).opened(), lambda w: w.request_close()),
    "cancel_close": (_due, lambda w: w.cancel_close()),
    "finalize": (_due, lambda w: w.finalize()),
    "provider_close": (
        lambda f: World(fees=f).opened(),
        lambda w: w.provider_close(COIN // 2, COIN),
    ),
    "coop_close": (lambda f: World(fees=f).opened(), lambda w: w.coop_close(COIN // 2)),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("fees", [FEES_2026, FEES_2024], ids=["2026", "2024"])
def test_the_attached_value_covers_every_operation(name: str, fees: Fees) -> None:
    make, act = OPERATIONS[name]
    world = make(fees)
    outcome = act(world)
    assert outcome.code == 0
    assert outcome.spent - outcome.tx.storage_fee < ATTACHED


@pytest.mark.parametrize("fees", [FEES_2026, FEES_2024], ids=["2026", "2024"])
def test_the_smallest_opening_works(fees: Fees) -> None:
    world = World(fees=fees)
    assert world.open(MIN_OPENING).code == 0
    assert world.balance > 0


@pytest.mark.parametrize("name", OPERATIONS)
def test_fees_ten_times_higher_lose_the_attached_value_but_not_the_channel(name: str) -> None:
    make, act = OPERATIONS[name]
    world = make(FEES_2024.times(10))
    data, held = world.data, world.balance
    outcome = act(world)
    if outcome.code == 0:
        assert outcome.spent - outcome.tx.storage_fee <= ATTACHED
        return
    assert world.state.status == "active"
    assert world.data == data
    assert world.balance >= held - outcome.tx.storage_fee
    assert all(m.destination not in {CLIENT, PROVIDER} or m.bounced for m in outcome.outs)


def test_with_fees_ten_times_higher_a_larger_attachment_works() -> None:
    world = World(fees=FEES_2024.times(10)).opened()
    assert world.redeem(COIN // 2, by=STRANGER).code != 0
    assert world.redeem(COIN // 2, by=STRANGER, value=COIN).code == 0


def test_a_year_of_rent() -> None:
    world = World().opened()
    held = world.balance
    world.now += YEAR
    outcome = world.redeem(COIN // 2)
    assert outcome.code == 0
    assert 1_000_000 < outcome.tx.storage_fee < 1_600_000
    assert world.balance == held - outcome.tx.storage_fee - COIN // 2


@pytest.mark.parametrize("by", [PROVIDER, STRANGER])
def test_rent_that_ate_the_reserve_locks_nothing(by: object) -> None:
    world = World(fees=FEES_2024).opened()
    assert world.redeem(2 * COIN).code == 0  # all but the reserve
    world.now += 3 * YEAR  # more rent than the reserve holds
    outcome = world.redeem(3 * COIN, by=by)  # type: ignore[arg-type]
    assert outcome.code == 109
    assert world.balance == 0
    assert world.send(STRANGER, COIN, None).code == 0
    assert world.redeem(2 * COIN, by=by).code == 0  # type: ignore[arg-type]
    assert world.request_close().code == 0
    world.now = world.data.close_at
    assert world.finalize().code == 0
    assert world.state.status == "nonexist"


@pytest.mark.parametrize("bounce", [True, False])
@pytest.mark.parametrize("close", ["request", "provider", "coop"])
def test_a_channel_in_debt_can_be_closed(close: str, bounce: bool) -> None:
    world = World(fees=FEES_2024).opened()
    assert world.redeem(2 * COIN).code == 0
    world.now += 3 * YEAR
    total = world.data.redeemed
    auth = world.auth(total)
    source, body = {
        "request": (CLIENT, request_close_body()),
        "provider": (PROVIDER, provider_close_body(9, total)),
        "coop": (CLIENT, coop_close_body(9, sign(auth, PROVIDER_KEY), auth)),
    }[close]
    outcome = world.send(source, COIN, body, bounce=bounce)
    assert outcome.code == 0
    assert [m.destination for m in outcome.outs] == [source]
    assert world.balance == 0
    assert outcome.outs[0].value == COIN + outcome.balance_before - outcome.spent
