"""RESULTs in parts: cut by size, put together in order, refused otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cocoon_sdk.protocol.messages import BodyError, FrameType, Result, decode_body, encode_body
from cocoon_sdk.protocol.results import ResultParts, split_result


@given(
    st.lists(st.lists(st.floats(-1, 1), max_size=9), max_size=40),
    st.sampled_from(["embedding", "k" * 40]),
    st.integers(0, 2**32 - 100),
)
def test_cut_and_joined(items: list[list[float]], kind: str, first: int) -> None:
    parts = split_result(first, kind, items, limit=200)
    assert [part.seq for part in parts] == list(range(first, first + len(parts)))
    assert [(part.part, part.of) for part in parts] == [(n, len(parts)) for n in range(len(parts))]
    assert all(len(encode_body(part)) <= 200 for part in parts)
    collected = ResultParts()
    whole = [collected.add(part) for part in parts]
    assert whole[:-1] == [None] * (len(parts) - 1)
    assert whole[-1] == items
    assert collected.complete


def test_parts_are_filled() -> None:
    parts = split_result(0, "k", [b"x" * 48] * 20, limit=127)
    assert [len(part.data) for part in parts] == [2] * 10


def test_nothing_is_one_empty_part() -> None:
    assert split_result(3, "k", []) == [Result(3, 0, 1, "k", [])]


def test_an_item_above_the_limit() -> None:
    with pytest.raises(ValueError, match="does not fit a RESULT of 100"):
        split_result(0, "k", [b"x" * 100], limit=100)


def test_a_value_in_one_part_may_be_anything() -> None:
    for value in ("stop", None, {"a": 1}, [1]):
        assert ResultParts().add(Result(0, 0, 1, "finish", value)) == value


def test_kinds_may_mix() -> None:
    parts = ResultParts()
    assert parts.add(Result(0, 0, 2, "a", [1])) is None
    assert parts.add(Result(1, 0, 2, "b", [3])) is None
    assert not parts.complete
    assert parts.add(Result(2, 1, 2, "b", [4])) == [3, 4]
    assert parts.add(Result(3, 1, 2, "a", [2])) == [1, 2]
    assert parts.complete
    assert parts.add(Result(4, 0, 2, "a", [1])) is None  # and again from the start


@pytest.mark.parametrize(
    ("results", "complaint"),
    [
        ([Result(0, 1, 2, "a", [1])], "part 1 of 2 where 0 was due"),
        ([Result(0, 0, 2, "a", [1]), Result(1, 0, 2, "a", [1])], "part 0 of 2 where 1 was due"),
        ([Result(0, 0, 3, "a", [1]), Result(1, 2, 3, "a", [1])], "part 2 of 3 where 1 was due"),
        ([Result(0, 0, 3, "a", [1]), Result(1, 1, 2, "a", [1])], "part 1 of 2 where 1 was due"),
        ([Result(0, 0, 2, "a", [1]), Result(1, 0, 1, "a", [1])], "part 0 of 1 where 1 was due"),
        ([Result(0, 0, 2, "a", "text")], "no list"),
        ([Result(0, 0, 65, "a", [1])], "65 parts; the limit is 64"),
        ([Result(0, 0, 32, kind, [1]) for kind in "abc"], "96 parts; the limit is 64"),
    ],
)
def test_refused(results: list[Result], complaint: str) -> None:
    parts = ResultParts()
    for result in results[:-1]:
        assert parts.add(result) is None
    with pytest.raises(ValueError, match=complaint):
        parts.add(results[-1])
    wider = ResultParts(limit=65)
    for part in range(64):
        assert wider.add(Result(part, part, 65, "a", [1])) is None
    assert wider.add(Result(64, 64, 65, "a", [1])) == [1] * 65


@pytest.mark.parametrize(("part", "of"), [(0, 0), (1, 1), (2, 1)])
def test_a_part_beyond_their_number_is_malformed(part: int, of: int) -> None:
    raw: Any = encode_body(Result(0, 0, 1, "k", []))
    with pytest.raises(BodyError, match="malformed RESULT"):
        decode_body(FrameType.RESULT, raw[:2] + bytes([part, of]) + raw[4:])
    with pytest.raises(ValueError, match=f"part {part} of {of}"):
        Result(0, part, of, "k", [])
