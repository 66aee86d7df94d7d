"""Every code of the contract and of the machine has words of its own."""

from __future__ import annotations

import pytest

from cocoon_sdk.ton.contract.constants import ContractError
from cocoon_sdk.ton.exit_codes import MEANINGS, meaning


@pytest.mark.parametrize("code", list(ContractError), ids=lambda code: code.name)
def test_codes_of_the_channel(code):
    assert meaning(int(code)) == MEANINGS[code]


def test_no_two_codes_mean_the_same_but_out_of_gas():
    texts = list(MEANINGS.values())
    assert len(texts) - len(set(texts)) == 1
    assert meaning(13) == meaning(-14)


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (113, "delay"),
        (110, "0.02"),
        (109, "does not hold"),
        (135, "key"),
        (37, "add coins"),
        (9, "malformed"),
    ],
)
def test_words_that_matter(code, word):
    assert word in meaning(code)


def test_unknown_codes_and_none():
    assert "not a code" in meaning(4242)
    assert "nothing was executed" in meaning(None)
