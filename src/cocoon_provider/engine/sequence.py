"""One answer in the making: what to compute next, what came of it, what may be handed out.

Plain data and decisions; it neither runs the model nor knows of threads. The loop asks for a `Step`,
runs it, gives the scores to `commit`, and hands on the events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as Items
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cocoon_provider.backends.base import Event, Finished, FinishReason, Piece, Prefilled
from cocoon_provider.engine.detokenizer import Detokenizer
from cocoon_provider.engine.sampler import Sampler
from cocoon_sdk.protocol.messages import Channel
from cocoon_sdk.tokens.stream import Decoded

CHUNK = 64  # prompt tokens of one step
MIN_CHUNK = 16  # below this the int8 kernels take another path and results change

Scores = npt.NDArray[np.float32]


class Step(NamedTuple):
    """Tokens to run behind the first `past` tokens of the sequence."""

    past: int
    tokens: tuple[int, ...]


class Sequence:
    """The state of one request.

    Args:
        prompt: Ids to prefill, those of a resume included; not empty.
        given: How many of them a resume gave: positions of the answer count from there.
        max_tokens: Completion tokens at most.
        eos: Ids that end the answer.
        sampler: Chooses tokens.
        detokenizer: Makes text of them.
    """

    def __init__(
        self,
        prompt: Items[int],
        *,
        given: int,
        max_tokens: int,
        eos: frozenset[int],
        sampler: Sampler,
        detokenizer: Detokenizer,
    ) -> None:
        self._prompt = tuple(prompt)
        self._given = given
        self._max_tokens = max_tokens
        self._eos = eos
        self._sampler = sampler
        self._detokenizer = detokenizer
        self._granted_prompt = 0
        self._granted_completion = 0
        self._computed = 0  # tokens that the model has seen
        self._reported = 0  # prompt tokens in the last Prefilled
        self._scores: Scores | None = None  # for the next token
        self._last = -1  # the newest token, which the model has not seen
        self._chosen = 0
        self._delivered = 0
        self._outbox: deque[Decoded] = deque()  # text that is certain and waits for its grant
        self._waiting = 0  # ids in the outbox
        # A resume may bring the whole answer; only its end is left to say.
        self._reason: FinishReason | None = None if max_tokens else "length"
        self.finished = False

    def grant(self, prompt: int, completion: int) -> list[Event]:
        """Raise the totals that may be worked up to; what that sets free."""
        self._granted_prompt = max(prompt, self._granted_prompt)
        self._granted_completion = max(completion, self._granted_completion)
        return self._advance()

    def cancel(self) -> list[Event]:
        """End now; nothing that waits is delivered."""
        self._outbox.clear()
        self._reason = "cancelled"
        return self._release()

    def step(self) -> Step | None:
        """What the model should run next; None while there is nothing, or no grant for it."""
        if self._reason is not None:
            return None
        left = len(self._prompt) - self._computed
        if left > 0:
            count = min(left, CHUNK, self._granted_prompt - self._computed)
            if count <= 0:
                return None
            # A short chunk computes the tokens before it again, to the same keys and values.
            end = self._computed + count
            start = min(self._computed, max(0, end - MIN_CHUNK))
            return Step(start, self._prompt[start:end])
        if self._scores is None and self._may_choose():
            return Step(self._computed, (self._last,))
        return None

    def commit(self, step: Step, scores: Scores) -> list[Event]:
        """Take the model's scores after a step; `scores` is not kept."""
        self._computed = step.past + len(step.tokens)
        if self._computed >= len(self._prompt):
            self._scores = scores
        events = self._advance()
        if self._scores is not None:
            self._scores = scores.copy()
        return events

    def _advance(self) -> list[Event]:
        events: list[Event] = []
        done = min(self._computed, len(self._prompt))
        if done > self._reported and done in {self._granted_prompt, len(self._prompt)}:
            self._reported = done
            events.append(Prefilled(done, 0))
        if self._scores is not None and self._reason is None and self._may_choose():
            self._choose(self._scores)
            self._scores = None
        return events + self._release()

    def _may_choose(self) -> bool:
        # Held-back text does not count: it is not billed, and its grant might never come.
        return self._delivered + self._waiting < self._granted_completion

    def _choose(self, scores: Scores) -> None:
        token = self._sampler.choose(scores, self._given + self._chosen)
        self._chosen += 1
        if token in self._eos:
            self._end("stop")
            return
        self._last = token
        self._sampler.note(token)
        self._store(self._detokenizer.push(token))
        if self._detokenizer.stopped:
            self._reason = "stop"
        elif self._chosen == self._max_tokens:
            self._end("length")

    def _end(self, reason: FinishReason) -> None:
        self._store(self._detokenizer.finish())
        self._reason = reason

    def _store(self, parts: list[Decoded]) -> None:
        self._outbox.extend(parts)
        self._waiting += sum(len(part.ids) for part in parts)

    def _release(self) -> list[Event]:
        """Text within its grant, and the end once all of it is out."""
        events: list[Event] = []
        while (
            self._outbox and self._delivered + len(self._outbox[0].ids) <= self._granted_completion
        ):
            part = self._outbox.popleft()
            self._waiting -= len(part.ids)
            self._delivered += len(part.ids)
            events.append(Piece(0, Channel.CONTENT, part.text, part.ids))
        if self._reason is not None and not self._outbox and not self.finished:
            self.finished = True
            events.append(Finished((self._reason,)))
        return events
