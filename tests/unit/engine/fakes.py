"""Sequences and a runner without a model: each token's successor is written down."""

from __future__ import annotations

import numpy as np

from cocoon_provider.backends.base import Event, Piece
from cocoon_provider.backends.echo import END, echo_bundle
from cocoon_provider.backends.parameters import Sampling
from cocoon_provider.engine.detokenizer import Detokenizer
from cocoon_provider.engine.sampler import Sampler
from cocoon_provider.engine.sequence import Sequence
from cocoon_sdk.tokens.tokenizer import Tokenizer

TOKENIZER = Tokenizer(echo_bundle())
EVERYTHING = 1 << 40
VOCAB = 258


def successor(token: int) -> int:
    """The alphabet in a circle; `z` is followed by the end of the answer."""
    return END if token == ord("z") else token + 1


def scores_for(token: int) -> np.ndarray:
    scores = np.zeros(VOCAB, np.float32)
    scores[successor(token)] = 9.0
    return scores


def make_sequence(
    prompt: str = "xyza", *, max_tokens: int = 100, stops: tuple[str, ...] = (), given: int = 0
) -> Sequence:
    ids = list(prompt.encode())
    sampler = Sampler(Sampling(temperature=0.0), ids, np.array([256]))
    return Sequence(
        ids,
        given=given,
        max_tokens=max_tokens,
        eos=frozenset({END}),
        sampler=sampler,
        detokenizer=Detokenizer(TOKENIZER, stops, ids[len(ids) - given :]),
    )


class FakeRunner:
    """Remembers what each row was given, and refuses to leave gaps."""

    def __init__(self, rows: int = 2) -> None:
        self.rows = rows
        self.seen: dict[int, list[int]] = {row: [] for row in range(rows)}
        self.calls: list[tuple[int, int, tuple[int, ...]]] = []
        self.fail_on = -1

    def run(self, row: int, past: int, tokens: tuple[int, ...]) -> np.ndarray:
        assert tokens
        assert past == 0 or past <= len(self.seen[row])
        if self.fail_on in tokens:
            raise RuntimeError("device lost")
        overlap = self.seen[row][past : past + len(tokens)] if past else []
        assert overlap == list(tokens[: len(overlap)])
        self.seen[row] = [*self.seen[row][:past], *tokens]
        self.calls.append((row, past, tokens))
        return scores_for(tokens[-1])


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Piece))
