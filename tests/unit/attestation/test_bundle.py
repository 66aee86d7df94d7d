from __future__ import annotations

import contextlib
import hashlib
import random
from dataclasses import replace
from typing import Any

import pytest
from attestation_world import claims, digest, fake_bundle

from cocoon_sdk.attestation.bundle import (
    MAX_BUNDLE,
    MAX_CLAIMS,
    MAX_COLLATERAL,
    MAX_QUOTE,
    Bundle,
    MasterchainBlock,
    decode_bundle,
    decode_claims,
    encode_bundle,
    encode_claims,
    fresh_report_data,
    stapled_report_data,
)
from cocoon_sdk.errors import AttestationError
from cocoon_sdk.protocol.tlv import encode_tlv

IDENTITY = b"k" * 32
FULL = claims(
    not_before=1, expires=2**63, block=MasterchainBlock(77, b"r" * 32), gpu_evidence=b"g" * 32
)


def test_the_bytes_of_a_bundle() -> None:
    raw = encode_bundle(Bundle(quote=b"Q", collateral=b"{}", claims=b"abc"))
    assert raw == (b"cocoon/1 att\0" + b"\x01\0\0\0Q" + b"\x02\0\0\0{}" + b"\x03\0\0\0abc")
    assert decode_bundle(raw) == Bundle(quote=b"Q", collateral=b"{}", claims=b"abc")
    assert decode_bundle(raw).digest.hex() == digest(raw)


def test_the_bytes_of_claims() -> None:
    raw = encode_claims(FULL)
    assert raw == b"".join(
        (
            b"\x01\0\x08\0" + (1).to_bytes(8, "little"),
            b"\x02\0\x08\0" + (2**63).to_bytes(8, "little"),
            b"\x03\0\x24\0" + (77).to_bytes(4, "little") + b"r" * 32,
            b"\x04\0\x20\0" + b"m" * 32,
            b"\x05\0\x20\0" + b"g" * 32,
            b"\x06\0\x20\0" + b"i" * 32,
        )
    )
    assert decode_claims(raw) == FULL
    assert decode_claims(encode_claims(claims())).block is None


def test_report_data_is_as_specified() -> None:
    told = encode_claims(FULL)
    hashed = hashlib.blake2b(told, digest_size=32).digest()
    assert (
        stapled_report_data(IDENTITY, told)
        == hashlib.sha512(b"cocoon/1 tdx\0" + IDENTITY + hashed).digest()
    )
    assert (
        fresh_report_data(IDENTITY, b"e" * 32)
        == hashlib.sha512(b"cocoon/1 tdx-fresh\0" + IDENTITY + b"e" * 32).digest()
    )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda raw: b"", "does not begin"),
        (lambda raw: b"cocoon/2" + raw[8:], "does not begin"),
        (lambda raw: raw + b"\0", "1 bytes follow"),
        (lambda raw: raw[:-1], "claims is cut off"),
        (lambda raw: raw[:13], "before the length of its quote"),
        (lambda raw: raw[:20], "quote is cut off"),
        (lambda raw: raw[:13] + b"\0\0\0\0" + raw[17:], "quote has 0 bytes"),
        (lambda raw: raw[:13] + b"\xff\xff\xff\xff" + raw[17:], "quote has 4294967295 bytes"),
    ],
)
def test_a_bundle_that_is_not_one(make: Any, says: str) -> None:
    raw = encode_bundle(fake_bundle(IDENTITY))
    with pytest.raises(AttestationError, match=says) as caught:
        decode_bundle(make(raw))
    (step,) = caught.value.steps
    assert (step.name, step.ok) == ("bundle", False)


def test_every_cut_of_a_bundle_is_refused() -> None:
    raw = encode_bundle(fake_bundle(IDENTITY))
    for length in range(len(raw)):
        with pytest.raises(AttestationError):
            decode_bundle(raw[:length])


@pytest.mark.parametrize(
    ("part", "limit"),
    [("quote", MAX_QUOTE), ("collateral", MAX_COLLATERAL), ("claims", MAX_CLAIMS)],
)
def test_limits_hold_in_both_directions(part: str, limit: int) -> None:
    bundle = Bundle(quote=b"q", collateral=b"c", claims=b"t")
    widest = replace(bundle, **{part: b"x" * limit})
    assert decode_bundle(encode_bundle(widest)) == widest
    with pytest.raises(AttestationError, match=f"{part} has {limit + 1} bytes"):
        encode_bundle(replace(bundle, **{part: b"x" * (limit + 1)}))
    with pytest.raises(AttestationError, match=f"{part} has 0 bytes"):
        encode_bundle(replace(bundle, **{part: b""}))


def test_the_largest_bundle_is_as_large_as_the_cap() -> None:
    bundle = Bundle(
        quote=b"q" * MAX_QUOTE, collateral=b"c" * MAX_COLLATERAL, claims=b"t" * MAX_CLAIMS
    )
    assert len(encode_bundle(bundle)) == MAX_BUNDLE


GOOD = {
    1: (5).to_bytes(8, "little"),
    2: (9).to_bytes(8, "little"),
    4: b"m" * 32,
    6: b"i" * 32,
}


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ({1: GOOD[1], 2: GOOD[2], 4: GOOD[4]}, "lack type 6"),
        ({}, "lack type 1, 2, 4, 6"),
        (GOOD | {7: b"x"}, "unknown type 7"),
        (GOOD | {0: b"x"}, "unknown type 0"),
        (GOOD | {4: b"m" * 31}, "claim 4 has 31 bytes"),
        (GOOD | {3: b"r" * 35}, "claim 3 has 35 bytes"),
        (GOOD | {1: b"\0" * 4}, "claim 1 has 4 bytes"),
        (GOOD | {2: GOOD[1]}, "expire before they begin"),
    ],
)
def test_claims_are_strict(items: dict[int, bytes], says: str) -> None:
    with pytest.raises(AttestationError, match=says):
        decode_claims(encode_tlv(items))


def test_claims_out_of_order_or_twice_are_refused() -> None:
    item = b"\x01\0\x08\0" + bytes(8)
    for raw in (item + item, encode_tlv({2: GOOD[2]}) + item, b"\x01"):
        with pytest.raises(AttestationError, match="not a TLV"):
            decode_claims(raw)


def test_claims_that_do_not_fit_are_not_written() -> None:
    for wrong in (
        claims(expires=2**64),
        claims(not_before=-1),
        claims(model_hash=b"short"),
        claims(expires=1, not_before=1),
        claims(block=MasterchainBlock(-1, b"r" * 32)),
    ):
        with pytest.raises(AttestationError):
            encode_claims(wrong)


def test_a_key_or_exporter_of_another_size_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        stapled_report_data(b"k", b"claims")
    with pytest.raises(ValueError, match="32 bytes"):
        fresh_report_data(IDENTITY, b"e" * 16)


def test_random_bytes_end_in_the_typed_error() -> None:
    draw = random.Random(7)
    raw = encode_bundle(fake_bundle(IDENTITY))
    for _ in range(2_000):
        changed = bytearray(raw)
        for _ in range(draw.randrange(1, 6)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        with contextlib.suppress(AttestationError):
            decode_claims(decode_bundle(bytes(changed)).claims)
