"""What a review found: one line per check, each with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple


class Verdict(StrEnum):
    """How a check ended, from good to bad."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


class Check(NamedTuple):
    """One check: its name, the verdict, what was seen, and what to do (empty where nothing is)."""

    name: str
    verdict: Verdict
    detail: str
    fix: str = ""


def ok(name: str, detail: str) -> Check:
    """A check that passed."""
    return Check(name, Verdict.OK, detail)


def warn(name: str, detail: str, fix: str) -> Check:
    """Something that an operator should look at."""
    return Check(name, Verdict.WARN, detail, fix)


def fail(name: str, detail: str, fix: str) -> Check:
    """Something that makes the entry useless to clients."""
    return Check(name, Verdict.FAIL, detail, fix)


@dataclass(frozen=True, slots=True)
class ReviewReport:
    """All checks of one submission. `provider` is None where the file does not name one."""

    provider: str | None
    seq: int | None = None
    models: tuple[str, ...] = ()
    checks: list[Check] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        order = list(Verdict)
        return max((check.verdict for check in self.checks), key=order.index, default=Verdict.OK)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "id": self.provider,
            "seq": self.seq,
            "models": list(self.models),
            "verdict": str(self.verdict),
            "checks": [check._asdict() for check in self.checks],
        }
