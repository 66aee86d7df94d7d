"""The cap on handshakes, the line of waiting requests."""

from __future__ import annotations

import asyncio

import pytest

from cocoon_provider.limits import (
    MAX_PAUSE,
    MAX_TRACKED_CLIENTS,
    HandshakeGate,
    Pace,
    Patience,
    RequestLine,
)
from cocoon_provider.refusals import Refusal
from cocoon_sdk.errors import WireCode

pytestmark = pytest.mark.anyio


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_client_that_leaves_unbilled_too_often_has_to_wait() -> None:
    clock = Clock()
    patience = Patience(clock, times=3, seconds=4.0)
    for _ in range(3):
        patience.check(b"a")
        patience.count(b"a")
    with pytest.raises(Refusal) as caught:
        patience.check(b"a")
    assert caught.value.code is WireCode.OVERLOADED
    assert 3_900 <= caught.value.retry_after_ms <= 4_001
    patience.check(b"b")
    clock.now -= 50  # a clock that steps back punishes nobody further
    with pytest.raises(Refusal) as caught:
        patience.check(b"a")
    assert caught.value.retry_after_ms <= 4_001
    clock.now += 54.01
    patience.check(b"a")
    patience.count(b"a")
    with pytest.raises(Refusal):
        patience.check(b"a")


def test_only_so_many_clients_are_remembered() -> None:
    patience = Patience(Clock(), times=1)
    for number in range(MAX_TRACKED_CLIENTS + 1):
        patience.count(number.to_bytes(4, "big"))
    patience.check((0).to_bytes(4, "big"))
    with pytest.raises(Refusal):
        patience.check(MAX_TRACKED_CLIENTS.to_bytes(4, "big"))


async def test_the_gate_is_full_at_its_limit_and_opens_again() -> None:
    gate = HandshakeGate(1)
    with gate.enter():
        assert gate.full
        with pytest.raises(Refusal) as caught, gate.enter():
            pass
        assert caught.value.code is WireCode.OVERLOADED
    assert not gate.full
    with pytest.raises(ValueError), gate.enter():
        raise ValueError
    assert not gate.full


async def test_public_key_work_is_done_one_at_a_time_in_order() -> None:
    gate = HandshakeGate(10)
    order: list[str] = []

    async def work(name: str) -> None:
        async with gate.turn():
            order.append(f"{name} in")
            await asyncio.sleep(0)
            order.append(f"{name} out")

    await asyncio.gather(work("a"), work("b"))
    assert order == ["a in", "a out", "b in", "b out"]


async def test_the_line_is_served_in_order_and_refuses_beyond_its_end() -> None:
    line = RequestLine(active=1, waiting=2, estimate_ms=100)
    first = line.enter()
    assert first.ready
    second, third = line.enter(), line.enter()
    assert (second.ready, third.ready) == (False, False)
    assert (second.position(), third.position()) == ((1, 100), (2, 200))
    with pytest.raises(Refusal) as caught:
        line.enter()
    assert caught.value.code is WireCode.OVERLOADED
    assert caught.value.retry_after_ms == 300
    told: list[str] = []
    second.on_turn(lambda: told.append("second"))
    first.leave()
    first.leave()  # leaving twice frees one slot only
    await asyncio.sleep(0)
    assert (second.ready, third.ready, told) == (True, False, ["second"])
    assert third.position() == (1, 100)


async def test_a_place_in_line_can_be_given_up() -> None:
    line = RequestLine(active=1, waiting=5)
    first, second, third = line.enter(), line.enter(), line.enter()
    second.leave()
    assert line.waiting == 1
    first.leave()
    assert third.ready
    assert not second.ready
    third.leave()
    assert line.enter().ready


async def test_slots_are_neither_lost_nor_made() -> None:
    line = RequestLine(active=3, waiting=100)
    places = [line.enter() for _ in range(30)]
    assert sum(place.ready for place in places) == 3
    while places:
        ready = [place for place in places if place.ready]
        assert len(ready) == min(3, len(places))
        ready[0].leave()
        places.remove(ready[0])
    fresh = [line.enter() for _ in range(4)]
    assert [place.ready for place in fresh] == [True, True, True, False]


async def test_one_origin_gets_three_quarters_of_the_line() -> None:
    line = RequestLine(active=1, waiting=8)
    assert line.enter("a").ready
    for _ in range(6):
        assert not line.enter("a").ready
    with pytest.raises(Refusal, match="6 of them of this address"):
        line.enter("a")
    for _ in range(2):
        line.enter("b")
    with pytest.raises(Refusal):
        line.enter("c")


async def test_what_brings_nothing_is_slowed_down(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, slept = Clock(), list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    pace = Pace(clock, burst=2, per_second=4.0)
    for _ in range(2):
        await pace.wait()
        pace.count()
    await pace.wait()
    assert slept == []
    pace.count()
    await pace.wait()
    assert slept == [0.25]
    for _ in range(1_000):
        pace.count()
    await pace.wait()
    assert slept[-1] == MAX_PAUSE
    clock.now += 1_000
    await pace.wait()
    assert len(slept) == 2
