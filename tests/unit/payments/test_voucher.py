"""Vouchers and close authorisations: each field counts, and one is never the other."""

from __future__ import annotations

import dataclasses

import pytest

from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.payments.voucher import (
    RENT_CUSHION,
    CloseAuth,
    Voucher,
    redeemable_limit,
    sign_close_auth,
    sign_voucher,
    verify_close_auth,
    verify_voucher,
)
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.contract.channel import RENT_RESERVE

CLIENT, PROVIDER = Ed25519Key(bytes([1]) * 32), Ed25519Key(bytes([2]) * 32)
CHANNEL = Address(0, b"c" * 32)
VOUCHER = Voucher(network=-217, channel=CHANNEL, epoch=7, cumulative=1000)
CHANGES = [
    {"network": -239},
    {"channel": Address(0, b"d" * 32)},
    {"channel": Address(-1, b"c" * 32)},
    {"epoch": 8},
    {"cumulative": 1001},
    {"cumulative": 999},
    {"cumulative": 0},
]


def test_signed_and_verified():
    signature = sign_voucher(CLIENT, VOUCHER)
    assert len(VOUCHER.signing_input()) == 49
    assert verify_voucher(CLIENT.public_key, VOUCHER, signature)
    assert not verify_voucher(PROVIDER.public_key, VOUCHER, signature)


@pytest.mark.parametrize("change", CHANGES)
def test_every_field_is_signed(change):
    signature = sign_voucher(CLIENT, VOUCHER)
    other = dataclasses.replace(VOUCHER, **change)
    assert not verify_voucher(CLIENT.public_key, other, signature)


def test_every_flipped_bit_of_the_signature_is_noticed():
    signature = sign_voucher(CLIENT, VOUCHER)
    for position in range(64):
        forged = bytearray(signature)
        forged[position] ^= 1
        assert not verify_voucher(CLIENT.public_key, VOUCHER, bytes(forged))
    for wrong in (b"", signature[:-1], signature + b"\0", bytes(64)):
        assert not verify_voucher(CLIENT.public_key, VOUCHER, wrong)


def test_amounts_from_2_to_the_63_are_never_valid():
    for amount in (2**63, 2**64):
        voucher = dataclasses.replace(VOUCHER, cumulative=amount)
        assert not verify_voucher(CLIENT.public_key, voucher, sign_voucher(CLIENT, voucher))
        auth = CloseAuth(-217, CHANNEL, 7, amount)
        assert not verify_close_auth(PROVIDER.public_key, auth, sign_close_auth(PROVIDER, auth))
    negative = dataclasses.replace(VOUCHER, cumulative=-1)
    assert not verify_voucher(CLIENT.public_key, negative, bytes(64))


def test_a_close_authorisation_is_no_voucher_and_the_reverse():
    auth = CloseAuth(network=-217, channel=CHANNEL, epoch=7, final=1000)
    signed = sign_close_auth(PROVIDER, auth)
    assert verify_close_auth(PROVIDER.public_key, auth, signed)
    assert not verify_voucher(PROVIDER.public_key, VOUCHER, signed)
    assert not verify_close_auth(CLIENT.public_key, auth, sign_voucher(CLIENT, VOUCHER))


def test_a_plain_signature_of_the_cell_hash_is_refused():
    digest = VOUCHER.signing_input()[-32:]
    assert not verify_voucher(CLIENT.public_key, VOUCHER, CLIENT.sign(digest))


def test_small_order_keys_are_refused():
    identity = bytes([1]) + bytes(31)
    # R = the identity, s = 0 verifies under the small-order key for any message, unless it is refused
    assert not verify_voucher(identity, VOUCHER, identity + bytes(32))


def test_limit_keeps_reserve_and_cushion():
    kept = RENT_RESERVE + RENT_CUSHION
    assert redeemable_limit(balance=kept + 5, redeemed=100) == 105
    assert redeemable_limit(balance=kept - 1, redeemed=100) == 100
    assert redeemable_limit(balance=0, redeemed=0) == 0
