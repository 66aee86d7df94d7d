from __future__ import annotations

import json
import pickle

from cocoon_sdk.errors import AttestationError
from cocoon_sdk.types.attestation import AttestationResult, AttestationStep

GOOD = AttestationStep(name="quote", ok=True, detail="fine")
BAD = AttestationStep(name="binding", ok=False, detail="another key")


def result(*steps: AttestationStep) -> AttestationResult:
    return AttestationResult(provider="ab", digest="cd", steps=steps)


def test_only_checks_that_were_made_and_passed_are_a_success() -> None:
    assert result(GOOD).ok
    assert not result().ok
    assert not result(GOOD, BAD).ok
    assert result(GOOD, BAD).failed == (BAD,)


def test_it_is_json_ready() -> None:
    told = json.loads(result(GOOD, BAD).to_json())
    assert told["steps"] == [
        {"name": "quote", "ok": True, "detail": "fine"},
        {"name": "binding", "ok": False, "detail": "another key"},
    ]
    assert (told["fresh"], told["valid_until"], told["image"]) == (False, 0, "")


def test_an_error_keeps_its_steps() -> None:
    error = AttestationError("no", steps=[GOOD, BAD])
    assert error.steps == (GOOD, BAD)
    assert AttestationError("no").steps == ()
    assert pickle.loads(pickle.dumps(error)).steps == (GOOD, BAD)
