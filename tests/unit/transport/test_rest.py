"""When a session is given up for being idle, and when a successor is made."""

from __future__ import annotations

from cocoon_sdk.protocol.constants import FIRST_REQUEST_TIMEOUT, IDLE_TIMEOUT, SOFT_AGE
from cocoon_sdk.transport.rest import FIRST_LIMIT, IDLE_LIMIT, REFRESH_AGE, Rest


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_always_before_the_provider_does() -> None:
    assert 0 < FIRST_LIMIT < FIRST_REQUEST_TIMEOUT
    assert FIRST_LIMIT < IDLE_LIMIT < IDLE_TIMEOUT
    assert IDLE_LIMIT < REFRESH_AGE < SOFT_AGE


def test_a_session_that_was_never_used_rests_for_a_shorter_time() -> None:
    clock = Clock()
    rest = Rest(clock)
    clock.now += FIRST_LIMIT - 0.1
    assert not rest.over
    clock.now += 0.2
    assert rest.over


def test_each_use_begins_the_time_anew() -> None:
    clock = Clock()
    rest = Rest(clock)
    for _ in range(3):
        rest.begin()
        clock.now += IDLE_LIMIT - 0.1
        assert not rest.over
    clock.now += 0.2
    assert rest.over


def test_age_counts_from_the_handshake() -> None:
    clock = Clock()
    rest = Rest(clock)
    clock.now += REFRESH_AGE - 1
    rest.begin()
    assert not rest.ageing
    clock.now += 1
    assert rest.ageing
