"""Attestation without TDX hardware: a machine that is only said to be measured, and the genuine outside quote.

`FakeQuotes` stands in for the one part that needs hardware to make evidence for: whether a quote is genuine.
Everything else of the verifier is the real thing.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cocoon_sdk.attestation.bundle import (
    Bundle,
    Claims,
    encode_bundle,
    encode_claims,
    fresh_report_data,
    stapled_report_data,
)
from cocoon_sdk.attestation.policy import AttestationPolicy, TrustedImage
from cocoon_sdk.attestation.steps import Checklist, QuoteFacts
from cocoon_sdk.attestation.verifier import TdxVerifier

GENUINE_AT = 1_750_414_563  # when the outside quote and its collateral were valid
IMAGE_ID = b"i" * 32
MODEL_HASH = b"m" * 32
MRTD, RTMRS = b"\x11" * 48, (b"\x20" * 48, b"\x21" * 48, b"\x22" * 48, b"\x23" * 48)


def image(**changes: Any) -> TrustedImage:
    """The image of the fake machine."""
    fields = {
        "id": IMAGE_ID.hex(),
        "mrtd": MRTD.hex(),
        "rtmr1": RTMRS[1].hex(),
        "rtmr2": RTMRS[2].hex(),
    }
    return TrustedImage(**(fields | changes))


clock = time.time  # what `claims` calls now; tests at a fixed time replace it


def policy(**changes: Any) -> AttestationPolicy:
    """Trusts the fake machine's image."""
    return AttestationPolicy(**({"images": [image()]} | changes))


def policy_file(folder: Path) -> Path:
    """The same policy as a file."""
    path = folder / "attestation-policy.json"
    path.write_text(json.dumps({"images": [asdict(image())]}))
    return path


def claims(**changes: Any) -> Claims:
    """Claims that hold now, for an hour."""
    now = int(clock())
    fields: dict[str, Any] = {
        "not_before": now - 60,
        "expires": now + 3_600,
        "model_hash": MODEL_HASH,
        "image_id": IMAGE_ID,
    }
    return Claims(**(fields | changes))


@dataclass
class FakeQuotes:
    """A FAKE `QuoteChecker`: believes every quote that has the form `fake_quote` gives it."""

    facts: dict[str, Any] = field(default_factory=dict)
    calls: int = 0

    def check(
        self, quote: bytes, collateral: bytes, now: int, checklist: Checklist
    ) -> QuoteFacts | None:
        self.calls += 1
        if not quote.startswith(b"FAKE QUOTE"):
            checklist.note("quote", False, "not a fake quote")
            return None
        checklist.note("quote", True, "a FAKE quote, for tests")
        found = QuoteFacts(
            report_data=quote[-64:],
            mrtd=MRTD,
            rtmrs=RTMRS,
            attributes=bytes.fromhex("0000001000000000"),
            tcb_status="UpToDate",
            tcb_evaluation=17,
            advisories=(),
            expires=now + 7_200,
        )
        return replace(found, **self.facts)


def fake_quote(report_data: bytes) -> bytes:
    """What `FakeQuotes` takes for a quote of the fake machine."""
    return b"FAKE QUOTE" + report_data


def fake_bundle(identity: bytes, **changes: Any) -> Bundle:
    """A bundle of the fake machine, bound to this key."""
    told = encode_claims(claims(**changes))
    return Bundle(
        quote=fake_quote(stapled_report_data(identity, told)), collateral=b"{}", claims=told
    )


def fake_raw(identity: bytes, **changes: Any) -> bytes:
    """The same, encoded."""
    return encode_bundle(fake_bundle(identity, **changes))


@dataclass
class FakeMachine:
    """A FAKE `QuoteSource`: quotes whatever it is asked to."""

    asked: list[bytes] = field(default_factory=list)

    def quote(self, report_data: bytes) -> bytes:
        self.asked.append(report_data)
        return fake_quote(report_data)


def fake_fresh(identity: bytes, exporter: bytes) -> bytes:
    """A fresh quote of the fake machine."""
    return fake_quote(fresh_report_data(identity, exporter))


def verifier(**facts: Any) -> TdxVerifier:
    """The real verifier over fake quotes."""
    return TdxVerifier(FakeQuotes(facts))


@dataclass(frozen=True)
class Genuine:
    """The outside quote with its collateral."""

    quote: bytes
    collateral: bytes

    @classmethod
    def read(cls, outside_data: Path) -> Genuine:
        folder = outside_data / "tdx"
        return cls((folder / "quote.bin").read_bytes(), (folder / "collateral.json").read_bytes())

    def image(self, **changes: Any) -> TrustedImage:
        """Its measurements, cut out of the quote at the offsets of Intel's layout (quote version 4)."""
        body = self.quote[48:]
        cut = {
            "mrtd": 136, "rtmr0": 328, "rtmr1": 376, "rtmr2": 424, "rtmr3": 472,
        }  # fmt: skip
        fields = {name: body[at : at + 48].hex() for name, at in cut.items()}
        return TrustedImage(**({"id": IMAGE_ID.hex()} | fields | changes))

    def bundle(self, **changes: Any) -> Bundle:
        """A bundle around it, with claims that hold at `GENUINE_AT`. The quote does not bind them."""
        told = claims(**({"not_before": GENUINE_AT - 60, "expires": GENUINE_AT + 3_600} | changes))
        return Bundle(quote=self.quote, collateral=self.collateral, claims=encode_claims(told))

    def with_collateral(self, **changes: Any) -> Genuine:
        return replace(self, collateral=json.dumps(json.loads(self.collateral) | changes).encode())


def digest(raw: bytes) -> str:
    """As a descriptor names a bundle; computed here, not by the code under test."""
    return hashlib.blake2b(raw, digest_size=32).hexdigest()
