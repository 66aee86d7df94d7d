"""Addresses of accounts, parsed strictly.

Only what a wallet or an explorer really prints is accepted: the raw form `0:<64 hex>` and the
friendly form of 48 base64 digits with its checksum. pytoniq-core's parser takes short hashes, any
workchain and junk between base64 digits, so it is not used (payments.md §2).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from cocoon_sdk.errors import ConfigError

HASH_BYTES = 32

_RAW = re.compile(r"(0|-1):([0-9a-fA-F]{64})")
_FRIENDLY = re.compile(r"[A-Za-z0-9_-]{48}|[A-Za-z0-9+/]{48}")
_BOUNCEABLE = 0x11
_NON_BOUNCEABLE = 0x51
_TESTNET = 0x80


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """An account: workchain (0, or -1 for the masterchain) and the 32-byte hash."""

    workchain: int
    hash: bytes

    def __post_init__(self) -> None:
        if len(self.hash) != HASH_BYTES or not -128 <= self.workchain <= 127:
            raise ConfigError(
                f"an address is a workchain of 8 bits and a hash of {HASH_BYTES} bytes, "
                f"got {self.workchain} and {len(self.hash)} bytes"
            )

    @classmethod
    def parse(cls, text: str) -> Address:
        """The address behind its raw or friendly text.

        Raises:
            ConfigError: another form, a workchain other than 0 and -1, or a wrong checksum.
        """
        raw = _RAW.fullmatch(text)
        if raw is not None:
            return cls(int(raw[1]), bytes.fromhex(raw[2]))
        if _FRIENDLY.fullmatch(text) is None:
            raise ConfigError(
                f"not an address: {text[:80]!r}; expected 0:<64 hex digits> or 48 base64 digits"
            )
        packed = base64.urlsafe_b64decode(text.replace("+", "-").replace("/", "_"))
        if binascii.crc_hqx(packed[:34], 0) != int.from_bytes(packed[34:], "big"):
            raise ConfigError(f"the address {text!r} fails its checksum; copy it again")
        workchain = int.from_bytes(packed[1:2], "big", signed=True)
        if packed[0] & ~_TESTNET not in {_BOUNCEABLE, _NON_BOUNCEABLE} or workchain not in {0, -1}:
            raise ConfigError(f"the address {text!r} has an unknown kind or workchain")
        return cls(workchain, packed[2:34])

    @property
    def raw(self) -> str:
        """`workchain:hex`, the form that files and APIs of this package use."""
        return f"{self.workchain}:{self.hash.hex()}"

    def friendly(self, *, bounceable: bool = True, testnet: bool = False) -> str:
        """48 base64url digits with flags and checksum, the form that people know."""
        tag = (_BOUNCEABLE if bounceable else _NON_BOUNCEABLE) | (_TESTNET if testnet else 0)
        packed = bytes((tag, self.workchain & 0xFF)) + self.hash
        checksum = binascii.crc_hqx(packed, 0).to_bytes(2, "big")
        return base64.urlsafe_b64encode(packed + checksum).decode("ascii")

    def __str__(self) -> str:
        return self.raw
