"""The 24 words behind a wallet key, as the wallets of TON make and read them.

PBKDF2 with HMAC-SHA512 over HMAC-SHA512(words): 100,000 rounds for the key, 390 for the check that one
random phrase of 256 passes. They are not BIP-39: its phrases fail the check. pytoniq-core does the
hashing; what it leaves out, that each word is of the list, is done here, and so is the drawing of words.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import cache

from pytoniq_core.crypto import keys as _library

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import SEED_BYTES, Ed25519Key

WORDS = 24


def new_mnemonic(choose: Callable[[Sequence[str]], str] = secrets.choice) -> tuple[str, ...]:
    """Fresh words that pass the check. `choose` draws one of a list evenly and unpredictably."""
    words: Sequence[str] = _library.words
    while True:
        drawn = [choose(words) for _ in range(WORDS)]
        if _library.mnemonic_is_valid(drawn):
            return tuple(drawn)


def key_of_mnemonic(words: Sequence[str]) -> Ed25519Key:
    """The key that every wallet of TON derives from these words, without a password.

    Raises:
        ConfigError: not 24 words of the list in an order that passes the check. No word is repeated in
            the message, only the places of unknown ones.
    """
    spelled = [word.strip().lower() for word in words]
    if len(spelled) != WORDS:
        raise ConfigError(f"a mnemonic of TON has {WORDS} words, this has {len(spelled)}")
    unknown = [str(place) for place, word in enumerate(spelled, 1) if word not in _known()]
    if unknown:
        raise ConfigError(
            f"word {', '.join(unknown)} of the mnemonic is not in the list of words; check the spelling"
        )
    if not _library.mnemonic_is_valid(spelled):
        raise ConfigError(
            "these words are no mnemonic of TON: one is wrong, two have changed places, they are of "
            "another chain (BIP-39), or they are protected by a password, which is not supported"
        )
    _, secret = _library.mnemonic_to_private_key(spelled)
    return Ed25519Key(bytes(secret)[:SEED_BYTES])


@cache
def _known() -> frozenset[str]:
    return frozenset(_library.words)
