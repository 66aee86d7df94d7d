from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cocoon_sdk.errors import OverchargeError, ReceiptMismatchError, VerificationError
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.payments.meter import Counts, Price, cost
from cocoon_sdk.payments.receipt import FinishReason, Receipt, ResponseHash, sign_receipt
from cocoon_sdk.protocol.messages import Channel, Delta, FrameType, Meter, Result, encode_body
from cocoon_sdk.transport.answer import CHECK_TOKENS, Answer, Expected

IDENTITY = Ed25519Key(b"p" * 32)
PRICE = Price(2_000_000, 1_000_000, 5_000_000)
EXPECTED = Expected(
    provider=IDENTITY.public_key,
    client=b"c" * 32,
    network=-217,
    channel=b"h" * 32,
    epoch=3,
    session_id=b"s" * 16,
    request_id=b"r" * 16,
    request_hash=b"q" * 32,
    model_hash=b"m" * 32,
    price=PRICE,
    prompt_bound=100,
    prompt_exact=None,
    max_tokens=50,
)


class Conversation:
    """An honest provider's side, with dials to turn."""

    def __init__(self, **kwargs: Any) -> None:
        self.answer = Answer(dataclasses.replace(EXPECTED, **kwargs.pop("expected", {})), **kwargs)
        self.hash = ResponseHash()
        self.seq = 0
        self.completion = 0

    def delta(self, text: str, ids: list[int], *, choice: int = 0) -> None:
        delta = Delta(self.seq, choice, Channel.CONTENT, text, ids)
        body = encode_body(delta)
        self.hash.update(FrameType.DELTA, body)
        self.seq += 1
        self.completion += len(ids)
        self.answer.on_delta(delta, body)

    def finish(self) -> None:
        result = Result(self.seq, 0, 1, "finish", {"choice": 0, "reason": "stop"})
        body = encode_body(result)
        self.hash.update(FrameType.RESULT, body)
        self.seq += 1
        self.answer.on_result(result, body)

    def meter(self, prompt: int = 20, **changes: Any) -> int:
        counts = Counts(prompt, 0, self.completion)
        fields = {
            "prompt": prompt,
            "cached": 0,
            "completion": self.completion,
            "response_hash": self.hash.digest(),
            "due": cost(counts, PRICE),
            "wanted": 0,
        }
        return self.answer.on_meter(Meter(**{**fields, **changes}))

    def receipt(self, *, signer: Ed25519Key = IDENTITY, **changes: Any) -> Receipt:
        counts = changes.pop("counts", Counts(20, 0, self.completion))
        fields = {
            name: getattr(EXPECTED, name)
            for name in ("client", "network", "channel", "epoch", "session_id", "request_id",
                         "request_hash", "model_hash")
        }  # fmt: skip
        receipt = Receipt(
            **{
                **fields,
                "finish": FinishReason.STOP,
                "provider": signer.public_key,
                "response_hash": self.hash.digest(),
                "counts": counts,
                "price": cost(counts, PRICE),
                "spent": 10**12,
                "seq": 1,
                "time_ms": 0,
                **changes,
            }
        )
        return self.answer.on_receipt(sign_receipt(signer, receipt))


def said() -> Conversation:
    talk = Conversation()
    talk.delta("Hello", [1, 2])
    talk.delta(" world", [3])
    talk.finish()
    return talk


def test_an_honest_answer_passes() -> None:
    talk = said()
    assert talk.meter() == cost(Counts(20, 0, 3), PRICE)
    assert talk.receipt().counts == Counts(20, 0, 3)
    assert talk.answer.text() == "Hello world"
    assert talk.answer.due == cost(Counts(20, 0, 3), PRICE)


@pytest.mark.parametrize(
    "field",
    ["client", "network", "channel", "epoch", "session_id", "request_id", "request_hash",
     "model_hash", "response_hash"],
)  # fmt: skip
def test_a_receipt_for_something_else_is_refused(field: str) -> None:
    talk = said()
    right = getattr(EXPECTED, field, b"x" * 32)
    wrong = right + 1 if isinstance(right, int) else bytes([right[0] ^ 1]) + right[1:]
    with pytest.raises(
        ReceiptMismatchError,
        match=field.replace("_", " ").split()[0] if field != "response_hash" else "answer",
    ):
        talk.receipt(**{field: wrong})


def test_a_receipt_by_another_key_is_refused() -> None:
    with pytest.raises(ReceiptMismatchError):
        said().receipt(signer=Ed25519Key(b"x" * 32))


@pytest.mark.parametrize(
    "counts", [Counts(20, 0, 4), Counts(20, 0, 2), Counts(101, 0, 3), Counts(60, 41, 3)]
)
def test_counts_other_than_delivered_or_possible_are_an_overcharge(counts: Counts) -> None:
    with pytest.raises(OverchargeError):
        said().receipt(counts=counts)


