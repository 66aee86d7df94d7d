"""Numbers that the contract's source fixes: amounts, tags, opcodes, exit codes (payments.md §1)."""

from __future__ import annotations

from enum import IntEnum

ATTACHED = 20_000_000
"""Nano to attach to every operation but a top-up; what is left of it comes back (payments.md §1)."""
MIN_OPENING = 30_000_000
"""Nano that the opening deposit must bring at least."""
RENT_RESERVE = 10_000_000
"""Nano that redeeming leaves in the channel for its rent; refunded when it closes."""
MAX_CLOSE_DELAY = 7 * 24 * 3600
"""Seconds; a channel with a longer delay cannot be opened."""

VOUCHER_TAG = 0x434E5631
CLOSE_AUTH_TAG = 0x434E4331


class Op(IntEnum):
    """The first 32 bits of message bodies, in and out."""

    DEPOSIT = 0x6D1A3F01
    REDEEM = 0x6D1A3F02
    REQUEST_CLOSE = 0x6D1A3F03
    CANCEL_CLOSE = 0x6D1A3F04
    FINALIZE = 0x6D1A3F05
    PROVIDER_CLOSE = 0x6D1A3F06
    COOP_CLOSE = 0x6D1A3F07
    PAYOUT = 0x6D1A3F10
    EXCESSES = 0xD53276DB


class ContractError(IntEnum):
    """Exit codes of the contract."""

    MALFORMED = 9
    WRONG_TAG = 63
    NOT_OPEN = 100
    NOT_CLIENT = 102
    NOT_PROVIDER = 103
    SIGNATURE = 104
    NETWORK = 105
    CHANNEL = 106
    EPOCH = 107
    STALE = 108
    NO_FUNDS = 109
    LOW_VALUE = 110
    CLOSING = 111
    NOT_CLOSING = 112
    TOO_EARLY = 113
    ABOVE_VOUCHER = 114
    CLOSE_DELAY = 115
    UNKNOWN_OP = 65535
