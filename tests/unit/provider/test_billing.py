"""One stream against one channel: acknowledged dues open the window, top-ups are looked for once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from cocoon_provider.billing import ChannelBilling, Job
from cocoon_provider.book import ChannelBook
from cocoon_provider.opening import Ended
from cocoon_provider.refusals import Refusal
from cocoon_provider.tables import ChannelKey, stream_row
from cocoon_sdk.errors import WireCode
from cocoon_sdk.payments.meter import Counts, Price
from cocoon_sdk.payments.receipt import FinishReason, ResponseHash, verify_receipt
from cocoon_sdk.ton.address import Address
from tests.unit.provider.books import ADDRESS, CLIENT, FACTS, FUNDS, IDENTITY, KEY, PRICE, voucher

pytestmark = pytest.mark.anyio

HASH = b"1" * 32


class Mirror:
    """Says that it looked; `grow` is what the chain shows then."""

    def __init__(self, book: ChannelBook) -> None:
        self.book = book
        self.looks: list[tuple[Address, bytes, int | None]] = []
        self.grow = 0
        self.refusal: Refusal | None = None

    async def usable(
        self, address: Address, client_key: bytes, *, cover: int | None = None
    ) -> ChannelKey:
        self.looks.append((address, client_key, cover))
        if self.refusal is not None:
            raise self.refusal
        await self.book.register(replace(FACTS, balance=FUNDS + self.grow))
        return KEY


class Stage:
    def __init__(self, book: ChannelBook, price: Price = PRICE, *, k: int = 64) -> None:
        self.book = book
        self.mirror = Mirror(book)
        self.job = Job(b"r" * 16, b"q" * 32, b"s" * 16, b"m" * 32, price, 100, 1_000, k)
        self.billing = ChannelBilling(
            book, self.mirror, KEY, CLIENT.public_key, self.job  # type: ignore[arg-type]
        )  # fmt: skip

    def window_end(self) -> int:
        row = self.book.database.run_sync(lambda c: stream_row(c, KEY, self.job.request_id))
        assert row is not None
        return int(row["window_end"])


async def test_a_request_for_a_paid_model_must_carry_a_voucher(book: ChannelBook) -> None:
    stage = Stage(book)
    with pytest.raises(Refusal) as caught:
        await stage.billing.open(Counts(100), None)
    assert caught.value.code is WireCode.PAYMENT_REQUIRED
    assert await stage.billing.open(Counts(100), voucher(228)) is None
    assert stage.window_end() == 100 + 64 * 2  # W before anything: the prompt and K tokens


async def test_k_is_that_of_our_descriptor(book: ChannelBook) -> None:
    stage = Stage(book, k=16)
    await stage.billing.open(Counts(100), voucher(1_000))
    assert stage.window_end() == 100 + 16 * 2


async def test_the_window_moves_with_what_the_client_has_acknowledged(book: ChannelBook) -> None:
    stage = Stage(book)
    await stage.billing.open(Counts(100), voucher(100_000))
    for counts in (Counts(100), Counts(100, 0, 16), Counts(100, 0, 32)):
        await stage.billing.advance(counts, HASH, [])
    for acked, end in (
        (99, 228),  # nothing of what was METERed
        (131, 100 + 128),  # the first METER, not yet the second
        (132, 132 + 128),
        (100, 132 + 128),  # one that was overtaken takes nothing back
        (164, 164 + 128),
    ):
        await stage.billing.voucher(voucher(100_000, acked=acked))
        assert stage.window_end() == end


async def test_a_due_that_was_never_metered_cannot_be_acknowledged(book: ChannelBook) -> None:
    stage = Stage(book)
    await stage.billing.open(Counts(100), voucher(100_000))
    await stage.billing.advance(Counts(100), HASH, [])
    with pytest.raises(Refusal) as caught:
        await stage.billing.voucher(voucher(100_000, acked=101))
    assert caught.value.code is WireCode.VOUCHER_REJECTED
    assert stage.window_end() == 228


async def test_a_top_up_is_looked_for_when_a_voucher_is_above_the_funds(book: ChannelBook) -> None:
    stage = Stage(book)
    await stage.billing.open(Counts(100), voucher(1_000))
    stage.mirror.grow = FUNDS
    await stage.billing.voucher(voucher(FUNDS + 5))
    assert stage.mirror.looks == [(ADDRESS, CLIENT.public_key, FUNDS + 5)]
    assert (await book.state(KEY)).signed == FUNDS + 5


@pytest.mark.parametrize("reachable", [True, False])
async def test_without_a_top_up_the_shortfall_is_what_is_said(
    book: ChannelBook, reachable: bool
) -> None:
    stage = Stage(book)
    await stage.billing.open(Counts(100), voucher(1_000))
    if not reachable:
        stage.mirror.refusal = Refusal(WireCode.INTERNAL, "the chain is down")
    with pytest.raises(Refusal) as caught:
        await stage.billing.voucher(voucher(FUNDS + 5))
    assert caught.value.code is WireCode.INSUFFICIENT_FUNDS
    assert caught.value.detail["required"] == FUNDS + 5
    assert caught.value.detail["accepted"] == 1_000


async def test_other_refusals_do_not_look_at_the_chain(book: ChannelBook) -> None:
    stage = Stage(book)
    await stage.billing.open(Counts(100), voucher(1_000))
    with pytest.raises(Refusal) as caught:
        await stage.billing.voucher(voucher(2_000, key=IDENTITY))
    assert caught.value.code is WireCode.VOUCHER_REJECTED
    assert stage.mirror.looks == []


async def test_what_was_granted_stays_reserved_until_more_is(book: ChannelBook) -> None:
    stage = Stage(book)
    await stage.billing.open(Counts(100), voucher(132))
    ahead = Counts(100, 0, 16)
    first = await stage.billing.advance(Counts(100), HASH, [ahead])
    assert first.granted == ahead
    second = await stage.billing.advance(Counts(100, 0, 8), HASH, [Counts(100, 0, 24)])
    assert (second.granted, second.due) == (None, 116)
    third = await stage.billing.advance(Counts(100, 0, 10), HASH, [Counts(100, 0, 26)])
    assert (third.granted, third.due) == (None, 120)
    row = book.database.run_sync(lambda c: stream_row(c, KEY, stage.job.request_id))
    assert row is not None
    assert row["reserved"] == 132 - 120


async def test_a_free_model_on_a_channel_is_not_metered_but_receipted(book: ChannelBook) -> None:
    stage = Stage(book, Price(0, 0, 0))
    assert not stage.billing.metered
    assert await stage.billing.open(Counts(100), None) is None
    far = Counts(100, 0, 32)
    assert tuple(await stage.billing.advance(Counts(100), HASH, [far])) == (0, 0, far)
    assert (await stage.billing.advance(far, HASH, [])).granted is None
    raw = await stage.billing.finish(Counts(100, 0, 20), HASH, FinishReason.STOP)
    receipt = verify_receipt(raw, IDENTITY.public_key)
    assert (receipt.seq, receipt.price, receipt.counts.completion) == (1, 0, 20)


async def test_an_ended_request_gives_its_receipt_and_a_dropped_one_starts_anew(
    book: ChannelBook,
) -> None:
    stage = Stage(book)
    await stage.billing.open(Counts(100), voucher(1_000))
    await stage.billing.drop()
    assert await stage.billing.open(Counts(100), voucher(1_000)) is None
    raw = await stage.billing.finish(Counts(), ResponseHash().digest(), FinishReason.CANCELLED)
    assert await stage.billing.open(Counts(100), voucher(1_000)) == Ended(raw)


async def test_payments_on_any_stream_of_the_channel_wake(book: ChannelBook) -> None:
    stage, wake = Stage(book), asyncio.Event()
    with stage.billing.listening(wake):
        await book.take_voucher(KEY, b"", voucher(500), CLIENT.public_key, 0)
        assert wake.is_set()
    wake.clear()
    await book.take_voucher(KEY, b"", voucher(600), CLIENT.public_key, 0)
    assert not wake.is_set()
