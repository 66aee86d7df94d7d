from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cocoon_sdk.protocol.deltas import split_delta
from cocoon_sdk.protocol.frames import MAX_DELTA
from cocoon_sdk.protocol.messages import Channel, encode_body

pieces = st.lists(
    st.tuples(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=400),
        st.lists(st.integers(0, 2**32 - 1), max_size=120),
    ),
    max_size=12,
)


@given(pieces, st.sampled_from([0, 120, 70_000, 2**32 - 10_000]), st.integers(0, 300))
def test_everything_arrives_in_order_and_fits(
    parts: list[tuple[str, list[int]]], first: int, choice: int
) -> None:
    deltas = split_delta(first, choice, Channel.REASONING, parts)
    assert all(len(encode_body(delta)) <= MAX_DELTA for delta in deltas)
    assert [delta.seq for delta in deltas] == list(range(first, first + len(deltas)))
    assert "".join(delta.text for delta in deltas) == "".join(text for text, _ in parts)
    assert [i for delta in deltas for i in delta.ids] == [i for _, ids in parts for i in ids]
    assert all(delta.text or delta.ids for delta in deltas)
    assert {(delta.choice, delta.channel) for delta in deltas} <= {(choice, Channel.REASONING)}


@given(
    st.lists(
        st.tuples(st.text("aé中😀", min_size=1, max_size=20), st.lists(st.just(9), max_size=5)),
        max_size=40,
    )
)
def test_a_piece_that_fits_stays_whole(parts: list[tuple[str, list[int]]]) -> None:
    """Cuts lie between pieces, so the ids of each DELTA decode to its text."""
    deltas = split_delta(0, 0, Channel.CONTENT, parts)
    remaining = iter(parts)
    for delta in deltas:
        text, ids = "", list[int]()
        while text != delta.text:
            more_text, more_ids = next(remaining)
            text += more_text
            ids += more_ids
        assert ids == delta.ids


def test_cells_are_filled() -> None:
    deltas = split_delta(0, 0, Channel.CONTENT, [("x" * 10, [5])] * 100)
    assert len(deltas) == 5  # 21 pieces of 11 bytes in each cell


def test_ids_are_counted_by_their_size() -> None:
    """One cell has 233 bytes for text and ids; an id takes 1, 2, 3 or 5."""
    for token, count in ((127, 232), (128, 116), (255, 116), (256, 77), (65_535, 77), (65_536, 46)):
        piece = ("x", [token] * count)
        [full] = split_delta(0, 0, Channel.CONTENT, [piece])
        assert len(encode_body(full)) <= MAX_DELTA
        more = split_delta(0, 0, Channel.CONTENT, [piece, ("y" * 4, [])])
        assert [delta.text for delta in more] == ["x", "yyyy"]


def test_nothing_makes_nothing() -> None:
    assert split_delta(0, 0, Channel.CONTENT, []) == []
    assert split_delta(0, 0, Channel.CONTENT, [("", [])]) == []


def test_a_piece_above_a_cell_is_cut_between_characters_and_ids() -> None:
    text, ids = "中" * 100, list(range(70_000, 70_030))
    deltas = split_delta(5, 0, Channel.CONTENT, [("ab", [1]), (text, ids), ("cd", [2])])
    assert len(deltas) == 3
    assert "".join(delta.text for delta in deltas) == f"ab{text}cd"
    assert [i for delta in deltas for i in delta.ids] == [1, *ids, 2]
    assert all(len(encode_body(delta)) <= MAX_DELTA for delta in deltas)
    assert deltas[0].ids == [1]  # the ids of a cut piece come with the last of its text
