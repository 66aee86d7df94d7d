"""Buckets that hide the length of a record (wire.md, "Padding")."""

from __future__ import annotations

from enum import IntEnum

from cocoon_sdk.protocol.constants import (
    MAX_PLAINTEXT,
    MIN_PLAINTEXT,
    REQUEST_BUCKET,
    STRICT_LEAST,
    STRICT_STEP,
)
from cocoon_sdk.protocol.errors import LocalProtocolError

BUCKETS = tuple(1 << n for n in range(MIN_PLAINTEXT.bit_length() - 1, MAX_PLAINTEXT.bit_length()))


class PaddingPolicy(IntEnum):
    """Parameter 3 of CLIENT_AUTH. Both sides of a session must agree on whether records are padded.

    A client that asks for STRICT gets it: the server then paces its side as well.
    """

    DEFAULT = 0
    STRICT = 1
    OFF = 2

    @classmethod
    def parse(cls, text: str) -> PaddingPolicy:
        """From a setting: `default`, `strict`, or `off` for benchmarks on loopback.

        Raises:
            LocalProtocolError: another word.
        """
        if text not in {"default", "strict", "off"}:
            raise LocalProtocolError(f"padding is 'default', 'strict' or 'off', not {text!r}")
        return cls[text.upper()]


def bucket(size: int) -> int:
    """The smallest bucket that holds `size` bytes of plaintext."""
    return MIN_PLAINTEXT if size <= MIN_PLAINTEXT else 1 << (size - 1).bit_length()


def request_bucket(size: int) -> int:
    """The bucket of the last record of a REQUEST: short prompts all look alike."""
    return REQUEST_BUCKET if size <= REQUEST_BUCKET else bucket(size)


def rounded_cells(count: int) -> int:
    """The length in cells of an answer of `count` of them in strict mode.

    64, 80, 96, 112, 128, 160 …: at most a quarter longer, and never by more than 128 cells.
    """
    if count <= STRICT_LEAST:
        return STRICT_LEAST
    step = min(STRICT_STEP, 1 << ((count - 1).bit_length() - 3))
    return -(-count // step) * step
