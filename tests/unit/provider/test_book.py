"""Each rule of payments.md §3 for the provider, by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from cocoon_provider.book import ChannelBook
from cocoon_provider.closing import CooperativeClose
from cocoon_provider.opening import Ended
from cocoon_provider.refusals import Refusal
from cocoon_sdk.errors import WireCode
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.payments.meter import Counts, Price, cost
from cocoon_sdk.payments.receipt import FinishReason, verify_receipt
from cocoon_sdk.payments.voucher import RENT_CUSHION
from cocoon_sdk.protocol import messages
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.contract.channel import RENT_RESERVE
from tests.unit.provider.books import (
    ADDRESS,
    CLIENT,
    EPOCH,
    FACTS,
    FUNDS,
    IDENTITY,
    KEY,
    PRICE,
    closing,
    open_book,
    opening,
    pay,
    start,
    voucher,
)

pytestmark = pytest.mark.anyio

HASH = b"1" * 32
LIMIT = FUNDS - RENT_RESERVE - RENT_CUSHION


@pytest.fixture
async def book(book_folder: Path) -> AsyncIterator[ChannelBook]:
    made = open_book(book_folder)
    await made.register(FACTS)
    yield made
    made.database.close()


async def refused(call: object, code: WireCode) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await call  # type: ignore[misc]
    assert caught.value.code is code
    return caught.value


async def signed(book: ChannelBook) -> int:
    return (await book.state(KEY)).signed


# --- vouchers


@pytest.mark.parametrize(
    "bad",
    [
        voucher(500, key=Ed25519Key(b"\x09" * 32)),
        voucher(500, key=IDENTITY),
        voucher(500, network=-239),
        voucher(500, network=-3),
        voucher(500, address=Address(0, b"\x04" * 32)),
        voucher(500, address=Address(-1, ADDRESS.hash)),
        messages.Voucher(EPOCH, 501, voucher(500).signature, 0),
        messages.Voucher(EPOCH, 500, bytes(64), 0),
        messages.Voucher(
            EPOCH, 500, bytes([voucher(500).signature[0] ^ 1]) + voucher(500).signature[1:], 0
        ),
        messages.Voucher(EPOCH, 2**63, bytes(64), 0),
    ],
)
async def test_a_voucher_that_the_client_did_not_sign_is_refused(
    book: ChannelBook, bad: messages.Voucher
) -> None:
    await refused(start(book, opening(), bad), WireCode.VOUCHER_REJECTED)
    assert await signed(book) == 0


async def test_a_small_order_client_key_verifies_nothing(book: ChannelBook) -> None:
    weak = bytes([1]) + bytes(31)
    forged = messages.Voucher(EPOCH, 500, weak + bytes(32), 0)
    call = book.take_voucher(KEY, b"", forged, weak, 0)
    await refused(call, WireCode.VOUCHER_REJECTED)


async def test_a_voucher_of_another_epoch_is_refused(book: ChannelBook) -> None:
    for epoch in (EPOCH - 1, EPOCH + 1, 0):
        await refused(start(book, opening(), voucher(500, epoch=epoch)), WireCode.EPOCH_MISMATCH)


async def test_a_voucher_above_the_funds_is_refused_with_the_shortfall(book: ChannelBook) -> None:
    refusal = await refused(start(book, opening(), voucher(LIMIT + 1)), WireCode.INSUFFICIENT_FUNDS)
    assert refusal.detail == {"required": LIMIT + 1, "accepted": 0, "available": LIMIT}
    assert await start(book, opening(), voucher(LIMIT)) is None
    assert await signed(book) == LIMIT


async def test_what_was_redeemed_counts_as_covered(book: ChannelBook) -> None:
    await book.register(replace(FACTS, balance=FUNDS - 300, redeemed=300))
    assert await start(book, opening(), voucher(LIMIT)) is None


async def test_the_same_or_a_lower_voucher_is_a_no_op(book: ChannelBook) -> None:
    begin = opening()
    await start(book, begin, voucher(5_000))
    await pay(book, begin, voucher(5_000))
    await pay(book, begin, voucher(4_000))
    state = await book.state(KEY)
    assert (state.signed, state.signature) == (5_000, voucher(5_000).signature)


async def test_a_lower_voucher_still_needs_its_signature(book: ChannelBook) -> None:
    begin = opening()
    await start(book, begin, voucher(5_000))
    bad = voucher(4_000, key=IDENTITY)
    await refused(pay(book, begin, bad), WireCode.VOUCHER_REJECTED)


async def test_a_higher_voucher_on_a_closing_channel_is_refused_a_known_one_is_not(
    book: ChannelBook,
) -> None:
    begin = opening()
    await start(book, begin, voucher(5_000))
    await book.register(closing())
    await refused(pay(book, begin, voucher(5_001)), WireCode.CHANNEL_CLOSING)
    await pay(book, begin, voucher(5_000))
    await refused(start(book, opening(), voucher(5_000)), WireCode.CHANNEL_CLOSING)


async def test_a_voucher_on_a_destroyed_channel_is_refused(book: ChannelBook) -> None:
    await book.mark_gone(ADDRESS.raw)
    await refused(start(book, opening(), voucher(5_000)), WireCode.CHANNEL_CLOSING)


async def test_an_acknowledged_due_above_what_was_metered_is_refused(book: ChannelBook) -> None:
    begin = opening()
    await start(book, begin, voucher(5_000))
    await refused(pay(book, begin, voucher(6_000, acked=1)), WireCode.VOUCHER_REJECTED)
    assert await signed(book) == 5_000  # of a refused message nothing is kept


async def test_an_unknown_channel_is_refused(book_folder: Path) -> None:
    book = open_book(book_folder)
    await refused(start(book, opening(), voucher(5_000)), WireCode.CHANNEL_UNKNOWN)
    book.database.close()


# --- steps


async def test_the_first_step_must_be_covered(book: ChannelBook) -> None:
    refusal = await refused(
        start(book, opening(prompt=100), voucher(99)), WireCode.PAYMENT_REQUIRED
    )
    assert refusal.detail == {"required": 100, "accepted": 0} or refusal.detail["required"] == 100
    assert await start(book, opening(prompt=100), voucher(100)) is None


async def test_two_requests_cannot_share_one_voucher(book: ChannelBook) -> None:
    await start(book, opening(prompt=100), voucher(150))
    refusal = await refused(
        start(book, opening(prompt=100), voucher(150)), WireCode.PAYMENT_REQUIRED
    )
    assert refusal.detail["required"] == 200
    assert await start(book, opening(prompt=100), voucher(200)) is None


async def test_no_step_beyond_signed(book: ChannelBook) -> None:
    begin = opening()
    await start(book, begin, voucher(100 + 32))
    done = Counts(prompt=100)
    progress = await book.advance(
        KEY, begin.request_id, done, HASH, window=128, granted=done,
        targets=[done.advance(completion=17), done.advance(completion=16)],
    )  # fmt: skip
    assert progress.granted == done.advance(completion=16)  # 17 tokens would cost 34
    assert progress.due == 100


async def test_no_step_beyond_the_streams_own_window(book: ChannelBook) -> None:
    begin = opening(max_tokens=1_000)  # W = 100 + 64 × 2
    await start(book, begin, voucher(1_000_000))
    done = Counts(prompt=100, completion=56)
    ahead = done.advance(completion=16)
    stopped = await book.advance(
        KEY, begin.request_id, done, HASH, window=128, granted=done, targets=[ahead]
    )
    assert stopped.granted is None  # 100 + 72 × 2 > 228, though signed is far above
    await pay(book, begin, voucher(1_000_000, acked=212), window_end=212 + 128)
    again = await book.advance(
        KEY, begin.request_id, done, HASH, window=128, granted=done, targets=[ahead]
    )
    assert again.granted == ahead


async def test_an_overtaken_voucher_does_not_shrink_the_window(book: ChannelBook) -> None:
    begin = opening()
    await start(book, begin, voucher(1_000_000))
    await pay(book, begin, voucher(1_000_000), window_end=600)
    await pay(book, begin, voucher(1_000_000), window_end=228)
    done = Counts(prompt=100)
    progress = await book.advance(
        KEY, begin.request_id, done, HASH, window=128, granted=done,
        targets=[done.advance(completion=250)],
    )  # fmt: skip
    assert progress.granted is not None


async def test_one_stream_cannot_eat_what_another_has_reserved(book: ChannelBook) -> None:
    one, two = opening(prompt=100), opening(prompt=100)
    await start(book, one, voucher(250))
    await start(book, two, voucher(250))
    done = Counts(prompt=100)
    progress = await book.advance(
        KEY, one.request_id, done, HASH, window=128, granted=done,
        targets=[done.advance(completion=26), done.advance(completion=25)],
    )  # fmt: skip
    assert progress.granted == done.advance(completion=25)  # 250 − 200 = 25 tokens
    blocked = await book.advance(
        KEY, two.request_id, done, HASH, window=128, granted=done,
        targets=[done.advance(completion=1)],
    )  # fmt: skip
    assert blocked.granted is None


async def test_what_was_granted_stays_reserved_when_no_further_step_is_covered(
    book: ChannelBook,
) -> None:
    one = opening(prompt=100)
    await start(book, one, voucher(164))
    done = Counts(prompt=100)
    granted = done.advance(completion=32)
    first = await book.advance(
        KEY, one.request_id, done, HASH, window=128, granted=done, targets=[granted]
    )
    assert first.granted == granted
    half = done.advance(completion=16)
    await book.advance(
        KEY, one.request_id, half, HASH, window=128, granted=granted,
        targets=[half.advance(completion=32)],
    )  # fmt: skip
    refusal = await refused(start(book, opening(prompt=1), voucher(164)), WireCode.PAYMENT_REQUIRED)
    assert refusal.detail["required"] == 165  # 132 due and 32 still reserved


async def test_the_due_never_falls(book: ChannelBook) -> None:
    begin = opening()
    await start(book, begin, voucher(10_000))
    far, near = Counts(prompt=100, completion=16), Counts(prompt=100)
    for counts in (far, near):
        progress = await book.advance(
            KEY, begin.request_id, counts, HASH, window=0, granted=far, targets=[]
        )
        assert progress.due == 132


async def test_wanted_is_spent_and_all_dues_and_windows(book: ChannelBook) -> None:
    one, two = opening(prompt=100), opening(prompt=50)
    await start(book, one, voucher(1_000))
    await start(book, two, voucher(1_000))
    done = Counts(prompt=100)
    progress = await book.advance(
        KEY, one.request_id, done, HASH, window=2_000, granted=done, targets=[]
    )
    assert progress.wanted == 100 + 2_000 + (50 + 128)


# --- receipts


async def test_receipts_count_without_gaps_and_add_up(book: ChannelBook) -> None:
    raws = []
    for seq in range(1, 4):
        begin = opening()
        await start(book, begin, voucher(seq * 1_000))
        counts = Counts(prompt=90, cached=10, completion=seq)
        raws.append(await book.finish(KEY, begin.request_id, counts, HASH, FinishReason.STOP))
    spent = 0
    for seq, raw in enumerate(raws, 1):
        receipt = verify_receipt(raw, IDENTITY.public_key)
        spent += cost(receipt.counts, PRICE)
        assert (receipt.seq, receipt.spent) == (seq, spent)
        assert receipt.price == cost(Counts(90, 10, seq), PRICE)
        assert (receipt.client, receipt.channel, receipt.epoch) == (
            CLIENT.public_key, ADDRESS.hash, EPOCH,
        )  # fmt: skip
        assert receipt.response_hash == HASH


async def test_rounding_is_up_and_once_per_request(book: ChannelBook) -> None:
    tiny = Price(1, 1, 1)
    for seq in range(1, 4):
        begin = opening(price=tiny)
        await start(book, begin, voucher(seq))
        raw = await book.finish(KEY, begin.request_id, Counts(prompt=100), HASH, FinishReason.STOP)
        assert verify_receipt(raw, IDENTITY.public_key).spent == seq


async def test_credit_of_one_request_serves_the_next(book: ChannelBook) -> None:
    begin = opening()
    await start(book, begin, voucher(300))
    await book.finish(KEY, begin.request_id, Counts(prompt=100), HASH, FinishReason.CANCELLED)
    assert await start(book, opening(prompt=200), voucher(300)) is None


async def test_a_request_that_has_its_receipt_gets_it_again(book: ChannelBook) -> None:
    begin = opening()
    await start(book, begin, voucher(300))
    await refused(start(book, begin, voucher(300)), WireCode.DUPLICATE_REQUEST)
    raw = await book.finish(KEY, begin.request_id, Counts(prompt=100), HASH, FinishReason.STOP)
    assert await start(book, begin, None) == Ended(raw)
    other = opening(request_id=begin.request_id, request_hash=b"x" * 32)
    await refused(start(book, other, voucher(300)), WireCode.DUPLICATE_REQUEST)
    assert (await book.state(KEY)).spent == 100


async def test_a_dropped_stream_frees_its_reservation_unless_something_is_due(
    book: ChannelBook,
) -> None:
    begin = opening()
    await start(book, begin, voucher(100))
    await book.drop(KEY, begin.request_id)
    again = opening()
    assert await start(book, again, voucher(100)) is None
    await book.advance(
        KEY, again.request_id, Counts(prompt=100), HASH, window=0, granted=Counts(), targets=[]
    )
    await book.drop(KEY, again.request_id)
    await refused(start(book, opening(), voucher(100)), WireCode.PAYMENT_REQUIRED)


async def test_after_a_restart_receipts_come_from_the_durable_due(book_folder: Path) -> None:
    book = open_book(book_folder)
    await book.register(FACTS)
    begin = opening()
    await start(book, begin, voucher(10_000))
    done = Counts(prompt=100, completion=16)
    await book.advance(KEY, begin.request_id, done, HASH, window=0, granted=done, targets=[])
    book.database.close()
    book = open_book(book_folder)
    assert await book.end_orphans() == 1
    raw = await book.receipt(KEY, messages.ReceiptGet(begin.request_id, None))
    receipt = verify_receipt(raw, IDENTITY.public_key)
    assert (receipt.counts, receipt.response_hash) == (done, HASH)
    assert (receipt.price, receipt.finish) == (132, FinishReason.ERROR)
    assert await signed(book) == 10_000
    assert await book.end_orphans() == 0
    book.database.close()


# --- the mirror


async def test_a_new_epoch_starts_from_nothing_and_ends_the_old_one(book: ChannelBook) -> None:
    await start(book, opening(), voucher(5_000))
    reborn = replace(FACTS, key=replace(KEY, epoch=EPOCH + 1))
    await book.register(reborn)
    assert (await book.state(reborn.key)).signed == 0
    await refused(start(book, opening(), voucher(5_000)), WireCode.CHANNEL_CLOSING)
    row = await book.latest(ADDRESS.raw)
    assert row is not None
    assert row["epoch"] == EPOCH + 1


# --- cooperative close


async def test_close_auth_is_for_what_was_spent_and_the_last_word(book: ChannelBook) -> None:
    begin = opening()
    await start(book, begin, voucher(300))
    await book.finish(KEY, begin.request_id, Counts(prompt=100), HASH, FinishReason.STOP)
    close = CooperativeClose(book, IDENTITY)
    auth = await close.authorise(KEY, EPOCH)
    assert auth.final == 100
    await refused(start(book, opening(), voucher(300)), WireCode.CHANNEL_CLOSING)
    await refused(pay(book, opening(), voucher(400)), WireCode.CHANNEL_CLOSING)
    assert await close.authorise(KEY, EPOCH) == auth
    await refused(close.authorise(KEY, EPOCH + 1), WireCode.EPOCH_MISMATCH)


async def test_a_draining_channel_takes_vouchers_but_no_requests(book: ChannelBook) -> None:
    import asyncio

    begin = opening()
    await start(book, begin, voucher(300))
    closing_down = asyncio.create_task(CooperativeClose(book, IDENTITY).authorise(KEY, EPOCH))
    await asyncio.sleep(0.05)
    await refused(start(book, opening(), voucher(300)), WireCode.CHANNEL_CLOSING)
    await pay(book, begin, voucher(400))
    assert not closing_down.done()
    await book.finish(KEY, begin.request_id, Counts(prompt=100), HASH, FinishReason.STOP)
    assert (await closing_down).final == 100


async def test_a_close_that_nobody_waits_for_any_more_reopens_the_channel(
    book: ChannelBook,
) -> None:
    import asyncio

    await start(book, opening(), voucher(300))
    closing_down = asyncio.create_task(CooperativeClose(book, IDENTITY).authorise(KEY, EPOCH))
    await asyncio.sleep(0.05)
    closing_down.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing_down
    assert await start(book, opening(), voucher(300)) is None
