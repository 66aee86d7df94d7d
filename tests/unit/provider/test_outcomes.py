"""What is kept of answers, for how long and how much."""

from __future__ import annotations

import pytest

from cocoon_provider import outcomes as module
from cocoon_provider.outcomes import Outcomes
from cocoon_provider.refusals import Refusal
from cocoon_sdk.errors import WireCode
from cocoon_sdk.protocol.messages import Channel, Delta, FrameType, encode_body

OWNER, ID, HASH, RECEIPT = b"k" * 32, b"i" * 16, b"h" * 32, b"r" * 352
DELTA = Delta(0, 0, Channel.CONTENT, "x", [1])
BODY = encode_body(DELTA)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def kept(clock: Clock | None = None, *, frames: int = 1) -> Outcomes:
    made = Outcomes(clock or Clock())
    outcome = made.begin(OWNER, ID, HASH)
    for _ in range(frames):
        outcome.add(FrameType.DELTA, BODY)
    made.end(outcome, RECEIPT)
    return made


def test_a_new_request_is_unknown_and_an_ended_one_is_found() -> None:
    assert Outcomes(Clock()).find(OWNER, ID, HASH) is None
    found = kept().find(OWNER, ID, HASH)
    assert found is not None
    assert found.messages() == [DELTA]
    assert found.receipt is not None
    assert found.receipt.raw == RECEIPT


def test_another_clients_request_is_not_shown() -> None:
    assert kept().find(b"x" * 32, ID, HASH) is None
    assert kept().find(b"", ID, HASH) is None


def test_the_same_id_with_another_body_is_refused() -> None:
    with pytest.raises(Refusal) as caught:
        kept().find(OWNER, ID, b"other" + bytes(27))
    assert caught.value.code is WireCode.DUPLICATE_REQUEST


def test_a_request_under_admission_is_refused_until_it_is_forgotten() -> None:
    made = Outcomes(Clock())
    outcome = made.begin(OWNER, ID, HASH)
    with pytest.raises(Refusal):
        made.find(OWNER, ID, HASH)
    made.forget(outcome)
    assert made.find(OWNER, ID, HASH) is None


def test_outcomes_are_kept_for_ten_minutes() -> None:
    clock = Clock()
    made = kept(clock)
    clock.now = 599.0
    assert made.find(OWNER, ID, HASH) is not None
    clock.now = 600.0
    assert made.find(OWNER, ID, HASH) is None


def test_a_long_answer_keeps_only_its_receipt() -> None:
    found = kept(frames=module.MAX_ANSWER_BYTES // len(BODY)).find(OWNER, ID, HASH)
    assert found is not None
    assert (found.messages(), found.complete) == ([], False)


def test_the_oldest_go_when_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOTAL_BYTES", 3_000)
    made = Outcomes(Clock())
    for number in range(3):
        outcome = made.begin(OWNER, bytes([number]) * 16, HASH)
        made.end(outcome, RECEIPT)
    assert made.find(OWNER, bytes([0]) * 16, HASH) is None
    assert made.find(OWNER, bytes([1]) * 16, HASH) is not None
    assert made.find(OWNER, bytes([2]) * 16, HASH) is not None
