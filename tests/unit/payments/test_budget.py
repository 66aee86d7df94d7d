"""Budgets: every scope or none, durable windows, pessimistic where nobody reported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cocoon_sdk.errors import BudgetExceededError, ConfigError
from cocoon_sdk.payments.budget import DAY, HOUR, Budget, BudgetLedger
from cocoon_sdk.store.database import Database
from tests.unit.payments.ledger_kit import open_ledger

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 100 * DAY

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def database(ledger_folder: Path) -> Iterator[Database]:
    with open_ledger(ledger_folder) as opened:
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


def name(number: int) -> bytes:
    return number.to_bytes(16, "big")


async def spend(budget: BudgetLedger, number: int, reserved: int, charged: int) -> None:
    async with budget.reserve(name(number), reserved, "provider") as held:
        held.settle(charged)


def test_limits_are_amounts():
    assert Budget(request="0.02", total=5).limit("request") == 20_000_000
    assert Budget(total=5).limit("total") == 5
    assert Budget().limit("day") is None
    for wrong in (0.02, "2 coins", -1, True):
        with pytest.raises(ConfigError):
            Budget(day=wrong)


@pytest.mark.parametrize("scope", ["request", "hour", "day", "total"])
async def test_each_scope_stops_at_its_limit(database: Database, clock: Clock, scope: str):
    budget = BudgetLedger(database, Budget(**{scope: 100}), clock=clock)
    await spend(budget, 1, 100, 60)
    with pytest.raises(BudgetExceededError) as caught:
        await spend(budget, 2, 101, 0)
    error = caught.value
    spent = 0 if scope == "request" else 60
    assert (error.scope, error.limit, error.spent, error.needed) == (scope, 100, spent, 101)
    if scope != "request":
        with pytest.raises(BudgetExceededError):
            await spend(budget, 3, 41, 0)
        await spend(budget, 4, 40, 40)
    assert "raise the budget" in str(error)


async def test_windows_pass_and_the_total_does_not(database: Database, clock: Clock):
    limits = Budget(hour=100, day=250, total=300)
    budget = BudgetLedger(database, limits, clock=clock)
    await spend(budget, 1, 100, 100)
    with pytest.raises(BudgetExceededError, match="hour"):
        await spend(budget, 2, 1, 1)
    clock.now += HOUR
    await spend(budget, 3, 100, 100)
    clock.now += HOUR
    with pytest.raises(BudgetExceededError, match="day"):
        await spend(budget, 4, 60, 60)
    clock.now += DAY
    await spend(budget, 5, 100, 100)
    clock.now += DAY
    with pytest.raises(BudgetExceededError, match="total"):
        await spend(budget, 6, 1, 1)
    assert await budget.spent() == {"hour": 0, "day": 0, "total": 300}


async def test_a_refused_reservation_leaves_no_trace(database: Database, clock: Clock):
    budget = BudgetLedger(database, Budget(total=100), user="u", clock=clock)
    with pytest.raises(BudgetExceededError):
        await budget.open(name(1), 101, "p")
    limited = BudgetLedger(database, Budget(), user="u", user_budget=Budget(hour=10), clock=clock)
    with pytest.raises(BudgetExceededError, match="of u"):
        await limited.open(name(2), 11, "p")
    for account in ("", "u"):
        assert await budget.spent(account) == {"hour": 0, "day": 0, "total": 0}


async def test_reserved_counts_at_once_and_the_rest_is_released(database: Database, clock: Clock):
    budget = BudgetLedger(database, Budget(total=100), clock=clock)
    await budget.open(name(1), 80, "p")
    assert (await budget.spent())["total"] == 80
    with pytest.raises(BudgetExceededError):
        await budget.open(name(2), 21, "p")
    await budget.settle(name(1), 30)
    await budget.settle(name(1), 99)
    assert (await budget.spent())["total"] == 30


async def test_a_failure_before_any_charge_releases_everything(database: Database, clock: Clock):
    budget = BudgetLedger(database, Budget(total=100), clock=clock)
    with pytest.raises(RuntimeError):
        async with budget.reserve(name(1), 100, "p"):
            raise RuntimeError
    assert (await budget.spent())["total"] == 0


async def test_a_crash_counts_in_full_and_cannot_reset_a_window(ledger_folder: Path, clock: Clock):
    for number in range(3):
        with open_ledger(ledger_folder) as database:
            budget = BudgetLedger(database, Budget(hour=100), clock=clock)
            if number < 2:
                await budget.open(name(number), 50, "p")  # and never settled
            else:
                with pytest.raises(BudgetExceededError):
                    await budget.open(name(number), 1, "p")
                clock.now += 2 * DAY
                await budget.open(name(number), 1, "p")
                await budget.settle(name(0), 0)  # too late: it was settled pessimistically
                assert (await budget.spent())["total"] == 101


async def test_settling_goes_to_the_window_of_the_reservation(database: Database, clock: Clock):
    budget = BudgetLedger(database, Budget(hour=100), clock=clock)
    await budget.open(name(1), 100, "p")
    clock.now += HOUR
    await budget.settle(name(1), 10)
    assert await budget.spent() == {"hour": 0, "day": 10, "total": 10}
    await budget.open(name(2), 100, "p")


async def test_users_share_the_clients_limits_and_have_their_own(database: Database, clock: Clock):
    common = Budget(total=100, user=60)
    alice = BudgetLedger(database, common, user="alice", clock=clock)
    strict = Budget(total=50)
    bob = BudgetLedger(database, common, user="bob", user_budget=strict, clock=clock)
    with pytest.raises(BudgetExceededError) as caught:
        await spend(alice, 1, 61, 0)
    assert (caught.value.scope, caught.value.limit) == ("user", 60)
    with pytest.raises(BudgetExceededError) as caught:
        await spend(bob, 2, 51, 0)
    assert (caught.value.scope, caught.value.limit) == ("total", 50)
    await spend(alice, 3, 60, 60)
    with pytest.raises(BudgetExceededError) as caught:
        await spend(bob, 4, 41, 0)
    assert (caught.value.scope, caught.value.spent) == ("total", 60)
    await spend(bob, 5, 40, 40)
    assert (await alice.spent())["total"] == 100
    assert (await alice.spent("alice"))["total"] == 60


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 3 * HOUR))),
    hour=st.integers(0, 150),
)
def test_no_window_ever_exceeds_its_limit(tmp_path_factory, steps, hour: int):
    import asyncio

    clock, windows = Clock(), {}

    async def run() -> None:
        with open_ledger(tmp_path_factory.mktemp("budget")) as database:
            budget = BudgetLedger(database, Budget(hour=hour), clock=clock)
            for number, (reserved, charged, pause) in enumerate(steps):
                at = clock.now // HOUR
                allowed = windows.get(at, 0) + reserved <= hour
                try:
                    await spend(budget, number, reserved, min(charged, reserved))
                except BudgetExceededError:
                    assert not allowed
                else:
                    assert allowed
                    windows[at] = windows.get(at, 0) + min(charged, reserved)
                assert (await budget.spent())["hour"] == windows.get(at, 0) <= hour
                clock.now += pause

    asyncio.run(run())
