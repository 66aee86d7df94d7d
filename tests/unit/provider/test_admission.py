"""Every check before a request is served, in order; a refusal leaves nothing taken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
from msgspec.structs import replace as change

from cocoon_provider.admission import BYTES_PER_TOKEN, Admission, Admitted, Client, Replay
from cocoon_provider.backends.echo import EchoBackend, EchoGeneration
from cocoon_provider.billing import ChannelBilling
from cocoon_provider.book import ChannelBook
from cocoon_provider.free import FreeBilling
from cocoon_provider.limits import RequestLine
from cocoon_provider.mirror import ChannelMirror
from cocoon_provider.outcomes import Outcomes
from cocoon_provider.pricing import PriceList
from cocoon_provider.refusals import Refusal
from cocoon_provider.tables import ChannelKey
from cocoon_sdk.errors import ProviderOverloadedError, WireCode
from cocoon_sdk.payments.meter import Counts, Price
from cocoon_sdk.payments.receipt import FinishReason, request_hash
from cocoon_sdk.protocol import messages
from cocoon_sdk.protocol.constants import CLOSE_CLIENT_AUTH
from cocoon_sdk.protocol.errors import RemoteProtocolError
from cocoon_sdk.protocol.events import HandshakeCompleted
from cocoon_sdk.protocol.messages import Delta, FrameType, encode_body
from cocoon_sdk.protocol.session import ChannelId
from cocoon_sdk.ton.address import Address
from tests.unit.provider.books import ADDRESS, CLIENT, IDENTITY, KEY, PRICE, voucher

pytestmark = pytest.mark.anyio

PAYER = Client(b"s" * 16, CLIENT.public_key, ADDRESS)
STRANGER = Client(b"t" * 16, None, None)
CONTEXT = 1_000


class Mirror:
    """Knows the one channel of the book."""

    def __init__(self) -> None:
        self.refusal: Refusal | None = None
        self.covers: list[int | None] = []

    async def usable(
        self, address: Address, client_key: bytes, *, cover: int | None = None
    ) -> ChannelKey:
        self.covers.append(cover)
        if self.refusal is not None:
            raise self.refusal
        assert (address, client_key) == (ADDRESS, CLIENT.public_key)
        return KEY


class Backend(EchoBackend):
    """Keeps what it made; `fails` is raised instead."""

    def __init__(self) -> None:
        super().__init__(("echo", "free"), context=CONTEXT)
        self.made: list[EchoGeneration] = []
        self.fails: Exception | None = None
        self.limit: int | None = None

    def submit(self, request: messages.Request, *, client_key: bytes | None) -> EchoGeneration:
        if self.fails is not None:
            raise self.fails
        self.made.append(super().submit(request, client_key=client_key))
        if self.limit is not None:
            self.made[-1]._max_tokens = self.limit
        return self.made[-1]


@dataclass
class Stage:
    admission: Admission
    backend: Backend
    book: ChannelBook
    mirror: Mirror
    line: RequestLine
    outcomes: Outcomes

    async def admit(self, request: messages.Request, client: Client = PAYER) -> Admitted | Replay:
        return await self.admission.admit(client, request, encode_body(request))

    async def refused(
        self, request: messages.Request, code: WireCode, client: Client = PAYER
    ) -> Refusal:
        """It is refused, leaves nothing behind, and may be tried again under the same id."""
        with pytest.raises(Refusal) as caught:
            await self.admit(request, client)
        assert caught.value.code is code
        assert all(generation._cancelled for generation in self.backend.made)
        place = self.line.enter()
        assert place.ready
        place.leave()
        digest = request_hash(encode_body(request))
        assert self.outcomes.find(client.key or b"", request.id, digest) is None
        return caught.value


@pytest.fixture
def stage(book: ChannelBook) -> Stage:
    backend, mirror = Backend(), Mirror()
    line, outcomes = RequestLine(active=1, waiting=0), Outcomes(lambda: 0.0)
    admission = Admission(
        identity=IDENTITY,
        backend=backend,
        prices=PriceList({"echo": PRICE, "free": Price(0, 0, 0)}),
        book=book,
        mirror=cast("ChannelMirror", mirror),
        line=line,
        outcomes=outcomes,
        window_tokens=64,
        clock=lambda: 5.0,
    )
    return Stage(admission, backend, book, mirror, line, outcomes)


def asked(model: str = "echo", text: str = "hello", **changes: Any) -> messages.Request:
    request = messages.Request(
        id=b"r" * 16,
        kind="chat",
        model=model,
        model_hash=EchoBackend((model,)).models[model].hash,
        body={"messages": [{"role": "user", "content": text}], "max_tokens": 50},
        seed=1,
        date="2026-01-01",
        salt=bytes(16),
        price=tuple(PRICE),
        voucher=voucher(10_000),
        resume=None,
    )
    return change(request, **changes)


# --- who speaks


def completed(channel: ChannelId | None, key: bytes | None = None) -> HandshakeCompleted:
    return HandshakeCompleted(b"s" * 16, bytes(32), 1, key, channel, None)


def test_the_client_is_who_its_handshake_proved() -> None:
    assert Client.of(completed(None)) == Client(b"s" * 16, None, None)
    key = CLIENT.public_key
    assert Client.of(completed(ChannelId(0, ADDRESS.hash), key)) == PAYER


@pytest.mark.parametrize("workchain", [-1, 1, 2**31 - 1])
def test_a_channel_outside_workchain_0_ends_the_handshake(workchain: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        Client.of(completed(ChannelId(workchain, ADDRESS.hash), CLIENT.public_key))
    assert caught.value.close_code == CLOSE_CLIENT_AUTH


# --- admitted


async def test_a_paid_request_is_entered_with_its_first_step_reserved(stage: Stage) -> None:
    admitted = await stage.admit(asked())
    assert isinstance(admitted, Admitted)
    assert isinstance(admitted.billing, ChannelBilling)
    assert admitted.place.ready
    assert stage.mirror.covers == [10_000]  # the chain is asked whether it covers the voucher
    state = await stage.book.state(KEY)
    assert state.signed == 10_000
    raw = await admitted.billing.finish(Counts(3), b"1" * 32, FinishReason.STOP)
    assert stage.backend.made[0].prompt_tokens > 3
    assert raw[:1] == b"\x01"


async def test_free_models_need_a_channel_only_if_one_is_named(stage: Stage) -> None:
    free = asked("free", price=(0, 0, 0), voucher=None)
    anonymous = await stage.admit(free, STRANGER)
    assert isinstance(anonymous, Admitted)
    assert isinstance(anonymous.billing, FreeBilling)
    assert stage.mirror.covers == []
    anonymous.place.leave()
    named = await stage.admit(free)
    assert isinstance(named, Admitted)
    assert isinstance(named.billing, ChannelBilling)  # its receipt belongs to the channel's row
    assert stage.mirror.covers == [None]


async def test_a_key_without_a_channel_is_named_in_a_free_receipt(stage: Stage) -> None:
    free = asked("free", price=(0, 0, 0), voucher=None)
    admitted = await stage.admit(free, replace(STRANGER, key=CLIENT.public_key))
    assert isinstance(admitted, Admitted)
    raw = await admitted.billing.finish(Counts(1), b"1" * 32, FinishReason.STOP)
    assert CLIENT.public_key in raw


# --- answered before


async def test_an_ended_request_is_replayed_even_while_draining(stage: Stage) -> None:
    request = asked()
    admitted = await stage.admit(request)
    assert isinstance(admitted, Admitted)
    with pytest.raises(Refusal) as caught:  # running now
        await stage.admit(request)
    assert caught.value.code is WireCode.DUPLICATE_REQUEST
    frame = Delta(0, 0, messages.Channel.CONTENT, "hi", [1, 2])
    admitted.outcome.add(FrameType.DELTA, encode_body(frame))
    stage.outcomes.end(admitted.outcome, b"raw")
    stage.admission.draining = True
    assert await stage.admit(request) == Replay((frame,), messages.Receipt(b"raw"))
    other = asked(text="something else")
    with pytest.raises(Refusal) as caught:
        await stage.admit(other)
    assert caught.value.code is WireCode.DUPLICATE_REQUEST


async def test_after_a_restart_the_receipt_comes_from_the_books(stage: Stage) -> None:
    request = asked()
    admitted = await stage.admit(request)
    assert isinstance(admitted, Admitted)
    raw = await admitted.billing.finish(Counts(3), b"1" * 32, FinishReason.STOP)
    admitted.place.leave()
    stage.outcomes.forget(admitted.outcome)  # what memory a restart leaves
    assert await stage.admit(request) == Replay((), messages.Receipt(raw))
    assert stage.backend.made[1]._cancelled
    assert stage.line.enter().ready
    assert await stage.admit(request) == Replay((), messages.Receipt(raw))  # from memory again
    assert len(stage.backend.made) == 2


async def test_two_clients_may_draw_the_same_request_id(stage: Stage) -> None:
    first = await stage.admit(asked())
    assert isinstance(first, Admitted)
    first.place.leave()
    free = asked("free", price=(0, 0, 0), voucher=None)
    assert isinstance(await stage.admit(free, STRANGER), Admitted)


# --- refused


async def test_draining_takes_nothing_new(stage: Stage) -> None:
    stage.admission.draining = True
    await stage.refused(asked(), WireCode.DRAINING)


async def test_only_the_model_that_was_meant_is_served(stage: Stage) -> None:
    refusal = await stage.refused(asked(model_hash=bytes(32)), WireCode.MODEL_NOT_FOUND)
    assert stage.backend.models["echo"].hash.hex() in refusal.message
    await stage.refused(change(asked(), model="else"), WireCode.MODEL_NOT_FOUND)
    assert stage.backend.made == []


async def test_a_body_above_eight_bytes_a_token_is_not_tokenised(stage: Stage) -> None:
    empty = len(encode_body(asked(text="")))
    room = CONTEXT * BYTES_PER_TOKEN - empty - 2  # a longer string has a header of 3 bytes, not 1
    assert len(encode_body(asked(text="x" * room))) == CONTEXT * BYTES_PER_TOKEN
    refusal = await stage.refused(asked(text="x" * (room + 1)), WireCode.CONTEXT_LENGTH)
    assert "8001 bytes" in refusal.message
    refusal = await stage.refused(asked(text="x" * room), WireCode.CONTEXT_LENGTH)
    assert "bytes" not in refusal.message  # the backend counted its tokens
    fits = asked(text="y" * 400)
    assert isinstance(await stage.admit(fits), Admitted)


async def test_a_price_below_ours_is_refused_before_the_channel_is_looked_at(stage: Stage) -> None:
    low = (PRICE.prompt, PRICE.cached, PRICE.completion - 1)
    refusal = await stage.refused(asked(price=low), WireCode.PRICE_CHANGED)
    assert refusal.detail["price"] == list(PRICE)
    assert stage.mirror.covers == []


@pytest.mark.parametrize(
    "client", [STRANGER, replace(PAYER, key=None), replace(PAYER, channel=None)]
)
async def test_a_paid_model_needs_a_session_bound_to_a_channel(
    stage: Stage, client: Client
) -> None:
    await stage.refused(asked(), WireCode.PAYMENT_REQUIRED, client)
    assert stage.backend.made == []  # nothing is tokenised for somebody who cannot pay


async def test_a_paid_model_needs_a_voucher(stage: Stage) -> None:
    await stage.refused(asked(voucher=None), WireCode.PAYMENT_REQUIRED)


async def test_a_bad_channel_takes_no_place(stage: Stage) -> None:
    stage.mirror.refusal = Refusal(WireCode.CHANNEL_CLOSING, "closing")
    await stage.refused(asked(), WireCode.CHANNEL_CLOSING)
    assert stage.backend.made == []


async def test_a_full_line_is_an_overload(stage: Stage) -> None:
    stage.line.enter()
    with pytest.raises(Refusal) as caught:
        await stage.admit(asked())
    assert caught.value.code is WireCode.OVERLOADED
    assert stage.backend.made == []


async def test_a_backend_that_says_no_says_why(stage: Stage) -> None:
    await stage.refused(
        asked(body={"messages": [{"role": "user", "content": "x"}], "temperature": "warm"}),
        WireCode.INVALID_REQUEST,
    )
    stage.backend.fails = ProviderOverloadedError("rows are taken", retry_after=1.5)
    refusal = await stage.refused(asked(), WireCode.OVERLOADED)
    assert refusal.retry_after_ms == 1_500


async def test_a_voucher_too_low_for_the_first_step_is_refused_and_gives_all_back(
    stage: Stage,
) -> None:
    await stage.refused(asked(voucher=voucher(3)), WireCode.PAYMENT_REQUIRED)
    assert len(stage.backend.made) == 1
    assert (await stage.book.state(KEY)).signed == 0


async def test_an_amount_that_no_column_could_hold_is_refused(stage: Stage) -> None:
    stage.backend.limit = 600_000
    price = (PRICE.prompt, PRICE.cached, 2**63 - 1)
    refusal = await stage.refused(asked(price=price), WireCode.INVALID_REQUEST)
    assert "more than any channel" in refusal.message
    stage.backend.limit = 400_000  # dear, but a number: it is the voucher that is looked at
    assert isinstance(await stage.admit(asked(price=price)), Admitted)


async def test_an_unexpected_failure_gives_all_back_too(stage: Stage) -> None:
    stage.backend.fails = RuntimeError("boom")
    with pytest.raises(RuntimeError):
        await stage.admit(asked())
    assert stage.line.enter().ready
    stage.backend.fails = None
    with pytest.raises(Refusal) as caught:  # the id is free again; only the slot is taken now
        await stage.admit(asked())
    assert caught.value.code is WireCode.OVERLOADED
