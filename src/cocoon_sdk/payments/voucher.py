"""Vouchers and cooperative-close authorisations, rebuilt from their fields (payments.md §1 and §3).

A peer sends numbers and a signature, never a cell: both sides build the cell themselves and sign
`"cocoon-channel-v1" || cell hash`, which is what the contract checks.
"""

from __future__ import annotations

from dataclasses import dataclass

from cocoon_sdk.keys import Signer, verify_signature
from cocoon_sdk.payments.amounts import MAX_NANO
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.contract.channel import (
    RENT_RESERVE,
    close_auth_cell,
    signing_input,
    voucher_cell,
)

RENT_CUSHION = 1_000_000
"""Nano kept free for rent that falls due before a voucher is redeemed: months of it, at 0.0013 a year."""


@dataclass(frozen=True, slots=True)
class Voucher:
    """The client's promise: the provider may have taken `cumulative` nano out of the channel."""

    network: int
    channel: Address
    epoch: int
    cumulative: int

    def signing_input(self) -> bytes:
        """The 49 bytes that are signed."""
        return signing_input(voucher_cell(self.network, self.channel, self.epoch, self.cumulative))


@dataclass(frozen=True, slots=True)
class CloseAuth:
    """The provider's agreement to close at once with `final` nano for itself."""

    network: int
    channel: Address
    epoch: int
    final: int

    def signing_input(self) -> bytes:
        """The 49 bytes that are signed."""
        return signing_input(close_auth_cell(self.network, self.channel, self.epoch, self.final))


def sign_voucher(signer: Signer, voucher: Voucher) -> bytes:
    """The client's 64-byte signature."""
    return signer.sign(voucher.signing_input())


def verify_voucher(client_key: bytes, voucher: Voucher, signature: bytes) -> bool:
    """Whether the channel's client signed exactly this voucher, of less than 2^63 nano."""
    return 0 <= voucher.cumulative <= MAX_NANO and verify_signature(
        client_key, voucher.signing_input(), signature
    )


def sign_close_auth(signer: Signer, auth: CloseAuth) -> bytes:
    """The provider's 64-byte signature."""
    return signer.sign(auth.signing_input())


def verify_close_auth(provider_key: bytes, auth: CloseAuth, signature: bytes) -> bool:
    """Whether the provider signed exactly this authorisation, of less than 2^63 nano."""
    return 0 <= auth.final <= MAX_NANO and verify_signature(
        provider_key, auth.signing_input(), signature
    )


def redeemable_limit(*, balance: int, redeemed: int) -> int:
    """The highest cumulative that a channel can still pay out, with the cushion kept free (payments.md §3)."""
    return redeemed + max(0, balance - RENT_RESERVE - RENT_CUSHION)
