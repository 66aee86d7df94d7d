"""ML-KEM-768, the second half of suite 2, from `cryptography` (extra [pq]), which is imported here only.

A key encapsulation: the client sends a fresh public key, the server answers with a ciphertext, and both hold
the same 32 bytes (FIPS 203). The library draws the randomness of an encapsulation itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache

from cocoon_sdk.protocol.constants import SUITE_HYBRID, SUITE_X25519
from cocoon_sdk.protocol.errors import RemoteProtocolError, UnsupportedSuiteError

SEED_BYTES = 64
PUBLIC_BYTES = 1_184
CIPHERTEXT_BYTES = 1_088
SHARED_BYTES = 32

Encapsulate = Callable[[bytes], tuple[bytes, bytes]]
"""From a public key to (shared secret, ciphertext)."""


@cache
def supported_suites() -> tuple[int, ...]:
    """The suites of this installation, weakest first: suite 2 needs the extra [pq]."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
    except ImportError:  # not installed, or older than version 48
        return (SUITE_X25519,)
    try:
        MLKEM768PrivateKey.from_seed_bytes(bytes(SEED_BYTES))
    except UnsupportedAlgorithm:  # its OpenSSL may lack it
        return (SUITE_X25519,)
    return (SUITE_X25519, SUITE_HYBRID)


def check_suites(suites: Collection[int]) -> tuple[int, ...]:
    """Those suites of a descriptor or a setting that can be used here, weakest first.

    Raises:
        UnsupportedSuiteError: none of them; the message names the extra where that would help.
    """
    usable = tuple(suite for suite in supported_suites() if suite in suites)
    if usable:
        return usable
    if SUITE_HYBRID in suites:
        raise UnsupportedSuiteError(
            "only suite 2 (X25519 with ML-KEM-768) is on offer, and it needs the extra [pq] here: "
            "pip install 'cocoon-sdk[pq]'"
        )
    raise UnsupportedSuiteError(
        f"none of the suites {sorted(suites)} is known here; this version may be too old"
    )


class KemKeyPair:
    """The client's half: made of 64 secret random bytes, good for one handshake."""

    __slots__ = ("_private", "public")

    def __init__(self, seed: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

        self._private = MLKEM768PrivateKey.from_seed_bytes(seed)
        self.public: bytes = self._private.public_key().public_bytes_raw()

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """The shared secret. A forged ciphertext gives another secret, not an error.

        Raises:
            RemoteProtocolError: not the size of a ciphertext.
        """
        if len(ciphertext) != CIPHERTEXT_BYTES:
            raise RemoteProtocolError(
                f"the ML-KEM ciphertext has {len(ciphertext)} bytes, not {CIPHERTEXT_BYTES}"
            )
        return self._private.decapsulate(ciphertext)


def encapsulate(public: bytes) -> tuple[bytes, bytes]:
    """The server's half: (shared secret, ciphertext) for a client's public key.

    Raises:
        RemoteProtocolError: not a public key: the wrong size, or numbers out of range.
    """
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey

    try:
        return MLKEM768PublicKey.from_public_bytes(public).encapsulate()
    except ValueError as error:
        raise RemoteProtocolError(
            f"the client's ML-KEM key of {len(public)} bytes is not valid"
        ) from error
