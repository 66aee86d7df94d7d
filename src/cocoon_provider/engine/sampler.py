"""From logits to a token. The only randomness is Philox keyed by (seed, position in the answer)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from cocoon_provider.backends.parameters import Sampling
from cocoon_sdk.errors import ProviderInternalError

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

# top_p sorts the candidates above the first of these weights that hold enough mass.
_FLOORS = (0.1, 0.01, 1e-3, 1e-4, 1e-6, 0.0)


class Sampler:
    """Chooses the tokens of one answer.

    Args:
        sampling: The request's parameters.
        prompt: Its prompt, for the repetition penalty.
        banned: Ids that must never be chosen.
    """

    def __init__(self, sampling: Sampling, prompt: Iterable[int], banned: Ids) -> None:
        self._sampling = sampling
        self._banned = banned
        self._counts: Counter[int] = Counter()
        self._seen = set(prompt) if sampling.repetition_penalty != 1.0 else set()
        self._bias_ids = np.fromiter(sampling.logit_bias.keys(), np.int64)
        self._bias = np.fromiter(sampling.logit_bias.values(), np.float64)

    def note(self, token: int) -> None:
        """Count a token of the answer; given ones of a resume as well as chosen ones."""
        self._counts[token] += 1

    def choose(self, logits: npt.NDArray[np.float32], position: int) -> int:
        """The token at this position of the answer.

        Raises:
            ProviderInternalError: the model gave no usable number.
        """
        scores = self._adjusted(logits)
        best = int(scores.argmax())
        if not np.isfinite(scores[best]):
            raise ProviderInternalError("the model produced no usable scores")
        if self._sampling.temperature == 0.0:
            return best
        ids, weights = self._kept(scores - scores[best])
        mass = weights.cumsum()
        index = int(mass.searchsorted(self._uniform(position) * mass[-1], side="right"))
        return int(ids[min(index, len(ids) - 1)])

    def _uniform(self, position: int) -> float:
        """A number in [0, 1) that depends on nothing but the seed and the position."""
        key = np.array([self._sampling.seed, position], np.uint64)
        return float(np.random.Generator(np.random.Philox(key=key)).random())

    def _adjusted(self, logits: npt.NDArray[np.float32]) -> Floats:
        sampling = self._sampling
        scores = logits.astype(np.float64)
        if sampling.repetition_penalty != 1.0 and (self._seen or self._counts):
            seen = np.fromiter(self._seen | self._counts.keys(), np.int64)
            values = scores[seen]
            factor = sampling.repetition_penalty
            scores[seen] = np.where(values > 0, values / factor, values * factor)
        if self._counts and (sampling.presence_penalty or sampling.frequency_penalty):
            ids = np.fromiter(self._counts.keys(), np.int64)
            counts = np.fromiter(self._counts.values(), np.float64)
            scores[ids] -= sampling.presence_penalty + sampling.frequency_penalty * counts
        scores[self._bias_ids] += self._bias
        scores[self._banned] = -np.inf
        return scores

    def _kept(self, relative: Floats) -> tuple[Ids, Floats]:
        """The candidates in order of their ids, with weights relative to the best one's.

        Order by id, not by weight: rounding may swap neighbours by weight and must not change more.
        """
        sampling = self._sampling
        # A temperature close to 0 must not overflow; the best candidate stays at 0.
        weights = np.exp(np.maximum(relative / max(sampling.temperature, 1e-6), -745.0))
        weights[~np.isfinite(relative)] = 0.0
        keep = np.flatnonzero(weights)
        if 0 < sampling.top_k < len(keep):
            keep = _largest(weights, keep, sampling.top_k)
        if sampling.top_p < 1.0:
            keep = _nucleus(weights, keep, sampling.top_p)
        if sampling.min_p > 0.0:
            keep = keep[weights[keep] >= sampling.min_p]
        keep = np.sort(keep)
        return keep, weights[keep]


def _largest(weights: Floats, keep: Ids, count: int) -> Ids:
    """The `count` heaviest, heaviest first; the lower id wins a tie."""
    if count < len(keep):
        floor = np.partition(weights[keep], len(keep) - count)[len(keep) - count]
        keep = keep[weights[keep] >= floor]
    order = np.argsort(-weights[keep], kind="stable")
    return keep[order[:count]]


def _nucleus(weights: Floats, keep: Ids, top_p: float) -> Ids:
    """The fewest heaviest candidates whose mass reaches `top_p`; at least one."""
    considered = weights[keep]
    wanted = top_p * considered.sum()
    for floor in _FLOORS:
        heavy = keep[considered >= floor]
        if weights[heavy].sum() >= wanted or floor == 0.0:
            break
    ordered = heavy[np.argsort(-weights[heavy], kind="stable")]
    mass = weights[ordered].cumsum()
    return ordered[: int(mass.searchsorted(wanted)) + 1]
