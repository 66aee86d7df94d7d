"""The verbs of the wire: replay, receipt last, questions about a channel."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from cocoon_provider.admission import Admission, Admitted, Client, Replay
from cocoon_provider.backends.echo import EchoBackend
from cocoon_provider.billing import Job
from cocoon_provider.book import ChannelBook
from cocoon_provider.closing import CooperativeClose
from cocoon_provider.free import FreeBilling
from cocoon_provider.inbox import ConnectionLostError, Inbox
from cocoon_provider.limits import RequestLine
from cocoon_provider.outcomes import Outcomes
from cocoon_provider.refusals import Refusal
from cocoon_provider.service import Service
from cocoon_provider.tables import ChannelKey
from cocoon_sdk.errors import StoreError, WireCode
from cocoon_sdk.payments.meter import Counts, Price
from cocoon_sdk.payments.receipt import FinishReason, verify_receipt
from cocoon_sdk.protocol import messages
from cocoon_sdk.protocol.messages import Channel, Delta, Receipt, encode_body
from cocoon_sdk.ton.chain import DEVNET_NETWORK
from tests.unit.provider.books import (
    ADDRESS,
    CLIENT,
    EPOCH,
    IDENTITY,
    KEY,
    opening,
    start,
    voucher,
)

pytestmark = pytest.mark.anyio

CLIENT_OF_KEY = Client(b"s" * 16, CLIENT.public_key, ADDRESS)
REQUEST = messages.Request(
    id=b"r" * 16,
    kind="chat",
    model="echo",
    model_hash=EchoBackend().models["echo"].hash,
    body={"messages": [{"role": "user", "content": "hi"}]},
    seed=1,
    date="2026-01-01",
    salt=bytes(16),
    price=(0, 0, 0),
    voucher=None,
    resume=None,
)
HASH = b"q" * 32


class Doorman:
    """Admission that a test decides about."""

    def __init__(self) -> None:
        self.answer: Admitted | Replay | None = None
        self.refusal: Refusal | None = None

    async def admit(self, *_: object) -> Admitted | Replay | None:
        return self.answer

    async def channel(self, client: Client, *, cover: int | None = None) -> ChannelKey:
        if self.refusal is not None:
            raise self.refusal
        return KEY


class Stage:
    def __init__(self, book: ChannelBook) -> None:
        self.book = book
        self.doorman = Doorman()
        self.outcomes = Outcomes(lambda: 0.0)
        self.line = RequestLine(active=1, waiting=0)
        self.inbox = Inbox()
        self.sent: list[tuple[messages.Message, bool]] = []
        self.lost_at: int | None = None
        self.service = Service(
            admission=cast("Admission", self.doorman),
            book=book,
            outcomes=self.outcomes,
            closing=CooperativeClose(book, IDENTITY),
            clock=lambda: 0.0,
        )

    async def send(self, message: messages.Message, *, end: bool = False) -> None:
        if self.lost_at is not None and len(self.sent) >= self.lost_at:
            raise ConnectionLostError
        self.sent.append((message, end))

    def admitted(self) -> Admitted:
        job = Job(REQUEST.id, HASH, b"s" * 16, b"m" * 32, Price(0, 0, 0), 20, 100, 64)
        billing = FreeBilling(
            IDENTITY, network=DEVNET_NETWORK, client_key=None, job=job, clock=lambda: 1.0
        )
        made = Admitted(
            EchoBackend().submit(REQUEST, client_key=None),
            billing,
            self.line.enter(),
            self.outcomes.begin(b"", REQUEST.id, HASH),
        )
        self.doorman.answer = made
        return made

    async def serve(self) -> None:
        await self.service.serve(
            CLIENT_OF_KEY, REQUEST, encode_body(REQUEST), self.inbox, self.send
        )


@pytest.fixture
def stage(book: ChannelBook) -> Stage:
    return Stage(book)


async def test_the_receipt_comes_last_and_is_what_a_retry_finds(stage: Stage) -> None:
    stage.admitted()
    await stage.serve()
    assert [type(m).__name__ for m, _ in stage.sent] == ["Delta", "Delta", "Result", "Receipt"]
    assert [end for _, end in stage.sent] == [False, False, False, True]
    kept = stage.outcomes.find(b"", REQUEST.id, HASH)
    assert kept is not None
    assert kept.receipt == stage.sent[-1][0]
    assert kept.messages() == [message for message, _ in stage.sent[:-1]]
    assert stage.line.enter().ready


async def test_a_replay_sends_the_frames_and_the_receipt_again(stage: Stage) -> None:
    frame = Delta(0, 0, Channel.CONTENT, "x", [1])
    stage.doorman.answer = Replay((frame, frame), Receipt(b"raw"))
    await stage.serve()
    assert stage.sent == [(frame, False), (frame, False), (Receipt(b"raw"), True)]


async def test_vouchers_that_crossed_the_end_are_kept_before_the_receipt_goes(
    stage: Stage,
) -> None:
    stage.admitted()
    billing: Any = cast("Admitted", stage.doorman.answer).billing
    finish = billing.finish

    async def late(*arguments: object) -> bytes:
        stage.inbox.put(voucher(900, key=IDENTITY))  # forged: ignored
        stage.inbox.put(voucher(700))
        return cast("bytes", await finish(*arguments))

    billing.finish = late
    await stage.serve()
    assert (await stage.book.state(KEY)).signed == 700
    assert isinstance(stage.sent[-1][0], Receipt)


async def test_a_late_voucher_is_never_an_error(stage: Stage) -> None:
    for bad in (voucher(10**12), voucher(5, epoch=EPOCH + 1), voucher(5, key=IDENTITY)):
        await stage.service.late_voucher(CLIENT_OF_KEY, bad)
    stage.doorman.refusal = Refusal(WireCode.CHANNEL_UNKNOWN, "unknown")
    await stage.service.late_voucher(CLIENT_OF_KEY, voucher(5))
    assert (await stage.book.state(KEY)).signed == 0


@pytest.mark.parametrize("known", [True, False])
async def test_a_client_that_left_has_its_outcome_kept(stage: Stage, known: bool) -> None:
    stage.admitted()
    if known:  # nothing is even tried
        stage.inbox.cancel(lost=True)
        await stage.serve()
        assert stage.sent == []
    else:
        stage.lost_at = 1
        with pytest.raises(ConnectionLostError):
            await stage.serve()
    kept = stage.outcomes.find(b"", REQUEST.id, HASH)
    assert kept is not None
    assert kept.receipt is not None
    receipt = verify_receipt(kept.receipt.raw, IDENTITY.public_key)
    assert receipt.finish is FinishReason.CANCELLED


async def test_what_was_never_billed_may_be_asked_again_under_its_id(stage: Stage) -> None:
    admitted = stage.admitted()
    cast("Any", admitted.generation)._events = lambda: SimpleNamespace()  # cannot be iterated
    await stage.serve()
    [(error, end)] = stage.sent
    assert isinstance(error, messages.Error)
    assert (error.code, end) == (WireCode.INTERNAL, True)
    assert stage.outcomes.find(b"", REQUEST.id, HASH) is None


async def test_a_receipt_that_cannot_be_stored_is_not_sent(stage: Stage) -> None:
    admitted = stage.admitted()

    async def finish(*_: object) -> bytes:
        raise StoreError("disk full")

    cast("Any", admitted.billing).finish = finish
    with pytest.raises(StoreError):
        await stage.serve()
    assert not any(isinstance(message, Receipt) for message, _ in stage.sent)
    assert stage.outcomes.find(b"", REQUEST.id, HASH) is None


async def test_state_receipts_and_close_are_answered_from_the_clients_channel(
    stage: Stage,
) -> None:
    begin = opening()
    await start(stage.book, begin, voucher(500))
    raw = await stage.book.finish(KEY, begin.request_id, Counts(100), b"1" * 32, FinishReason.STOP)
    assert await stage.service.state(CLIENT_OF_KEY) == messages.State(
        EPOCH, 500, voucher(500).signature, 1, 100
    )
    asked = messages.ReceiptGet(begin.request_id, None)
    assert await stage.service.receipt(CLIENT_OF_KEY, asked) == Receipt(raw)
    auth = await stage.service.close(CLIENT_OF_KEY, messages.CloseRequest(EPOCH))
    assert (auth.epoch, auth.final) == (EPOCH, 100)


async def test_questions_without_an_acceptable_channel_are_refused(stage: Stage) -> None:
    stage.doorman.refusal = Refusal(WireCode.PAYMENT_REQUIRED, "no channel")
    for ask in (
        stage.service.state(CLIENT_OF_KEY),
        stage.service.receipt(CLIENT_OF_KEY, messages.ReceiptGet()),
        stage.service.close(CLIENT_OF_KEY, messages.CloseRequest(EPOCH)),
    ):
        with pytest.raises(Refusal):
            await ask
