"""The coin of TON and its smallest unit."""

from __future__ import annotations

NANO_PER_COIN = 1_000_000_000
DECIMALS = 9


def format_amount(nano: int) -> str:
    """Coins as the shortest exact decimal: `200000000` gives `"0.2"`."""
    sign = "-" if nano < 0 else ""
    whole, rest = divmod(abs(nano), NANO_PER_COIN)
    fraction = f"{rest:0{DECIMALS}d}".rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def format_coins(nano: int) -> str:
    """The amount with its unit: `"1 coin"`, `"0.2 coins"`."""
    amount = format_amount(nano)
    return f"{amount} coin" if amount == "1" else f"{amount} coins"
