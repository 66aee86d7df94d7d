"""The token bundle: a BPE tokenizer rebuilt from GGUF metadata."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.tiny import SPECIAL, TEMPLATE, vocabulary
from tokenizers import Tokenizer

from cocoon_provider.models.tokens import token_bundle
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.tokens.bundle import TokenBundle

TOKENS, MERGES = vocabulary()


def _metadata(**changes: Any) -> dict[str, Any]:
    keys = {
        "model": "gpt2",
        "pre": "smollm",
        "tokens": TOKENS,
        "token_type": [3] * len(SPECIAL) + [1] * (len(TOKENS) - len(SPECIAL)),
        "merges": MERGES,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "padding_token_id": 2,
    } | changes
    metadata = {f"tokenizer.ggml.{key}": value for key, value in keys.items() if value is not None}
    return metadata | {"tokenizer.chat_template": TEMPLATE}


def _tokenizer(**changes: Any) -> Tokenizer:
    document = json.loads(token_bundle(_metadata(**changes), len(TOKENS)))
    return Tokenizer.from_str(json.dumps(document["tokenizer"]))


def test_document_and_its_one_encoding() -> None:
    raw = token_bundle(_metadata(), len(TOKENS))
    document = msgspec.json.decode(raw)
    assert msgspec.json.encode(document, order="sorted") == raw
    assert document["chat_template"] == TEMPLATE
    assert document["special"] == {
        "bos": 1,
        "eos": [0, 2],  # <|endoftext|> ends an answer, too
        "pad": 2,
        "tokens": {text: index for index, text in enumerate(SPECIAL)},
    }


def test_the_reader_of_the_sdk_accepts_it() -> None:
    bundle = TokenBundle.from_bytes(token_bundle(_metadata(), len(TOKENS)))
    assert tuple(bundle.special.eos) == (0, 2)
    assert bundle.special.bos == 1
    assert bundle.chat_template == TEMPLATE


@pytest.mark.parametrize(
    ("pre", "tokens"),
    [
        ("smollm", ["hello", "Ġ", "world"]),  # merges in order: "w o" comes before "Ġ w"
        ("llama-bpe", ["hello", "Ġworld"]),  # a whole word of the vocabulary needs no merges
        ("qwen2", ["hello", "Ġ", "world"]),
    ],
)
def test_merges_and_special_tokens(pre: str, tokens: list[str]) -> None:
    tokenizer = _tokenizer(pre=pre)
    assert tokenizer.encode("hello world").tokens == tokens
    assert tokenizer.encode("<|im_start|>user").ids[0] == 1
    tokenizer.encode_special_tokens = True
    assert 1 not in tokenizer.encode("<|im_start|>user").ids


@pytest.mark.parametrize("pre", ["smollm", "llama-bpe"])
@given(text=st.text(max_size=60))
def test_any_text_survives(pre: str, text: str) -> None:
    tokenizer = _tokenizer(pre=pre)
    tokenizer.encode_special_tokens = True
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


@pytest.mark.parametrize(
    ("pre", "pieces"),
    [
        ("smollm", ["a", "1", "2", "3", "4", "Ġb", "'s", "Ġ", "Ġc", "Ċ", "Ċ", "d"]),
        ("llama-bpe", ["a", "123", "4", "Ġb", "'s", "Ġ", "Ġc", "ĊĊ", "d"]),
        ("qwen2", ["a", "1", "2", "3", "4", "Ġb", "'s", "Ġ", "Ġc", "ĊĊ", "d"]),
    ],
)
def test_pre_tokenizers(pre: str, pieces: list[str]) -> None:
    found = _tokenizer(pre=pre).pre_tokenizer.pre_tokenize_str("a1234 b's  c\n\nd")
    assert [piece for piece, _ in found] == pieces


def test_qwen_normalises_and_smollm_does_not() -> None:
    decomposed = "e\u0301"
    assert _tokenizer(pre="qwen2").normalizer.normalize_str(decomposed) == "\u00e9"
    assert _tokenizer().normalizer is None


def test_unused_tokens_cannot_be_typed() -> None:
    kinds = [3] * len(SPECIAL) + [1] * (len(TOKENS) - len(SPECIAL))
    kinds[TOKENS.index("hello")] = 5
    tokenizer = _tokenizer(
        pre="smollm", token_type=kinds, merges=[m for m in MERGES if m != "hell o"]
    )
    assert tokenizer.token_to_id("hello") is None


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"model": "llama"}, "tokenizer 'llama' is not supported"),
        ({"pre": "deepseek-llm"}, "pre-tokenizer 'deepseek-llm' is not supported"),
        ({"pre": None}, "pre-tokenizer None"),
        ({"tokens": None}, "tokens .* missing"),
        ({"tokens": TOKENS[:-1]}, "do not fit an embedding"),
        ({"tokens": TOKENS[:-1] + TOKENS[:1]}, "occurs twice"),
        ({"token_type": ["3"] * len(TOKENS)}, "token_type .* malformed"),
        ({"merges": [*MERGES, "a b c"]}, "not two tokens"),
        ({"merges": [*MERGES, "nowhere tobefound"]}, "do not fit"),
        ({"eos_token_id": None}, "no end-of-text"),
        ({"eos_token_id": 10**6}, "eos_token_id"),
        ({"bos_token_id": True}, "bos_token_id"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        token_bundle(_metadata(**changes), len(TOKENS))


def test_a_model_without_a_template_is_refused() -> None:
    metadata = _metadata()
    del metadata["tokenizer.chat_template"]
    with pytest.raises(ConfigError, match="no chat template"):
        token_bundle(metadata, len(TOKENS))
