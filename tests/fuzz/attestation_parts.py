"""Attestation: bundles and their claims, policies, and quotes as far as our code touches them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from attestation_world import GENUINE_AT, claims, fake_bundle

from cocoon_sdk.attestation.bundle import (
    decode_bundle,
    decode_claims,
    encode_bundle,
    encode_claims,
)
from cocoon_sdk.attestation.policy import load_policy
from cocoon_sdk.attestation.steps import Checklist
from cocoon_sdk.attestation.tdx import DcapQuotes
from cocoon_sdk.errors import AttestationError, ConfigError
from fuzz.target import Target

IDENTITY = bytes(range(32))


def check_bundle(data: bytes) -> None:
    try:
        bundle = decode_bundle(data)
    except AttestationError:
        return
    assert encode_bundle(bundle) == data


def check_claims(data: bytes) -> None:
    try:
        told = decode_claims(data)
    except AttestationError:
        return
    assert encode_claims(told) == data


def check_policy(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            policy = load_policy(Path(file.name))
        except ConfigError:
            return
    assert policy.images


def check_quote(data: bytes) -> None:
    """[u16 length of the quote][quote][collateral]: refused by a step, never by an exception."""
    size = int.from_bytes(data[:2], "little")
    checklist = Checklist()
    facts = DcapQuotes().check(data[2 : 2 + size], data[2 + size :], GENUINE_AT, checklist)
    assert facts is None
    assert not all(step.ok for step in checklist.steps)


def _quotes() -> list[bytes]:
    header = b"\x04\0\x02\0\x81\0\0\0" + bytes(40)  # version 4, ECDSA, TDX
    quote = (header + bytes(584) + (64).to_bytes(4, "little") + bytes(64)).ljust(1000, b"\1")
    return [len(quote).to_bytes(2, "little") + quote + b'{"tcb_info": "{}"}', bytes(60)]


def _policies() -> list[bytes]:
    image = {"name": "a", "mrtd": "ab" * 48, "image_id": "cd" * 32}
    return [json.dumps({"images": [image]}).encode()]


TARGETS = (
    Target("attestation_bundle", check_bundle, lambda: [encode_bundle(fake_bundle(IDENTITY))]),
    Target("attestation_claims", check_claims, lambda: [encode_claims(claims())]),
    Target("attestation_policy", check_policy, _policies, (b"null", b"1e99", b"[[[[", b'"fresh":')),
    Target("quote", check_quote, _quotes),
)
