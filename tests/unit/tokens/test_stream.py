from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cocoon_provider.backends.echo import echo_bundle
from cocoon_sdk.tokens.stream import MAX_PENDING
from cocoon_sdk.tokens.tokenizer import Tokenizer

TOKENIZER = Tokenizer(echo_bundle())


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_text_arrives_character_by_character(text: str) -> None:
    stream = TOKENIZER.stream()
    pieces = [stream.push(byte) for byte in text.encode()]
    assert "".join(filter(None, pieces)) + TOKENIZER.decode(stream.pending) == text


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=3),
            st.text(st.characters(codec="utf-8"), max_size=3).map(str.encode),
            st.sampled_from([b"\xff" * 30, b"\xe2" * 20, "€".encode() * 8, b"\xe2\x82" * 9]),
        ),
        max_size=12,
    ).map(b"".join)
)
def test_every_byte_string_decodes_as_a_whole_would(data: bytes) -> None:
    stream = TOKENIZER.stream()
    ids: list[int] = []
    text = ""
    for byte in data:
        decoded = stream.push_ids(byte)
        if decoded:
            assert decoded.ids
            ids += decoded.ids
            text += decoded.text
        assert len(stream.pending) <= MAX_PENDING + 1
        assert TOKENIZER.decode(ids) == text
    assert [*ids, *stream.pending] == list(data)
