from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cocoon_provider.backends.echo import echo_bundle
from cocoon_provider.engine.detokenizer import Detokenizer
from cocoon_sdk.tokens.bundle import TokenBundle
from cocoon_sdk.tokens.stream import Decoded
from cocoon_sdk.tokens.tokenizer import Tokenizer
from tests.reference.tiny import TEMPLATE, vocabulary

BYTES = Tokenizer(echo_bundle())


def words() -> Tokenizer:
    """Tokens of several characters, so that stop strings begin and end inside of them."""
    tokens, merges = vocabulary()
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    document: dict[str, object] = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": byte_level | {"use_regex": True},
        "decoder": byte_level | {"use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {text: index for index, text in enumerate(tokens)},
            "merges": merges,
        },
    }
    return Tokenizer(TokenBundle.build(document, TEMPLATE, bos=None, eos=(2,)))


WORDS = words()
ALPHABET = [WORDS.encode(word)[0] for word in ("the", " hello", " world", "ing", "e", "h", " ")]


def run(detokenizer: Detokenizer, ids: list[int]) -> tuple[list[Decoded], int]:
    """What comes out until a stop or the end, and how many ids went in."""
    out: list[Decoded] = []
    for count, token in enumerate(ids, 1):
        out += detokenizer.push(token)
        if detokenizer.stopped:
            return out, count
    return out + detokenizer.finish(), len(ids)


@settings(max_examples=500)
@given(
    st.lists(st.sampled_from(ALPHABET), max_size=12),
    st.lists(
        st.sampled_from(["he", "eh", " h", "o w", "the hello", "ingt", "hehehe", "orld ", "ee"]),
        max_size=3,
    ),
)
def test_stops_are_found_wherever_they_begin(ids: list[int], stops: list[str]) -> None:
    detokenizer = Detokenizer(WORDS, stops)
    out, used = run(detokenizer, ids)
    text = "".join(part.text for part in out)
    # The definition: the answer ends with the first token that completes a stop string.
    for count in range(len(ids) + 1):
        whole = WORDS.decode(ids[:count])
        cuts = [whole.find(stop) for stop in stops if stop in whole]
        if cuts:
            assert detokenizer.stopped
            assert (used, text) == (count, whole[: min(cuts)])
            break
    else:
        assert not detokenizer.stopped
        assert text == WORDS.decode(ids)
    given_out = [token for part in out for token in part.ids]
    assert WORDS.decode(given_out) == text
    assert len(given_out) <= used


@given(
    st.text(alphabet="aé€👋", max_size=8),
    st.lists(st.text(alphabet="aé€👋", min_size=1, max_size=3), max_size=2),
)
def test_text_is_certain_as_early_as_possible(text: str, stops: list[str]) -> None:
    detokenizer = Detokenizer(BYTES, stops)
    shown = ""
    for end, char in enumerate(text, 1):
        for token in char.encode():
            shown += "".join(part.text for part in detokenizer.push(token))
        if detokenizer.stopped:
            return
        rest = text[len(shown) : end]
        assert text[:end] == shown + rest
        # Held back is only what begins a stop string.
        assert not rest or any(stop.startswith(rest) for stop in stops)


def test_unfinished_character_at_the_end_is_dropped() -> None:
    out, _ = run(Detokenizer(BYTES), list("a€".encode())[:-1])
    assert out == [Decoded("a", (97,))]


def test_resume_does_not_repeat_the_given_text() -> None:
    given_ids = list("€".encode())
    detokenizer = Detokenizer(BYTES, ["x"], given_ids)
    assert detokenizer.push(97) == [Decoded("a", (97,))]


def test_a_cut_never_gives_more_ids_than_were_chosen() -> None:
    token = WORDS.encode("the")
    assert len(token) == 1
    detokenizer = Detokenizer(WORDS, ["e"])
    out = detokenizer.push(token[0])
    assert detokenizer.stopped
    assert sum(len(part.ids) for part in out) <= 1
    assert out
    assert "th".startswith(out[0].text)
