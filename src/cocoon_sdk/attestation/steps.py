"""The single checks of an attestation, each of which leaves one step."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from cocoon_sdk.attestation.bundle import (
    Bundle,
    Claims,
    decode_claims,
    fresh_report_data,
    stapled_report_data,
)
from cocoon_sdk.attestation.policy import AttestationPolicy, TrustedImage
from cocoon_sdk.errors import AttestationError
from cocoon_sdk.types.attestation import AttestationStep


class Checklist:
    """The steps as they are made."""

    def __init__(self) -> None:
        self._steps: list[AttestationStep] = []

    def note(self, name: str, ok: bool, detail: str) -> bool:
        """Record a step; whether it passed."""
        self._steps.append(AttestationStep(name=name, ok=ok, detail=detail))
        return ok

    @property
    def steps(self) -> tuple[AttestationStep, ...]:
        """All so far."""
        return tuple(self._steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteFacts:
    """What a genuine quote says: the measured machine, and Intel's verdict on its platform.

    Attributes:
        rtmrs: RTMR0 to RTMR3.
        attributes: The 8 attribute bytes of the machine.
        tcb_evaluation: Intel's evaluation number behind the verdict.
        expires: Unix time at which the collateral ends.
    """

    report_data: bytes
    mrtd: bytes
    rtmrs: tuple[bytes, bytes, bytes, bytes]
    attributes: bytes
    tcb_status: str
    tcb_evaluation: int
    advisories: tuple[str, ...]
    expires: int


def check_tcb(facts: QuoteFacts, policy: AttestationPolicy, checklist: Checklist) -> None:
    """Whether the policy accepts the state of the platform."""
    known = (
        f"evaluation {facts.tcb_evaluation}, advisories: {', '.join(facts.advisories) or 'none'}"
    )
    if facts.tcb_status not in policy.tcb:
        checklist.note(
            "tcb",
            False,
            f"the platform is {facts.tcb_status} ({known}), the policy accepts {', '.join(policy.tcb)}",
        )
    elif facts.tcb_evaluation < policy.min_tcb_evaluation:
        checklist.note(
            "tcb",
            False,
            f"Intel's data is of evaluation {facts.tcb_evaluation}, the policy asks for "
            f"{policy.min_tcb_evaluation}",
        )
    else:
        checklist.note("tcb", True, f"the platform is {facts.tcb_status} ({known})")


def check_attributes(facts: QuoteFacts, checklist: Checklist) -> None:
    """TD attributes: byte 0 is the group that opens the machine to its host, bit 29 lets it move."""
    bits = int.from_bytes(facts.attributes, "little")
    if bits & 0xFF:
        checklist.note("debug", False, "the machine is in debug mode: its host can read its memory")
    elif bits >> 29 & 1:
        checklist.note(
            "debug",
            False,
            "the machine may be moved to another host, which nothing here vouches for",
        )
    else:
        checklist.note("debug", True, "debug is off and the machine cannot be moved")


def check_binding(
    facts: QuoteFacts,
    bundle: Bundle,
    identity: bytes,
    exporter: bytes | None,
    checklist: Checklist,
) -> None:
    """Whether the quote was made for this key, and for these claims or this session."""
    if exporter is None:
        expected = stapled_report_data(identity, bundle.claims)
        bound = "this provider's identity key and these claims"
    else:
        expected = fresh_report_data(identity, exporter)
        bound = "this provider's identity key and this session"
    ok = hmac.compare_digest(facts.report_data, expected)
    says = "binds" if ok else "does not bind"
    checklist.note("binding", ok, f"the quote's report_data {says} {bound}")


def read_claims(bundle: Bundle, checklist: Checklist) -> Claims | None:
    """The claims, or None with a failed step."""
    try:
        return decode_claims(bundle.claims)
    except AttestationError as error:
        checklist.note("claims", False, error.steps[0].detail)
        return None


def check_window(claims: Claims, policy: AttestationPolicy, now: int, checklist: Checklist) -> None:
    """Whether the claims are for now, and not for longer than the policy allows."""
    lifetime = claims.expires - claims.not_before
    if now < claims.not_before:
        checklist.note("claims", False, f"the claims begin in {claims.not_before - now} s")
    elif now >= claims.expires:
        checklist.note("claims", False, f"the claims expired {now - claims.expires} s ago")
    elif lifetime > policy.max_lifetime:
        checklist.note(
            "claims",
            False,
            f"the claims are for {lifetime} s, the policy allows {policy.max_lifetime}",
        )
    else:
        gpu = "; GPU evidence is named and was not checked" if claims.gpu_evidence else ""
        checklist.note("claims", True, f"the claims hold for {claims.expires - now} s more{gpu}")


def check_image(
    facts: QuoteFacts, claims: Claims, policy: AttestationPolicy, checklist: Checklist
) -> TrustedImage | None:
    """The trusted image that the claims name and the measurements match; None with a failed step."""
    named = [image for image in policy.images if image.id == claims.image_id.hex()]
    if not named:
        checklist.note("image", False, f"the policy does not know image {claims.image_id.hex()}")
        return None
    measured = {"mrtd": facts.mrtd.hex()} | {
        f"rtmr{number}": value.hex() for number, value in enumerate(facts.rtmrs)
    }
    wrong: list[str] = []
    for image in named:
        wrong = [
            name for name, value in measured.items() if getattr(image, name) not in (None, value)
        ]
        if not wrong:
            left = ", ".join(image.open_registers)
            checklist.note(
                "image",
                True,
                f"measured as image {image.id}{f'; not pinned: {left}' if left else ''}",
            )
            return image
    checklist.note(
        "image", False, f"measurements are not those of image {named[-1].id}: {', '.join(wrong)}"
    )
    return None
