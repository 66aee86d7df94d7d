"""What a provider's attestation was checked for, step by step; replies and errors carry it."""

from __future__ import annotations

from dataclasses import dataclass

from cocoon_sdk.types.base import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationStep(Reply):
    """One check: its name, whether it passed, and what was found."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationResult(Reply):
    """The outcome of checking one quote.

    Attributes:
        provider: the identity key that the quote was checked against, hex.
        digest: of the bundle, hex; as the descriptor's `att`.
        steps: every check that was made, in order. A check that needs an earlier, failed one is not made.
        fresh: whether the quote was made for the session that the request travelled on.
        checked_at: unix time that the quote was checked at.
        valid_until: unix time from which it must be checked anew; 0 where it never was valid.
        tcb_status: what Intel says of the platform's patch level, empty where unknown.
        advisories: Intel's security advisories that apply to the platform.
        image: id of the trusted image whose measurements match, empty where none does.
    """

    provider: str
    digest: str
    steps: tuple[AttestationStep, ...]
    fresh: bool = False
    checked_at: int = 0
    valid_until: int = 0
    tcb_status: str = ""
    advisories: tuple[str, ...] = ()
    image: str = ""

    @property
    def ok(self) -> bool:
        """Whether checks were made and every one passed."""
        return bool(self.steps) and all(step.ok for step in self.steps)

    @property
    def failed(self) -> tuple[AttestationStep, ...]:
        """The checks that did not pass."""
        return tuple(step for step in self.steps if not step.ok)
