"""Which tokenizers may run: the parts that models of the known families use, and no others.

A tokenizer.json is foreign code (threats.md, "hostile text"): its normalizers can multiply a text
without measure, its regular expressions can run for hours, and either can end the whole process from
inside the library. So parts are allowed by name, and regular expressions by their very text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cocoon_sdk.errors import VerificationError

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

SPLIT_LLAMA = rf"{_CONTRACTIONS}|{_LETTERS}|\p{{N}}{{1,3}}|{_REST}"
SPLIT_QWEN = rf"{_CONTRACTIONS}|{_LETTERS}|\p{{N}}|{_REST}"

_PATTERNS = ({"Regex": SPLIT_LLAMA}, {"Regex": SPLIT_QWEN})
_NORMALIZERS = frozenset({"NFC", "NFD", "NFKC", "NFKD"})
_MAX_PARTS = 4
_MAX_TOKEN = 1024  # characters; the longest in use are runs of 128 spaces


def check_shape(document: object) -> Mapping[str, Any]:
    """The tokenizer.json object, if it is made of allowed parts.

    Raises:
        VerificationError: names the part that is not.
    """
    if not isinstance(document, dict):
        raise _refused("document")
    _check_model(_part(document, "model"))
    added = document.get("added_tokens") or []
    if not isinstance(added, list) or not all(map(_is_added, added)):
        raise _refused("list of added tokens")
    normalizer = document.get("normalizer")
    if normalizer is not None and _part(document, "normalizer").get("type") not in _NORMALIZERS:
        raise _refused("normalizer")
    if document.get("pre_tokenizer") is not None:
        _check_pre_tokenizer(_part(document, "pre_tokenizer"))
    for name in ("decoder", "post_processor"):
        if document.get(name) is not None and _part(document, name).get("type") != "ByteLevel":
            raise _refused(name)
    return document


def _check_model(model: Mapping[str, Any]) -> None:
    affixes = (model.get("continuing_subword_prefix"), model.get("end_of_word_suffix"))
    if model.get("type") != "BPE" or model.get("dropout") is not None or any(affixes):
        raise _refused("model")
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, dict) or any(len(text) > _MAX_TOKEN for text in vocabulary):
        raise _refused("vocabulary")


def _is_added(token: object) -> bool:
    text = token.get("content") if isinstance(token, dict) else None
    return isinstance(text, str) and len(text) <= _MAX_TOKEN


def _check_pre_tokenizer(part: Mapping[str, Any]) -> None:
    parts = part.get("pretokenizers") if part.get("type") == "Sequence" else [part]
    if not isinstance(parts, list) or len(parts) > _MAX_PARTS:
        raise _refused("pre_tokenizer")
    for item in parts:
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "Split" and item.get("pattern") in _PATTERNS:
            continue
        if kind not in {"ByteLevel", "Digits"}:
            raise _refused("pre_tokenizer")


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = document.get(name)
    if not isinstance(part, dict):
        raise _refused(name)
    return part


def _refused(name: str) -> VerificationError:
    return VerificationError(
        f"the token bundle's tokenizer has a {name} of a kind that is not run here; "
        "use another provider"
    )
