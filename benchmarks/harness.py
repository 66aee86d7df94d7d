"""Interleaved pairs: both sides of a figure run alternately, so that a slow minute slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Work = Callable[[], float]  # does its work and says how many units it did


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured. A tiny effort shows that a benchmark runs, and measures nothing."""

    pairs: int = 9
    share: float = 1.0  # of the full number of units in one call

    def of(self, full: int) -> int:
        """So many units instead of `full`, at least one."""
        return max(1, round(full * self.share))


FULL = Effort()
QUICK = Effort(pairs=1, share=0.002)


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure is held to: `ours` alone, its `ratio` to the peer, or its `difference` from it."""

    of: Literal["ours", "ratio", "difference"]
    limit: float


@dataclass(frozen=True, slots=True)
class Figure:
    """Ours against a peer. `quartiles` are those of the pairwise ratios.

    Where `less` is true the unit is a time and less of it is better, else it is work per second.
    """

    name: str
    peer: str
    unit: str
    less: bool
    ours: float
    theirs: float
    ratio: float
    quartiles: tuple[float, float]
    difference: float
    goal: Goal | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal was met in this run; None where there is none."""
        if self.goal is None:
            return None
        value: float = getattr(self, self.goal.of)
        return value <= self.goal.limit if self.less else value >= self.goal.limit

    def to_dict(self) -> dict[str, object]:
        """Ready for a JSON line."""
        return {
            "name": self.name,
            "peer": self.peer,
            "unit": self.unit,
            "ours": round(self.ours, 3),
            "theirs": round(self.theirs, 3),
            "ratio": round(self.ratio, 3),
            "quartiles": [round(quartile, 3) for quartile in self.quartiles],
            "difference": round(self.difference, 3),
            "goal": None if self.goal is None else [self.goal.of, self.goal.limit],
            "met": self.met,
        }


def compare(
    name: str,
    peer: str,
    unit: str,
    ours: Work,
    theirs: Work,
    *,
    effort: Effort = FULL,
    clock: Callable[[], float] = time.perf_counter,
    each: float | None = None,
    goal: Goal | None = None,
) -> Figure:
    """Run both once to warm up, then in alternating order.

    Args:
        name: what ours does.
        peer: what theirs is.
        unit: of the figures.
        ours: one call of our side.
        theirs: one call of the peer.
        effort: how many pairs.
        clock: `time.process_time` where only the processor counts.
        each: the figures are times per unit of work, and one second is so many `unit`s. Without it
            they are units of work per second.
        goal: what the figure is held to.
    """

    def measure(work: Work) -> float:
        started = clock()
        units = work()
        elapsed = clock() - started
        return units / elapsed if each is None else elapsed / units * each

    ours()
    theirs()
    measured: list[tuple[float, float]] = []
    for number in range(effort.pairs):
        if number % 2:
            their_value = measure(theirs)
            measured.append((measure(ours), their_value))
        else:
            measured.append((measure(ours), measure(theirs)))
    return figure(name, peer, unit, measured, less=each is not None, goal=goal)


def figure(
    name: str,
    peer: str,
    unit: str,
    measured: list[tuple[float, float]],
    *,
    less: bool,
    goal: Goal | None = None,
) -> Figure:
    """The medians of (ours, theirs) pairs that were measured alternately."""
    ratios = [mine / other for mine, other in measured]
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return Figure(
        name=name,
        peer=peer,
        unit=unit,
        less=less,
        ours=statistics.median(mine for mine, _ in measured),
        theirs=statistics.median(other for _, other in measured),
        ratio=statistics.median(ratios),
        quartiles=(low, high),
        difference=statistics.median(mine - other for mine, other in measured),
        goal=goal,
    )
