"""The token bundle of a GGUF file: its BPE vocabulary as a tokenizer.json, its template, its ids.

The bundle is one JSON document, {"tokenizer", "chat_template", "special"}, in one encoding (keys
sorted, no spaces, UTF-8), so that its SHA-256 names it on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from tokenizers import Tokenizer

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.tokens.shape import SPLIT_LLAMA, SPLIT_QWEN

_CONTROL, _USER_DEFINED, _UNUSED = 3, 4, 5  # token types
# Texts that end an answer whichever of them the metadata names as the one.
_ENDINGS = frozenset(
    {"<|endoftext|>", "<|im_end|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "</s>"}
)


def token_bundle(metadata: Mapping[str, Any], vocab: int) -> bytes:
    """Encode the bundle of a model with `vocab` rows in its embedding.

    Raises:
        ConfigError: the tokenizer is of an unsupported kind (named), or its parts do not fit together.
    """
    tokens, kinds = _vocabulary(metadata, vocab)
    controls = {text: index for index, text in enumerate(tokens) if kinds[index] == _CONTROL}
    eos = _identifier(metadata, "eos_token_id", vocab)
    if eos is None:
        raise ConfigError("the model file names no end-of-text token (tokenizer.ggml.eos_token_id)")
    endings = {eos} | {index for text, index in controls.items() if text in _ENDINGS}
    eot = _identifier(metadata, "eot_token_id", vocab)
    template = metadata.get("tokenizer.chat_template")
    if not isinstance(template, str):
        raise ConfigError("the model file has no chat template; only chat models can be served")
    document = {
        "tokenizer": _tokenizer(metadata, tokens, kinds),
        "chat_template": template,
        "special": {
            "bos": _identifier(metadata, "bos_token_id", vocab),
            "eos": sorted(endings | ({eot} if eot is not None else set())),
            "pad": _identifier(metadata, "padding_token_id", vocab),
            "tokens": controls,
        },
    }
    try:
        Tokenizer.from_str(msgspec.json.encode(document["tokenizer"]).decode())
    except Exception as error:  # the library raises bare Exception
        raise ConfigError(f"the model file's vocabulary and merges do not fit: {error}") from error
    return msgspec.json.encode(document, order="sorted")


def _vocabulary(metadata: Mapping[str, Any], vocab: int) -> tuple[list[str], list[int]]:
    kind = metadata.get("tokenizer.ggml.model")
    if kind != "gpt2":
        raise ConfigError(f"the tokenizer {kind!r} is not supported (gpt2, that is BPE, is)")
    tokens = _list(metadata, "tokens", str)
    kinds = _list(metadata, "token_type", int)
    if len(tokens) != vocab or len(kinds) != vocab:
        raise ConfigError(
            f"{len(tokens)} tokens and {len(kinds)} types do not fit an embedding of {vocab} rows"
        )
    if len(set(tokens)) != vocab:
        raise ConfigError("a token occurs twice in the model file's vocabulary")
    return tokens, kinds


def _tokenizer(metadata: Mapping[str, Any], tokens: list[str], kinds: list[int]) -> dict[str, Any]:
    name = metadata.get("tokenizer.ggml.pre")
    if name not in _PRE_TOKENIZERS:
        raise ConfigError(
            f"the pre-tokenizer {name!r} is not supported ({', '.join(sorted(_PRE_TOKENIZERS))} are)"
        )
    normalizer, pre_tokenizer, whole_words = _PRE_TOKENIZERS[name]
    pairs = [merge.split(" ") for merge in _list(metadata, "merges", str)]
    if any(len(pair) != 2 for pair in pairs):
        raise ConfigError("a merge of the model file is not two tokens")
    added = [
        {
            "id": index,
            "content": text,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kinds[index] == _CONTROL,
        }
        for index, text in enumerate(tokens)
        if kinds[index] in {_CONTROL, _USER_DEFINED}
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": _byte_level(regex=False),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": whole_words,
            "vocab": {text: i for i, text in enumerate(tokens) if kinds[i] != _UNUSED},
            "merges": pairs,
        },
    }


def _byte_level(*, regex: bool) -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": regex,
    }


def _split(pattern: str) -> dict[str, Any]:
    split = {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(regex=False)]}


_DIGITS_THEN_WORDS = {
    "type": "Sequence",
    "pretokenizers": [{"type": "Digits", "individual_digits": True}, _byte_level(regex=True)],
}
# name in the metadata: (normalizer, pre-tokenizer, whether a whole word found in the vocabulary is
# taken without merging)
_PRE_TOKENIZERS: dict[Any, tuple[dict[str, Any] | None, dict[str, Any], bool]] = {
    "smollm": (None, _DIGITS_THEN_WORDS, False),
    "llama-bpe": (None, _split(SPLIT_LLAMA), True),
    "qwen2": ({"type": "NFC"}, _split(SPLIT_QWEN), False),
}


def _list(metadata: Mapping[str, Any], key: str, kind: type) -> list[Any]:
    value = metadata.get(f"tokenizer.ggml.{key}")
    if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
        raise ConfigError(f"tokenizer.ggml.{key} of the model file is missing or malformed")
    return value


def _identifier(metadata: Mapping[str, Any], key: str, vocab: int) -> int | None:
    value = metadata.get(f"tokenizer.ggml.{key}")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < vocab:
        raise ConfigError(f"tokenizer.ggml.{key} is {value!r}, not one of {vocab} tokens")
    return value
