"""The steps from a bundle to a verdict. What checks the quote itself is plugged in; see `tdx`."""

from __future__ import annotations

from typing import Protocol

from cocoon_sdk.attestation.bundle import Bundle
from cocoon_sdk.attestation.policy import AttestationPolicy, TrustedImage
from cocoon_sdk.attestation.steps import (
    Checklist,
    QuoteFacts,
    check_attributes,
    check_binding,
    check_image,
    check_tcb,
    check_window,
    read_claims,
)
from cocoon_sdk.errors import AttestationError
from cocoon_sdk.types.attestation import AttestationResult


class AttestationVerifier(Protocol):
    """Decides about a bundle (wire.md, "Attestation")."""

    def verify(
        self,
        bundle: Bundle,
        identity: bytes,
        policy: AttestationPolicy,
        now: int,
        *,
        exporter: bytes | None = None,
    ) -> AttestationResult:
        """Check every step. Failed steps are in the result, nothing is raised for them.

        Args:
            bundle: In fresh mode quote and collateral are the fresh ones, the claims those of the bundle
                that was verified before.
            identity: The provider's identity key, 32 bytes.
            policy: What is accepted.
            now: Unix seconds.
            exporter: Of the session, in fresh mode.

        Raises:
            ConfigError: what checks quotes is not installed.
        """
        ...


class QuoteChecker(Protocol):
    """Decides whether a quote is genuine: the part that rests on the hardware's maker."""

    def check(
        self, quote: bytes, collateral: bytes, now: int, checklist: Checklist
    ) -> QuoteFacts | None:
        """The facts of a genuine quote whose collateral is valid at `now`; None with a failed step.

        Raises:
            ConfigError: what checks quotes is not installed.
        """
        ...


class TdxVerifier:
    """Checks Intel TDX bundles. Implements `AttestationVerifier`.

    Args:
        quotes: Checks the quote itself; default: `dcap-qvl` against Intel's root (extra `[tdx]`).
    """

    def __init__(self, quotes: QuoteChecker | None = None) -> None:
        if quotes is None:
            from cocoon_sdk.attestation.tdx import DcapQuotes

            quotes = DcapQuotes()
        self._quotes = quotes

    def verify(
        self,
        bundle: Bundle,
        identity: bytes,
        policy: AttestationPolicy,
        now: int,
        *,
        exporter: bytes | None = None,
    ) -> AttestationResult:
        """See `AttestationVerifier.verify`."""
        checklist = Checklist()
        facts = self._quotes.check(bundle.quote, bundle.collateral, now, checklist)
        image: TrustedImage | None = None
        valid_until = 0
        if facts is not None:
            check_tcb(facts, policy, checklist)
            check_attributes(facts, checklist)
            check_binding(facts, bundle, identity, exporter, checklist)
            claims = read_claims(bundle, checklist)
            if claims is not None:
                check_window(claims, policy, now, checklist)
                image = check_image(facts, claims, policy, checklist)
                valid_until = min(facts.expires, claims.expires)
        return AttestationResult(
            provider=identity.hex(),
            digest=bundle.digest.hex(),
            steps=checklist.steps,
            fresh=exporter is not None,
            checked_at=now,
            valid_until=valid_until if all(step.ok for step in checklist.steps) else 0,
            tcb_status=facts.tcb_status if facts else "",
            advisories=facts.advisories if facts else (),
            image=image.id if image else "",
        )


def demand(result: AttestationResult) -> AttestationResult:
    """The result, if every step passed.

    Raises:
        AttestationError: some did not; the message names the first, `.steps` holds all.
    """
    if result.ok:
        return result
    first = result.failed[0] if result.failed else None
    raise AttestationError(
        f"the attestation of provider {result.provider[:12]}… fails at the step "
        f"'{first.name if first else 'quote'}': {first.detail if first else 'nothing was checked'}",
        steps=result.steps,
    )
