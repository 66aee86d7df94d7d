from __future__ import annotations

import hashlib
import json

import pytest

from cocoon_sdk.errors import VerificationError
from cocoon_sdk.tokens import bundle as module
from cocoon_sdk.tokens.bundle import TokenBundle


def test_round_trip() -> None:
    made = TokenBundle.build({"model": {}}, "{{ 1 }}", bos=None, eos=(2, 3))
    read = TokenBundle.from_bytes(made.raw, hashlib.sha256(made.raw).digest())
    assert read == made
    assert read.special.eos == (2, 3)
    assert read.tokenizer_hash == hashlib.sha256(b'{"model":{}}').digest()
    assert set(json.loads(made.raw)) == {"tokenizer", "chat_template", "special"}


def test_other_hash_is_refused() -> None:
    made = TokenBundle.build({}, "", bos=1, eos=())
    with pytest.raises(VerificationError, match="hash"):
        TokenBundle.from_bytes(made.raw + b" ", made.hash)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"tokenizer":{},"chat_template":1,"special":{}}',
        b'{"tokenizer":{},"chat_template":"\xff","special":{}}',
        b"[" * 100_000,
    ],
)
def test_malformed_is_refused(raw: bytes) -> None:
    with pytest.raises(VerificationError):
        TokenBundle.from_bytes(raw)


def test_sizes_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TEMPLATE_CHARS", 3)
    with pytest.raises(VerificationError, match="limit of 3"):
        TokenBundle.build({}, "four", bos=None, eos=())
    monkeypatch.setattr(module, "MAX_BUNDLE_BYTES", 3)
    with pytest.raises(VerificationError, match="limit of 3"):
        TokenBundle.from_bytes(b"{}  ")
