"""Seeded mutations of bytes, for the slice of the campaign that runs with every test run."""

from __future__ import annotations

import random
from collections.abc import Sequence

INTERESTING = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63,
    2**64 - 1,
)


def mutate(raw: bytes, rng: random.Random, words: Sequence[bytes], other: bytes) -> bytes:
    """A few changes: bits, bytes, slices, numbers, words, or a part of `other`."""
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randint(0, len(data))
        match rng.randrange(8):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[at % len(data)] = rng.randrange(256)
            case 2:
                del data[at : at + rng.choice((1, 2, 4, 16, len(data)))]
            case 3:
                data[at:at] = rng.randbytes(rng.randint(1, 16))
            case 4:
                size = rng.choice((1, 2, 4, 8))
                number = rng.choice(INTERESTING) % (1 << 8 * size)
                data[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))
            case 5:
                piece = data[at : at + rng.randint(1, 64)]
                data[at:at] = piece * rng.choice((1, 2, 50))
            case 6 if words:
                data[at : at + rng.choice((0, 1, 8))] = rng.choice(words)
            case _:
                start = rng.randint(0, len(other))
                data[at : at + rng.randint(0, 32)] = other[start : start + rng.randint(1, 64)]
    return bytes(data)
