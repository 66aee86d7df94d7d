"""The devnet's time goes forward only, and as far as it is told."""

from __future__ import annotations

import pytest

from cocoon_sdk.devnet.clock import LONGEST_ADVANCE, Clock
from cocoon_sdk.errors import ConfigError


def test_clock_never_goes_back():
    machine = [1_000.9]
    clock = Clock(offset=50, floor=0, machine=lambda: machine[0])
    assert clock.now() == 1_050
    machine[0] = 900.0
    assert clock.now() == 1_050
    machine[0] = 1_001.0
    assert clock.advance(10) == 1_061
    assert clock.offset == 60
    assert Clock(offset=0, floor=5_000, machine=lambda: 1.0).now() == 5_000


@pytest.mark.parametrize("seconds", [-1, LONGEST_ADVANCE + 1])
def test_clock_advance_has_limits(seconds):
    with pytest.raises(ConfigError):
        Clock(offset=0, floor=0).advance(seconds)


def test_the_longest_and_the_shortest_advance():
    clock = Clock(offset=0, floor=0, machine=lambda: 5.0)
    assert clock.advance(0) == 5
    assert clock.advance(LONGEST_ADVANCE) == 5 + LONGEST_ADVANCE


def test_a_refused_advance_changes_nothing():
    clock = Clock(offset=7, floor=0, machine=lambda: 5.0)
    with pytest.raises(ConfigError, match="got -1"):
        clock.advance(-1)
    assert (clock.offset, clock.now()) == (7, 12)
