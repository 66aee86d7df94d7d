"""Checks on what a provider sends for one request: counts, hashes, prices, text. No I/O.

A provider that fails a check here is not asked again (payments.md §3 and §4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cocoon_sdk.errors import InvalidRequestError, OverchargeError, ReceiptMismatchError
from cocoon_sdk.payments.meter import Counts, Price, cost
from cocoon_sdk.payments.receipt import Receipt, ResponseHash, verify_receipt
from cocoon_sdk.protocol.messages import Delta, FrameType, Meter, Result

# A tokenizer may split a text in more than one way; more than this much above the canonical count is
# padding at the client's expense (payments.md §3).
RETOKENISE_FACTOR = 1.05
RETOKENISE_SLACK = 8
# A stop string may begin inside a token, and max_tokens may cut inside a character: that much text has
# no token id of its own.
UNMATCHED_TEXT_BYTES = 64
# Text is compared with its ids while the answer still comes, before the next window is paid for: after
# so many more tokens, or an eighth of a long answer more, since each comparison reads all of it.
CHECK_TOKENS = 64
CHECK_SHARE = 8
# No token stands for more text than this. Text is not billed, so nothing else bounds how much of it comes.
TEXT_BYTES_PER_TOKEN = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the receipt must say, known before the first frame arrives. Hashes and keys are bytes."""

    provider: bytes
    client: bytes
    network: int
    channel: bytes
    epoch: int
    session_id: bytes
    request_id: bytes
    request_hash: bytes
    model_hash: bytes
    price: Price
    prompt_bound: int
    prompt_exact: int | None
    max_tokens: int
    choices: int = 1


@dataclass(slots=True)
class _Choice:
    text: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)


