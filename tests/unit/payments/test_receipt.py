"""Receipts: 352 bytes of which every one matters."""

from __future__ import annotations

import dataclasses
import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cocoon_sdk.errors import ReceiptMismatchError
from cocoon_sdk.keys import DOMAIN_CHANNEL, DOMAIN_RECEIPT, Ed25519Key
from cocoon_sdk.payments.meter import Counts
from cocoon_sdk.payments.receipt import (
    RECEIPT_BYTES,
    FinishReason,
    Receipt,
    ResponseHash,
    parse_receipt,
    request_hash,
    sign_receipt,
    verify_receipt,
)

PROVIDER = Ed25519Key(bytes([1]) * 32)
U32, U63 = st.integers(0, 2**32 - 1), st.integers(0, 2**63 - 1)
EXAMPLE = Receipt(
    finish=FinishReason.LENGTH,
    provider=PROVIDER.public_key,
    client=b"c" * 32,
    network=-217,
    channel=b"h" * 32,
    epoch=3_709_414_000_002,
    session_id=b"s" * 16,
    request_id=b"r" * 16,
    request_hash=b"q" * 32,
    response_hash=b"a" * 32,
    model_hash=b"m" * 32,
    counts=Counts(100, 20, 300, 10),
    price=5000,
    spent=12_000,
    seq=3,
    time_ms=1_700_000_000_123,
)


def test_layout_is_the_specified_one():
    raw = sign_receipt(PROVIDER, EXAMPLE)
    assert len(raw) == RECEIPT_BYTES == 352
    fields = struct.pack(
        "<BBBB32s32si32sQ16s16s32s32s32sIIIIQQQQ",
        1, 0, 1, 0, PROVIDER.public_key, b"c" * 32, -217, b"h" * 32, 3_709_414_000_002, b"s" * 16,
        b"r" * 16, b"q" * 32, b"a" * 32, b"m" * 32, 100, 20, 300, 10, 5000, 12_000, 3, 1_700_000_000_123,
    )  # fmt: skip
    assert raw == fields + PROVIDER.sign(DOMAIN_RECEIPT + fields)
    assert verify_receipt(raw, PROVIDER.public_key) == EXAMPLE


@given(
    finish=st.sampled_from(FinishReason),
    network=st.integers(-(2**31), 2**31 - 1),
    epoch=st.integers(0, 2**64 - 1),
    tokens=st.tuples(U32, U32, U32),
    amounts=st.tuples(U63, U63),
    seq=U63,
)
def test_every_receipt_survives_the_wire(finish, network, epoch, tokens, amounts, seq):
    receipt = dataclasses.replace(
        EXAMPLE,
        finish=finish,
        network=network,
        epoch=epoch,
        counts=Counts(*tokens, reasoning=tokens[2] // 2),
        price=min(amounts),
        spent=max(amounts),
        seq=seq,
    )
    assert verify_receipt(sign_receipt(PROVIDER, receipt), PROVIDER.public_key) == receipt


@pytest.mark.parametrize("change", [{"seq": 2**63}, {"time_ms": 2**64 - 1}])
def test_numbers_that_no_ledger_holds_are_refused(change):
    raw = sign_receipt(PROVIDER, dataclasses.replace(EXAMPLE, **change))
    with pytest.raises(ReceiptMismatchError):
        verify_receipt(raw, PROVIDER.public_key)


def test_every_flipped_bit_is_noticed():
    raw = sign_receipt(PROVIDER, EXAMPLE)
    for position in range(len(raw)):
        for bit in (0, 7):
            forged = bytearray(raw)
            forged[position] ^= 1 << bit
            with pytest.raises(ReceiptMismatchError):
                verify_receipt(bytes(forged), PROVIDER.public_key)


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (0, 0), (0, 2), (1, 1), (1, 128), (2, 6), (2, 255), (3, 1),
    ],
)  # fmt: skip
def test_unknown_versions_flags_and_reasons_are_refused_even_if_signed(offset: int, value: int):
    fields = bytearray(EXAMPLE.pack())
    fields[offset] = value
    raw = bytes(fields) + PROVIDER.sign(DOMAIN_RECEIPT + bytes(fields))
    with pytest.raises(ReceiptMismatchError):
        verify_receipt(raw, PROVIDER.public_key)


@pytest.mark.parametrize(
    "change",
    [
        {"price": 12_001},
        {"spent": 2**63},
        {"counts": Counts(1, 1, 1, 2)},
    ],
)
def test_impossible_amounts_are_refused_even_if_signed(change):
    raw = sign_receipt(PROVIDER, dataclasses.replace(EXAMPLE, **change))
    with pytest.raises(ReceiptMismatchError):
        verify_receipt(raw, PROVIDER.public_key)


@pytest.mark.parametrize("length", [0, 1, 288, 351, 353, 704])
def test_other_lengths_are_refused(length: int):
    raw = (sign_receipt(PROVIDER, EXAMPLE) * 2)[:length]
    with pytest.raises(ReceiptMismatchError, match="352"):
        parse_receipt(raw)


def test_another_signer_or_another_domain_is_refused():
    other = Ed25519Key(bytes([2]) * 32)
    with pytest.raises(ReceiptMismatchError, match="names"):
        verify_receipt(sign_receipt(PROVIDER, EXAMPLE), other.public_key)
    fields = EXAMPLE.pack()
    for signature in (
        other.sign(DOMAIN_RECEIPT + fields),
        PROVIDER.sign(fields),
        PROVIDER.sign(DOMAIN_CHANNEL + fields),
        bytes(64),
    ):
        with pytest.raises(ReceiptMismatchError, match="signature"):
            verify_receipt(fields + signature, PROVIDER.public_key)
    with pytest.raises(ValueError, match="names"):
        sign_receipt(other, EXAMPLE)


@pytest.mark.parametrize(
    "change",
    [
        {"client": b"c" * 31},
        {"channel": b""},
        {"request_id": b"r" * 17},
        {"model_hash": b"m" * 16},
        {"network": 2**31},
        {"price": -1},
        {"seq": 2**64},
        {"counts": Counts(2**32, 0, 0)},
    ],
)
def test_fields_that_do_not_fit_are_not_signed(change):
    with pytest.raises(ValueError, match="receipt"):
        sign_receipt(PROVIDER, dataclasses.replace(EXAMPLE, **change))


def test_request_hash():
    assert request_hash(b"body") == hashlib.blake2b(b"cocoon/1 req\0body", digest_size=32).digest()


@given(st.lists(st.tuples(st.sampled_from([2, 13]), st.binary(max_size=300)), max_size=10))
def test_running_response_hash_is_the_hash_of_everything_so_far(frames):
    running, text = ResponseHash(), b"cocoon/1 resp\0"
    for ftype, body in frames:
        running.update(ftype, body)
        text += bytes([ftype]) + len(body).to_bytes(4, "little") + body
        assert running.digest() == hashlib.blake2b(text, digest_size=32).digest()


def test_response_hash_sees_where_frames_end():
    one, two = ResponseHash(), ResponseHash()
    one.update(2, b"ab")
    two.update(2, b"a")
    two.update(2, b"b")
    assert one.digest() != two.digest()
