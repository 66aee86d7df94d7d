"""Amounts of the TON coin: integer nano inside, decimal strings at the edges, never a float.

One coin (GRAM since June 2026, Toncoin before) is 10^9 nano. Amounts on the wire stay below 2^63,
which is above the coin's whole supply (wire.md, "Frames").
"""

from __future__ import annotations

import re

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.ton.coins import DECIMALS, NANO_PER_COIN, format_amount, format_coins

__all__ = ["MAX_NANO", "NANO_PER_COIN", "format_amount", "format_coins", "parse_amount"]

MAX_NANO = 2**63 - 1
_COINS = re.compile(r"([0-9]{1,19})(?:\.([0-9]+))?")


def parse_amount(value: str | int) -> int:
    """Nano behind a setting: a string counts whole coins (`"0.2"`), an integer counts nano.

    Raises:
        ConfigError: a float, a boolean, a negative number, more than nine decimals, or 2^63 and above.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ConfigError(
            f"an amount is a decimal string of coins or an int of nano, not {type(value).__name__}"
        )
    nano = value if isinstance(value, int) else _parse_coins(value)
    if nano < 0:
        raise ConfigError(f"an amount cannot be negative: {value}")
    if nano > MAX_NANO:
        raise ConfigError(f"the amount {str(value)[:40]} is 2^63 nano or more; give a smaller one")
    return nano


def _parse_coins(text: str) -> int:
    match = _COINS.fullmatch(text)
    if match is None:
        raise ConfigError(f"not an amount of coins: {text[:40]!r}; write it like 0.2")
    fraction = match[2] or ""
    if len(fraction) > DECIMALS:
        raise ConfigError(
            f"{text[:40]} has more than {DECIMALS} decimals; the smallest unit is 1 nano"
        )
    return int(match[1]) * NANO_PER_COIN + int(fraction.ljust(DECIMALS, "0"))
