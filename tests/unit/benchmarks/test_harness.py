"""Figures of pairs: medians, directions, goals. No machine's speed is judged here."""

from __future__ import annotations

import json

import pytest

from benchmarks.harness import Effort, Figure, Goal, compare, figure


class Scripted:
    """A clock and the work that moves it; it notes who worked when."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order = ""

    def clock(self) -> float:
        return self.now

    def work(self, name: str, seconds: float, units: float) -> float:
        self.order += name
        self.now += seconds
        return units

    def compare(
        self, effort: Effort, each: float | None = None, goal: Goal | None = None
    ) -> Figure:
        return compare(
            "ours",
            "theirs",
            "unit",
            lambda: self.work("o", 2.0, 10),
            lambda: self.work("t", 1.0, 10),
            effort=effort,
            clock=self.clock,
            each=each,
            goal=goal,
        )


def test_sides_take_turns_at_going_first() -> None:
    script = Scripted()
    script.compare(Effort(pairs=4))
    assert script.order == "ot" + "ot" + "to" + "ot" + "to"


def test_rates_are_units_per_second() -> None:
    made = Scripted().compare(Effort(pairs=3))
    assert (made.ours, made.theirs, made.ratio, made.difference) == (5, 10, 0.5, -5)
    assert made.quartiles == (0.5, 0.5)


def test_times_are_per_unit() -> None:
    made = Scripted().compare(Effort(pairs=1), each=1e3)
    assert (made.ours, made.theirs, made.ratio, made.difference) == (200, 100, 2, 100)


@pytest.mark.parametrize(
    ("goal", "less", "met"),
    [
        (Goal("ours", 30), False, True),
        (Goal("ours", 31), False, False),
        (Goal("ours", 30), True, True),
        (Goal("ours", 29), True, False),
        (Goal("ratio", 2), True, False),
        (Goal("difference", 20), True, True),
        (None, True, None),
    ],
)
def test_goals(goal: Goal | None, less: bool, met: bool | None) -> None:
    made = figure("a", "b", "ms", [(30, 10), (29, 11), (31, 12)], less=less, goal=goal)
    assert made.ours == 30
    assert made.theirs == 11
    assert made.met is met
    assert json.loads(json.dumps(made.to_dict()))["met"] is met


def test_a_tiny_effort_still_does_something() -> None:
    assert Effort(share=0.001).of(100) == 1
    assert Effort().of(100) == 100
