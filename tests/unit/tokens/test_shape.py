"""Tokenizers of hostile bundles: what could exhaust or end the process is not run."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from cocoon_provider.backends.echo import echo_bundle
from cocoon_sdk.errors import VerificationError
from cocoon_sdk.tokens.bundle import TokenBundle
from cocoon_sdk.tokens.shape import SPLIT_LLAMA, SPLIT_QWEN
from cocoon_sdk.tokens.tokenizer import Tokenizer

HONEST: dict[str, Any] = json.loads(echo_bundle().tokenizer)
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}


def split(pattern: dict[str, str]) -> dict[str, object]:
    return {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}


def doubling(times: int) -> dict[str, object]:
    step = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    return {"type": "Sequence", "normalizers": [step] * times}


def load(document: dict[str, Any] | bytes) -> Tokenizer:
    return Tokenizer(TokenBundle.build(document, "", bos=None, eos=()))


def changed(**parts: object) -> dict[str, Any]:
    return copy.deepcopy(HONEST) | parts


@pytest.mark.parametrize("pattern", [SPLIT_LLAMA, SPLIT_QWEN])
def test_the_known_families_run(pattern: str) -> None:
    parts = {"type": "Sequence", "pretokenizers": [split({"Regex": pattern}), BYTE_LEVEL]}
    tokenizer = load(changed(normalizer={"type": "NFC"}, pre_tokenizer=parts))
    assert tokenizer.decode(tokenizer.encode("it's 2026, été")) == "it's 2026, été"


@pytest.mark.parametrize(
    "parts",
    [
        {"normalizer": doubling(40)},
        {"normalizer": {"type": "Prepend", "prepend": "x" * 1_000_000}},
        {"pre_tokenizer": split({"Regex": "(a|a)*c"})},
        {"pre_tokenizer": split({"Regex": SPLIT_LLAMA + "|(a|a)*c"})},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [BYTE_LEVEL] * 1_000}},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split({"Regex": "(a|a)*c"})]}},
        {"pre_tokenizer": {"type": "Metaspace"}},
        {"decoder": {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}},
        {"post_processor": {"type": "TemplateProcessing"}},
        {"model": {"type": "Unigram", "vocab": []}},
        {"model": HONEST["model"] | {"dropout": 0.5}},
        {"model": HONEST["model"] | {"continuing_subword_prefix": "x" * 1_000_000}},
        {"model": HONEST["model"] | {"vocab": HONEST["model"]["vocab"] | {"x" * 1_025: 258}}},
        {"added_tokens": [{"id": 300, "content": "x" * 1_025, "special": True}]},
        {"added_tokens": {"a": 1}},
        {"model": None},
        {"normalizer": "NFC"},
    ],
    ids=lambda parts: json.dumps(parts)[:40],
)
def test_other_parts_are_refused(parts: dict[str, object]) -> None:
    with pytest.raises(VerificationError):
        load(changed(**parts))


def test_a_name_that_occurs_twice_hides_nothing() -> None:
    text = json.dumps(HONEST)
    bomb = json.dumps(doubling(40))
    document = text.replace('"normalizer": null', f'"normalizer": {bomb}, "normalizer": null')
    assert document != text
    tokenizer = load(document.encode())
    assert len(tokenizer.encode("a")) == 1


@pytest.mark.parametrize("raw", [b"[]", b"3", b"[" * 100_000])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(VerificationError):
        load(raw)
