from __future__ import annotations

import json
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, trainers

from cocoon_sdk.errors import InvalidRequestError, VerificationError
from cocoon_sdk.tokens.bundle import TokenBundle
from cocoon_sdk.tokens.tokenizer import Tokenizer

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def trained() -> tokenizers.Tokenizer:
    """A byte-level BPE of the shape that SmolLM2 has."""
    core = tokenizers.Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(
        ["the user and the assistant, im_start im_end 2026 <| |>"] * 9, trainer
    )
    return core


CORE = trained()
BUNDLE = TokenBundle.build(CORE.to_str().encode(), TEMPLATE, bos=1, eos=(2, 0))
TOKENIZER = Tokenizer(BUNDLE)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30) | st.lists(
    st.sampled_from([*SPECIALS, "<|im_", "end|>", " the ", "\n", "12", "é"]), max_size=6
).map("".join)


@given(TEXTS)
def test_text_never_becomes_special_and_comes_back(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert not TOKENIZER.special_ids & set(ids)
    assert TOKENIZER.decode(ids) == text


@given(
    st.lists(
        st.text(alphabet=st.characters(codec="utf-8", exclude_characters="<|>"), max_size=30),
        max_size=4,
    )
)
def test_chat_is_canonical_when_nothing_special_is_typed(texts: list[str]) -> None:
    chat = [{"role": "user", "content": text} for text in ["first", *texts]]
    rendered = "".join(f"<|im_start|>user\n{m['content']}<|im_end|>\n" for m in chat)
    rendered += "<|im_start|>assistant\n"
    assert TOKENIZER.chat(chat) == CORE.encode(rendered).ids


@settings(max_examples=200)
@given(TEXTS, TEXTS)
def test_typed_special_tokens_add_none(first: str, second: str) -> None:
    chat: list[dict[str, Any]] = [
        {"role": "user", "content": first},
        {"role": "assistant", "content": [{"type": "text", "text": second}]},
    ]
    ids = TOKENIZER.chat(chat)
    assert [token for token in ids if token in TOKENIZER.special_ids] == [1, 2, 1, 2, 1]
    expected = f"<|im_start|>user\n{first}<|im_end|>\n<|im_start|>assistant\n{second}<|im_end|>\n"
    assert TOKENIZER.decode(ids) == expected + "<|im_start|>assistant\n"


def test_ids_of_the_bundle() -> None:
    assert TOKENIZER.eos_ids == {0, 2}
    assert TOKENIZER.special_ids == {0, 1, 2}
    assert TOKENIZER.knows(CORE.get_vocab_size() - 1)
    assert not TOKENIZER.knows(CORE.get_vocab_size())
    opened = TOKENIZER.chat([{"role": "user", "content": "x"}])
    closed = TOKENIZER.chat([{"role": "user", "content": "x"}], add_generation_prompt=False)
    assert opened[: len(closed)] == closed
    assert opened[len(closed)] == 1


def test_lone_surrogates_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="Unicode"):
        TOKENIZER.chat([{"role": "user", "content": "\ud800"}])


@pytest.mark.parametrize("token", [-1, 10**6, 2**40])
def test_unknown_ids_are_refused(token: int) -> None:
    with pytest.raises(InvalidRequestError, match="token id"):
        TOKENIZER.decode([5, token])


def test_unusable_bundles() -> None:
    with pytest.raises(VerificationError):
        Tokenizer(TokenBundle.build({"model": "none"}, "", bos=None, eos=()))
    with pytest.raises(VerificationError, match="vocabulary"):
        Tokenizer(TokenBundle.build(CORE.to_str().encode(), "", bos=None, eos=(10**6,)))
    broken = Tokenizer(TokenBundle.build(CORE.to_str().encode(), "{% for %}", bos=None, eos=(2,)))
    assert broken.encode("x")
    with pytest.raises(VerificationError, match="compile"):
        broken.chat([{"role": "user", "content": "x"}])


def test_padding_and_truncation_of_the_document_are_ignored() -> None:
    core = trained()
    core.enable_truncation(2)
    core.enable_padding(length=9)
    document = json.loads(core.to_str())
    tokenizer = Tokenizer(TokenBundle.build(document, TEMPLATE, bos=1, eos=(2,)))
    assert tokenizer.encode("the user and") == CORE.encode("the user and").ids
