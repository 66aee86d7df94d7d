"""What a send costs the wallet itself: an upper estimate at the fees of 2026, made before sending.

The wallet's code skips actions that it cannot pay for, so a send without enough money would be
carried out in part; the estimate is therefore generous. What is not used stays in the wallet.
"""

from __future__ import annotations

from collections.abc import Iterable

from cocoon_sdk.ton.cells import Cell

BASE = 2_000_000  # import and gas of the wallet's transaction, its deployment, rent
GAS_PER_MESSAGE = 100_000
LUMP = 66_667
PER_CELL = 6_667
PER_64_BITS = 4_267
SAFETY = 2


def tree_size(root: Cell) -> tuple[int, int]:
    """How many distinct cells hang on a root, itself included, and how many bits they hold."""
    seen: dict[bytes, int] = {}
    waiting = [root]
    while waiting:
        cell = waiting.pop()
        if cell.hash not in seen:
            seen[cell.hash] = cell.bit_length
            waiting.extend(cell.refs)
    return len(seen), sum(seen.values())


def estimate(messages: Iterable[Cell]) -> int:
    """Nano that a wallet needs beside the values of these internal messages.

    Each is paid for twice: within the external message that orders it, and on its own way.
    """
    total = BASE
    for message in messages:
        cells, bits = tree_size(message)
        size = cells * PER_CELL + (bits + 63) // 64 * PER_64_BITS
        total += GAS_PER_MESSAGE + LUMP + 2 * size
    return total * SAFETY
