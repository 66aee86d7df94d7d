"""Batching into cells: the first token at once, then by size or time; hash and counts follow the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cocoon_provider.answer import FLUSH_SECONDS, Answer
from cocoon_provider.backends.base import Piece
from cocoon_provider.outcomes import Outcomes
from cocoon_sdk.payments.receipt import ResponseHash
from cocoon_sdk.protocol.messages import Channel, Delta, Result, encode_body, frame_type

pytestmark = pytest.mark.anyio


class Stage:
    """An answer whose frames are kept, on a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sent: list[Delta | Result] = []
        outcomes = Outcomes(lambda: self.now)
        self.outcome = outcomes.begin(b"", b"i" * 16, b"h" * 32)
        self.answer = Answer(self.send, self.outcome, lambda: self.now)

    async def send(self, frame: Delta | Result) -> None:
        self.sent.append(frame)

    @property
    def text(self) -> str:
        return "".join(f.text for f in self.sent if isinstance(f, Delta))


def piece(text: str, *ids: int, choice: int = 0, channel: Channel = Channel.CONTENT) -> Piece:
    return Piece(choice, channel, text, ids or (7,))


async def test_the_first_token_goes_at_once_and_later_ones_wait() -> None:
    stage = Stage()
    assert stage.answer.flush_at() is None
    stage.answer.add(piece("a"))
    assert stage.answer.flush_at() == 0.0
    await stage.answer.flush()
    stage.now = 1.0
    stage.answer.add(piece("b"))
    assert stage.answer.flush_at() == 1.0 + FLUSH_SECONDS
    stage.now = 1.02
    stage.answer.add(piece("c" * 300))
    assert stage.answer.flush_at() == 1.0  # a full cell does not wait
    assert (stage.answer.delivered, stage.answer.waiting) == (1, 2)
    await stage.answer.flush()
    assert (stage.text, stage.answer.delivered, stage.answer.waiting) == ("ab" + "c" * 300, 3, 0)


async def test_what_is_discarded_is_neither_sent_nor_counted() -> None:
    stage = Stage()
    stage.answer.add(piece("a"))
    await stage.answer.flush()
    stage.answer.add(piece("b"))
    stage.answer.discard()
    await stage.answer.flush()
    assert (stage.text, stage.answer.delivered, stage.answer.waiting) == ("a", 1, 0)
    assert stage.answer.flush_at() is None


async def test_choices_and_channels_are_not_mixed_and_reasoning_is_counted() -> None:
    stage = Stage()
    stage.answer.add(piece("think", 1, 2, channel=Channel.REASONING))
    stage.answer.add(piece("one", 3))
    stage.answer.add(piece("two", 4, choice=1))
    stage.answer.add(piece("more", 5, choice=1))
    await stage.answer.flush()
    await stage.answer.result("finish", {"choice": 0, "reason": "stop"})
    assert stage.sent == [
        Delta(0, 0, Channel.REASONING, "think", [1, 2]),
        Delta(1, 0, Channel.CONTENT, "one", [3]),
        Delta(2, 1, Channel.CONTENT, "twomore", [4, 5]),
        Result(3, 0, 1, "finish", {"choice": 0, "reason": "stop"}),
    ]
    assert (stage.answer.delivered, stage.answer.reasoning) == (5, 2)
    assert stage.outcome.messages() == stage.sent


@given(
    st.lists(
        st.tuples(
            st.text(max_size=400), st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=90)
        ),
        max_size=12,
    ),
    st.integers(1, 4),
)
async def test_whatever_comes_arrives_in_cells_and_is_hashed_as_sent(
    pieces: list[tuple[str, list[int]]], every: int
) -> None:
    stage = Stage()
    for number, (text, ids) in enumerate(pieces):
        stage.answer.add(piece(text, *ids))
        if number % every == 0:
            await stage.answer.flush()
    await stage.answer.flush()
    assert stage.text == "".join(text for text, _ in pieces)
    assert [i for f in stage.sent if isinstance(f, Delta) for i in f.ids] == [
        i for _, ids in pieces for i in ids
    ]
    expected = ResponseHash()
    for seq, frame in enumerate(stage.sent):
        body = encode_body(frame)
        assert len(body) <= 246
        assert frame.seq == seq
        expected.update(frame_type(frame), body)
    assert stage.answer.digest == expected.digest()