class Answer:
    """The running state of one answer."""

    def __init__(
        self,
        expected: Expected,
        *,
        decode: Callable[[Sequence[int]], str] | None = None,
        encode: Callable[[str], Sequence[int]] | None = None,
    ) -> None:
        self._expected = expected
        self._decode = decode
        self._encode = encode
        self._hash = ResponseHash()
        self._next_seq = 0
        self._choices: dict[int, _Choice] = {}
        self._completion = 0
        self._text_bytes = 0
        self._due = 0
        self._metered = Counts()
        self._checked = 0  # completion tokens when text and ids were last compared

    @property
    def completion_tokens(self) -> int:
        """Token ids delivered so far."""
        return self._completion

    @property
    def due(self) -> int:
        """The highest due that was verified, in nano."""
        return self._due

    @property
    def owed(self) -> int:
        """The price, in nano, of what was METERed of the prompt and of all tokens delivered (wire.md, CANCEL)."""
        return cost(self._metered._replace(completion=self._completion), self._expected.price)

    def text(self, choice: int = 0) -> str:
        """The text delivered so far."""
        found = self._choices.get(choice)
        return "".join(found.text) if found else ""

    def on_delta(self, delta: Delta, body: bytes) -> None:
        """Take a piece of text.

        Raises:
            OverchargeError: more tokens than `max_tokens`, or a choice that was not asked for.
            ReceiptMismatchError: a gap in the numbering.
        """
        self._advance(delta.seq)
        if delta.choice >= self._expected.choices:
            raise OverchargeError(
                f"the provider sent choice {delta.choice}; {self._expected.choices} were asked for"
            )
        self._hash.update(FrameType.DELTA, body)
        choice = self._choices.setdefault(delta.choice, _Choice())
        choice.text.append(delta.text)
        choice.ids.extend(delta.ids)
        self._completion += len(delta.ids)
        self._text_bytes += len(delta.text.encode())
        if self._text_bytes > TEXT_BYTES_PER_TOKEN * (self._completion + CHECK_TOKENS):
            raise OverchargeError(
                f"the provider sent {self._text_bytes} bytes of text for {self._completion} tokens"
            )
        if self._completion > self._expected.max_tokens:
            raise OverchargeError(
                f"the provider sent more than the {self._expected.max_tokens} tokens asked for"
            )

    def on_result(self, result: Result, body: bytes) -> None:
        """Take a structured result."""
        self._advance(result.seq)
        self._hash.update(FrameType.RESULT, body)

    def _advance(self, seq: int) -> None:
        if seq != self._next_seq:
            raise ReceiptMismatchError(
                f"the answer has a gap: piece {seq} came where {self._next_seq} was due"
            )
        self._next_seq += 1

    def on_meter(self, meter: Meter) -> int:
        """The due of a METER once it is found to be right, in nano.

        Raises:
            OverchargeError: counts above what was sent or asked, a due that is not their price, or tokens
                that are not those of the text.
            ReceiptMismatchError: the running response hash is not ours.
        """
        counts = Counts(meter.prompt, meter.cached, meter.completion)
        self._check_counts(counts, complete=False)
        if meter.response_hash != self._hash.digest():
            raise ReceiptMismatchError("METER names another answer than the one that arrived")
        self._check_price(counts, meter.due)
        if meter.due < self._due:
            raise OverchargeError(f"the due fell from {self._due} to {meter.due} nano")
        if self._completion - self._checked >= max(CHECK_TOKENS, self._checked // CHECK_SHARE):
            self._check_text()
        self._due, self._metered = meter.due, counts
        return meter.due

    def on_receipt(self, raw: bytes) -> Receipt:
        """The receipt once every field is found to be right.

        Raises:
            ReceiptMismatchError: signature, identity, id or hash.
            OverchargeError: counts or price.
        """
        expected = self._expected
        receipt = verify_receipt(raw, expected.provider)
        for name in (
            "client", "network", "channel", "epoch", "session_id", "request_id", "request_hash", "model_hash",
        ):  # fmt: skip
            if getattr(receipt, name) != getattr(expected, name):
                raise ReceiptMismatchError(f"the receipt is for another {name.replace('_', ' ')}")
        if receipt.response_hash != self._hash.digest():
            raise ReceiptMismatchError(
                "the receipt is for another answer than the one that arrived"
            )
        counts = receipt.counts
        self._check_counts(counts, complete=True)
        if counts.reasoning > counts.completion:
            raise OverchargeError("the receipt counts more reasoning than completion tokens")
        self._check_price(counts, receipt.price)
        if receipt.price < self._due:
            raise ReceiptMismatchError("the receipt's price is below a METERed due")
        self._check_text()
        return receipt

    def _check_counts(self, counts: Counts, *, complete: bool) -> None:
        prompt = counts.prompt + counts.cached
        limit = self._expected.prompt_exact
        if limit is None:
            limit = self._expected.prompt_bound
        if prompt > limit:
            raise OverchargeError(
                f"the provider counts {prompt} prompt tokens where at most {limit} are possible"
            )
        wrong = (
            counts.completion != self._completion
            if complete
            else counts.completion > self._completion
        )
        if wrong:
            raise OverchargeError(
                f"the provider counts {counts.completion} completion tokens but delivered {self._completion}"
            )

    def _check_price(self, counts: Counts, claimed: int) -> None:
        right = cost(counts, self._expected.price)
        if claimed != right:
            raise OverchargeError(
                f"the provider asks {claimed} nano for what costs {right} nano at its own price"
            )

    def _check_text(self) -> None:
        self._checked = self._completion
        if self._decode is None or self._encode is None:
            self._check_length()
            return
        for number, choice in self._choices.items():
            text = "".join(choice.text)
            try:
                decoded = self._decode(choice.ids).rstrip("\ufffd")
            except InvalidRequestError as error:
                raise OverchargeError(
                    f"choice {number} was billed for no token: {error}"
                ) from error
            unmatched = len(text.encode()) - len(decoded.encode())
            if not text.startswith(decoded) or unmatched > UNMATCHED_TEXT_BYTES:
                raise OverchargeError(f"the token ids of choice {number} do not decode to its text")
            canonical = len(self._encode(text))
            if len(choice.ids) > canonical * RETOKENISE_FACTOR + RETOKENISE_SLACK:
                raise OverchargeError(
                    f"choice {number} was billed as {len(choice.ids)} tokens but has {canonical}"
                )

    def _check_length(self) -> None:
        """Without the tokenizer: every token stands for one byte of text at least."""
        for number, choice in self._choices.items():
            size = sum(len(text.encode()) for text in choice.text)
            if len(choice.ids) > size + RETOKENISE_SLACK:
                raise OverchargeError(
                    f"choice {number} was billed as {len(choice.ids)} tokens but has {size} bytes of text"
                )
