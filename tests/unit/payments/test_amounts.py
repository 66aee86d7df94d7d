"""Amounts: decimal strings at the edges, integers inside, never a float."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.payments.amounts import MAX_NANO, format_amount, parse_amount


@pytest.mark.parametrize(
    ("value", "nano"),
    [
        ("0.2", 200_000_000),
        ("0", 0),
        ("1", 1_000_000_000),
        ("0.000000001", 1),
        ("007.50", 7_500_000_000),
        ("9223372036.854775807", MAX_NANO),
        (5, 5),
        (MAX_NANO, MAX_NANO),
    ],
)
def test_accepted(value: str | int, nano: int):
    assert parse_amount(value) == nano


@pytest.mark.parametrize(
    "value",
    [
        0.2, True, False, None, Decimal("0.2"), b"1", -1, "-1", "", " 1", "1 ", "+1", "1e3", ".5", "1.",
        "1_000", "1,5", "0x10", "٣", "nan", "0.0000000001", "9223372036.854775808", MAX_NANO + 1,
        2**120, "9" * 40, "1\n",
    ],
)  # fmt: skip
def test_refused(value: object):
    with pytest.raises(ConfigError):
        parse_amount(value)


@given(st.integers(0, MAX_NANO))
def test_text_and_back(nano: int):
    text = format_amount(nano)
    assert parse_amount(text) == nano
    assert Decimal(text) * 10**9 == nano
    assert not text.endswith(".")
    assert "." not in text or not text.endswith("0")


def test_differences_are_shown_with_their_sign():
    assert format_amount(-1_500_000_000) == "-1.5"
