"""Interleaved pairs: both sides of a ratio run alternately, so that a slow minute slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

PAIRS = 9


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours against a peer, in work per second. `quartiles` are those of the pairwise ratios."""

    name: str
    peer: str
    unit: str
    ours: float
    theirs: float
    median: float
    quartiles: tuple[float, float]

    def to_dict(self) -> dict[str, object]:
        """Ready for a JSON line."""
        return {
            "name": self.name,
            "peer": self.peer,
            "unit": self.unit,
            "ours": round(self.ours, 1),
            "theirs": round(self.theirs, 1),
            "ratio": round(self.median, 3),
            "quartiles": [round(quartile, 3) for quartile in self.quartiles],
        }


def rate(work: Callable[[], float]) -> float:
    """Units of work per second of one call; the call says how many units it did."""
    started = time.perf_counter()
    units = work()
    return units / (time.perf_counter() - started)


def compare(
    name: str,
    peer: str,
    unit: str,
    ours: Callable[[], float],
    theirs: Callable[[], float],
    *,
    pairs: int = PAIRS,
) -> Ratio:
    """Run both once to warm up, then in alternating order."""
    ours()
    theirs()
    measured: list[tuple[float, float]] = []
    for number in range(pairs):
        if number % 2:
            their_rate = rate(theirs)
            measured.append((rate(ours), their_rate))
        else:
            measured.append((rate(ours), rate(theirs)))
    ratios = [mine / other for mine, other in measured]
    low, _, high = statistics.quantiles(ratios, n=4)
    return Ratio(
        name=name,
        peer=peer,
        unit=unit,
        ours=statistics.median(mine for mine, _ in measured),
        theirs=statistics.median(other for _, other in measured),
        median=statistics.median(ratios),
        quartiles=(low, high),
    )