def test_with_the_tokenizer_one_prompt_token_too_many_is_found() -> None:
    talk = Conversation(expected={"prompt_exact": 20})
    talk.delta("x", [1])
    assert talk.receipt(counts=Counts(15, 5, 1)).counts.cached == 5
    with pytest.raises(OverchargeError, match="21 prompt tokens"):
        talk.receipt(counts=Counts(21, 0, 1))


@pytest.mark.parametrize("change", [1, -1])
def test_a_price_that_is_off_by_one_is_an_overcharge(change: int) -> None:
    talk = said()
    right = cost(Counts(20, 0, 3), PRICE)
    with pytest.raises(OverchargeError):
        talk.receipt(price=right + change)
    with pytest.raises(OverchargeError):
        talk.meter(due=right + change)


def test_a_receipt_below_its_meter_is_refused() -> None:
    talk = said()
    talk.meter(prompt=30)
    with pytest.raises(ReceiptMismatchError, match="below"):
        talk.receipt()


def test_a_due_never_falls() -> None:
    talk = said()
    talk.meter(prompt=30)
    with pytest.raises(OverchargeError, match="fell"):
        talk.meter(prompt=29)


def test_a_meter_may_not_count_what_has_not_arrived() -> None:
    talk = said()
    with pytest.raises(OverchargeError, match="delivered 3"):
        talk.meter(completion=4)
    with pytest.raises(ReceiptMismatchError):
        talk.meter(response_hash=bytes(32))


def test_gaps_and_repeats_are_refused() -> None:
    talk = said()
    talk.seq += 1
    with pytest.raises(ReceiptMismatchError, match="gap"):
        talk.delta("x", [4])
    talk.seq = 0
    with pytest.raises(ReceiptMismatchError, match="gap"):
        talk.delta("x", [4])


def test_more_than_max_tokens_is_an_overcharge() -> None:
    talk = said()
    with pytest.raises(OverchargeError, match="50"):
        talk.delta("x", list(range(48)))


def letters(ids: Any) -> str:
    return "".join(chr(97 + number) for number in ids)


def numbers(text: str) -> list[int]:
    return [ord(letter) - 97 for letter in text]


def test_ids_that_do_not_decode_to_the_text_are_refused() -> None:
    talk = Conversation(decode=letters, encode=numbers)
    talk.delta("ab", [0, 1])
    assert talk.receipt()
    lying = Conversation(decode=letters, encode=numbers)
    lying.delta("ab", [0, 2])
    with pytest.raises(OverchargeError, match="decode"):
        lying.receipt()


def test_padded_tokenisation_is_refused() -> None:
    talk = Conversation(decode=lambda ids: "a", encode=numbers)
    talk.delta("a", list(range(10)))
    with pytest.raises(OverchargeError, match="10 tokens but has 1"):
        talk.receipt()


@given(st.binary(min_size=352, max_size=352))
def test_random_bytes_are_never_a_receipt(raw: bytes) -> None:
    with pytest.raises(VerificationError):
        said().answer.on_receipt(raw)


def test_padding_is_noticed_at_the_next_meter_and_not_only_at_the_end() -> None:
    talk = Conversation(decode=letters, encode=numbers, expected={"max_tokens": 1_000})
    for _ in range(CHECK_TOKENS):
        talk.delta("a", [0])
    talk.meter()
    for _ in range(CHECK_TOKENS):
        talk.delta("", [1])  # tokens that bring no text
    with pytest.raises(OverchargeError):
        talk.meter()


def test_an_honest_answer_passes_every_comparison() -> None:
    talk = Conversation(decode=letters, encode=numbers, expected={"max_tokens": 1_000})
    for number in range(900):
        talk.delta(chr(97 + number % 26), [number % 26])
        if number % 16 == 0:
            talk.meter()


def test_without_a_tokenizer_a_token_is_at_least_a_byte() -> None:
    talk = Conversation(expected={"max_tokens": 1_000})
    talk.delta("a" * CHECK_TOKENS, [1] * CHECK_TOKENS)
    talk.meter()
    talk.delta("b", [2] * 100)
    with pytest.raises(OverchargeError):
        talk.meter()


def test_a_choice_that_was_not_asked_for_is_an_overcharge() -> None:
    with pytest.raises(OverchargeError, match="choice 1"):
        Conversation().delta("x", [1], choice=1)
    Conversation(expected={"choices": 2}).delta("x", [1], choice=1)


def test_owed_is_the_metered_prompt_and_all_that_was_delivered() -> None:
    talk = Conversation()
    assert talk.answer.owed == 0
    talk.meter()
    assert talk.answer.owed == cost(Counts(20, 0, 0), PRICE)
    talk.delta("ab", [1, 2])
    assert talk.answer.owed == cost(Counts(20, 0, 2), PRICE)
    assert talk.answer.due == cost(Counts(20, 0, 0), PRICE)
