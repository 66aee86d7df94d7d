"""The client's side of a channel: windows, credit, receipts in any order, lies of a provider."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cocoon_sdk.errors import (
    ChannelDesyncError,
    InsufficientFundsError,
    OverchargeError,
    PaymentError,
    ReceiptMismatchError,
)
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.payments import ledger
from cocoon_sdk.payments.accounting import ChannelStatus
from cocoon_sdk.payments.channel import PaymentChannel, channel_signer
from cocoon_sdk.payments.meter import Counts, Price
from cocoon_sdk.payments.receipt import sign_receipt
from cocoon_sdk.payments.voucher import Voucher, sign_voucher
from cocoon_sdk.protocol import messages
from cocoon_sdk.store.database import Database
from tests.unit.payments.ledger_kit import (
    CLIENT,
    MASTER,
    NETWORK,
    PRICE,
    PROVIDER,
    STATE,
    add_channel,
    channel_of,
    is_signed,
    meter,
    open_ledger,
    receipt,
    request_id,
    settle,
)

pytestmark = pytest.mark.anyio

FIRST = 100 * 20 + 64 * 100  # the window of a request with 100 prompt tokens


@pytest.fixture
def database(ledger_folder: Path) -> Iterator[Database]:
    with open_ledger(ledger_folder) as opened:
        yield opened


@pytest.fixture
def channel(database: Database) -> PaymentChannel:
    return add_channel(database)


async def ask(
    channel: PaymentChannel, number: int, *, prompt: int = 100, max_tokens: int = 1000
) -> messages.Voucher:
    return await channel.open_stream(
        request_id(number), price=PRICE, prompt_bound=prompt, max_tokens=max_tokens
    )


async def test_first_voucher_covers_the_window(channel: PaymentChannel):
    voucher = await ask(channel, 1)
    assert (voucher.epoch, voucher.cumulative, voucher.acked_due) == (42, FIRST, 0)
    assert is_signed(voucher)
    assert channel.available == STATE.limit - FIRST


async def test_a_meter_moves_the_window_and_acknowledges_the_due(channel: PaymentChannel):
    await ask(channel, 1)
    voucher = await channel.on_meter(request_id(1), meter(Counts(100)))
    assert (voucher.cumulative, voucher.acked_due) == (FIRST, 2000)
    voucher = await channel.on_meter(request_id(1), meter(Counts(100, 0, 16)))
    assert (voucher.cumulative, voucher.acked_due) == (FIRST + 1600, 3600)
    assert is_signed(voucher)


async def test_no_more_is_signed_than_the_provider_wants(channel: PaymentChannel):
    await ask(channel, 1)
    voucher = await channel.on_meter(request_id(1), meter(Counts(100, 0, 16), wanted=FIRST + 7))
    assert voucher.cumulative == FIRST + 7
    voucher = await channel.on_meter(request_id(1), meter(Counts(100, 0, 32), wanted=0))
    assert (voucher.cumulative, voucher.acked_due) == (FIRST + 7, 2000 + 3200)


async def test_credit_serves_the_next_request(channel: PaymentChannel):
    await ask(channel, 1)
    await settle(channel, receipt(1, Counts(100, 0, 10), seq=1, spent=3000))
    assert (channel.state.spent, channel.state.credit) == (3000, FIRST - 3000)
    voucher = await ask(channel, 2)
    assert voucher.cumulative == 3000 + FIRST


async def test_a_refused_request_leaves_credit(channel: PaymentChannel):
    await ask(channel, 1)
    await channel.refuse(request_id(1))
    assert (channel.state.credit, channel.state.streams) == (FIRST, ())
    assert (await ask(channel, 2)).cumulative == FIRST


async def test_asking_again_for_the_same_request_opens_nothing_new(channel: PaymentChannel):
    first = await ask(channel, 1)
    assert await ask(channel, 1) == first
    assert len(channel.state.streams) == 1


async def test_funds_are_the_limit(database: Database):
    channel = add_channel(database, replace(STATE, balance=12_000_000 + FIRST))
    await ask(channel, 1)
    with pytest.raises(InsufficientFundsError) as caught:
        await ask(channel, 2)
    assert caught.value.needed == FIRST
    assert len(channel.state.streams) == 1
    # a stream that outgrows the funds is paid as far as they go
    voucher = await channel.on_meter(request_id(1), meter(Counts(100, 0, 64)))
    assert (voucher.cumulative, voucher.acked_due) == (FIRST, FIRST)


@pytest.mark.parametrize(
    "status", [ChannelStatus.OPENING, ChannelStatus.CLOSING, ChannelStatus.CLOSED]
)
async def test_only_an_open_channel_pays(database: Database, status: ChannelStatus):
    channel = add_channel(database, replace(STATE, status=status, signed=5))
    with pytest.raises(PaymentError, match=status):
        await ask(channel, 1)
    assert channel.state.signed == 5


async def test_a_close_stops_a_running_stream_from_signing_more(
    database: Database, channel: PaymentChannel
):
    await ask(channel, 1)
    closing = replace(channel.state, status=ChannelStatus.CLOSING)
    database.run_sync(lambda c: ledger.save_channel(c, closing))
    voucher = await channel.on_meter(request_id(1), meter(Counts(100, 0, 16)))
    assert (voucher.cumulative, voucher.acked_due) == (FIRST, 3600)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (meter(Counts(101)), "prompt tokens"),
        (meter(Counts(60, 60)), "prompt tokens"),
        (meter(Counts(100, 0, 1001)), "completion tokens"),
        (meter(Counts(100, 0, 16), due=3601), "agreed price"),
        (meter(Counts(100, 0, 16), due=3599), "agreed price"),
        (meter(Counts(100, 0, 65)), "window"),
    ],
)
async def test_a_lying_meter_is_refused(channel: PaymentChannel, bad: messages.Meter, why: str):
    await ask(channel, 1)
    before = await channel.reload()
    with pytest.raises(OverchargeError, match=why):
        await channel.on_meter(request_id(1), bad)
    assert await channel.reload() == before


async def test_counts_cannot_be_moved_around(channel: PaymentChannel):
    await ask(channel, 1)
    await channel.on_meter(request_id(1), meter(Counts(50, 20, 5)))
    with pytest.raises(OverchargeError, match="moved"):
        await channel.on_meter(request_id(1), meter(Counts(60, 10, 5)))


async def test_an_older_meter_changes_nothing(channel: PaymentChannel):
    await ask(channel, 1)
    newest = await channel.on_meter(request_id(1), meter(Counts(100, 0, 32)))
    assert await channel.on_meter(request_id(1), meter(Counts(100, 0, 16))) == newest


async def test_prompt_windows_of_a_long_prompt(channel: PaymentChannel):
    voucher = await ask(channel, 1, prompt=10_000, max_tokens=10)
    assert voucher.cumulative == 4096 * 20 + 1000
    with pytest.raises(OverchargeError, match="window"):
        await channel.on_meter(request_id(1), meter(Counts(4096 + 51)))
    voucher = await channel.on_meter(request_id(1), meter(Counts(2048)))
    assert voucher.cumulative == 6144 * 20 + 1000


async def test_unknown_requests_are_not_paid(channel: PaymentChannel):
    with pytest.raises(ChannelDesyncError):
        await channel.on_meter(request_id(9), meter(Counts(1)))
    with pytest.raises(ChannelDesyncError):
        await settle(channel, receipt(9, Counts(), seq=1, spent=0))


async def test_receipts_out_of_order_are_chained_when_the_gap_fills(channel: PaymentChannel):
    for number in (1, 2, 3):
        await ask(channel, number)
    await settle(channel, receipt(3, Counts(100, 0, 10), seq=3, spent=7500))
    assert (channel.state.spent, channel.state.pending, channel.state.seq) == (0, 3000, 0)
    await settle(channel, receipt(2, Counts(100, 0, 5), seq=2, spent=4500))
    assert (channel.state.spent, channel.state.pending) == (0, 5500)
    assert channel.state.ceiling == 5500 + FIRST
    await settle(channel, receipt(1, Counts(100), seq=1, spent=2000))
    assert (channel.state.spent, channel.state.pending, channel.state.seq) == (7500, 0, 3)
    assert channel.state.streams == ()


async def test_a_broken_chain_is_refused(channel: PaymentChannel):
    for number in (1, 2, 3):
        await ask(channel, number)
    with pytest.raises(ReceiptMismatchError, match="make 3000"):
        await settle(channel, receipt(1, Counts(100, 0, 10), seq=1, spent=3001))
    await settle(channel, receipt(2, Counts(100, 0, 10), seq=2, spent=6001))
    with pytest.raises(ReceiptMismatchError, match="make 6000"):
        await settle(channel, receipt(1, Counts(100, 0, 10), seq=1, spent=3000))
    state = await channel.reload()
    assert (state.spent, state.seq, len(state.streams)) == (0, 0, 2)


async def test_the_same_receipt_twice_counts_once(channel: PaymentChannel):
    await ask(channel, 1)
    made = receipt(1, Counts(100, 0, 10), seq=1, spent=3000)
    await settle(channel, made)
    await settle(channel, made)
    assert channel.state.spent == 3000
    with pytest.raises(ReceiptMismatchError, match="two different"):
        await settle(channel, receipt(1, Counts(100, 0, 11), seq=2, spent=6100))


async def test_a_number_is_used_once(channel: PaymentChannel):
    for number in (1, 2, 3):
        await ask(channel, number)
    await settle(channel, receipt(1, Counts(100), seq=1, spent=2000))
    await settle(channel, receipt(3, Counts(100), seq=3, spent=6000))
    for seq in (0, 1, 3):
        with pytest.raises(ReceiptMismatchError, match="twice"):
            await settle(channel, receipt(2, Counts(100), seq=seq, spent=9000))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"price": 3001, "spent": 3001}, OverchargeError),
        ({"price": 2999, "spent": 2999}, OverchargeError),
        ({"counts": Counts(100, 0, 65), "price": 8500, "spent": 8500}, OverchargeError),
        ({"counts": Counts(101, 0, 10), "price": 3020, "spent": 3020}, OverchargeError),
        ({"spent": FIRST + 1, "seq": 2}, OverchargeError),
        ({"spent": 3001}, ReceiptMismatchError),
        ({"network": -239}, ReceiptMismatchError),
        ({"channel": b"x" * 32}, ReceiptMismatchError),
        ({"epoch": 43}, ReceiptMismatchError),
        ({"client": b"x" * 32}, ReceiptMismatchError),
        ({"request_id": request_id(2)}, ReceiptMismatchError),
    ],
)
async def test_a_lying_receipt_is_refused(channel: PaymentChannel, changes, error):
    await ask(channel, 1)
    before = await channel.reload()
    made = replace(receipt(1, Counts(100, 0, 10), seq=1, spent=3000), **changes)
    with pytest.raises(error):
        await channel.settle(request_id(1), made, sign_receipt(PROVIDER, made))
    assert await channel.reload() == before


async def test_a_receipt_of_another_signer_or_with_other_bytes_is_refused(channel: PaymentChannel):
    await ask(channel, 1)
    made = receipt(1, Counts(100, 0, 10), seq=1, spent=3000)
    raw = sign_receipt(PROVIDER, made)
    with pytest.raises(ReceiptMismatchError, match="signature"):
        await channel.settle(request_id(1), made, raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(ReceiptMismatchError, match="signed bytes"):
        await channel.settle(request_id(1), replace(made, spent=3001), raw)


async def test_a_free_request_on_a_paid_channel_repeats_spent(channel: PaymentChannel):
    await ask(channel, 1)
    await settle(channel, receipt(1, Counts(100), seq=1, spent=2000))
    voucher = await channel.open_stream(
        request_id(2), price=Price(0, 0, 0), prompt_bound=100, max_tokens=10
    )
    assert voucher.cumulative == FIRST
    await settle(channel, receipt(2, Counts(100, 0, 10), seq=2, spent=2000, price=0))
    assert (channel.state.spent, channel.state.seq) == (2000, 2)


async def test_everything_survives_a_restart(database: Database, channel: PaymentChannel):
    await ask(channel, 1)
    await channel.on_meter(request_id(1), meter(Counts(100, 0, 16)))
    await ask(channel, 2)
    await settle(channel, receipt(2, Counts(100), seq=2, spent=6000))
    again = channel_of(database, channel.state.id)
    assert again.state == channel.state
    assert again.state.stream(request_id(1)).response_hash == b"r" * 32
    assert (await ask(again, 1)).cumulative == channel.state.signed


async def test_streams_in_parallel_add_up(channel: PaymentChannel):
    vouchers = await asyncio.gather(*(ask(channel, number) for number in range(8)))
    assert sorted(voucher.cumulative for voucher in vouchers) == [FIRST * n for n in range(1, 9)]
    assert all(is_signed(voucher) for voucher in vouchers)


async def test_two_processes_on_one_ledger_cannot_sign_past_each_other(
    ledger_folder: Path, database: Database, channel: PaymentChannel
):
    with open_ledger(ledger_folder) as second:
        other = channel_of(second, channel.state.id)
        await asyncio.gather(
            *(ask(one, n + 10 * i) for n in range(5) for i, one in enumerate((channel, other)))
        )
        assert (await other.reload()).signed == 10 * FIRST
    assert (await channel.reload()).ceiling == 10 * FIRST


def state_of(signed: int, *, seq: int = 0, spent: int = 0, signer: Ed25519Key = CLIENT):
    voucher = Voucher(NETWORK, STATE.address, STATE.epoch, signed)
    return messages.State(STATE.epoch, signed, sign_voucher(signer, voucher), seq, spent)


async def test_after_a_backup_our_own_signature_restores_signed(channel: PaymentChannel):
    assert await channel.reconcile(state_of(50_000, seq=2, spent=5000)) == range(1, 3)
    assert (channel.state.signed, channel.state.spent) == (50_000, 0)
    for number, spent in ((1, 2000), (2, 5000)):
        counts = Counts(100) if number == 1 else Counts(100, 0, 10)
        raw = sign_receipt(PROVIDER, receipt(number, counts, seq=number, spent=spent))
        await channel.recover(raw)
        await channel.recover(raw)
    assert (channel.state.spent, channel.state.seq, channel.state.credit) == (5000, 2, 45_000)
    assert (await ask(channel, 3)).cumulative == 50_000


async def test_a_lower_signed_is_never_taken_over(channel: PaymentChannel):
    await ask(channel, 1)
    await channel.reconcile(state_of(5))
    assert channel.state.signed == FIRST


async def test_claims_without_our_signature_are_refused(channel: PaymentChannel):
    for claim in (
        state_of(50_000, signer=PROVIDER),
        messages.State(42, 50_000, bytes(64), 0, 0),
        messages.State(42, 50_001, state_of(50_000).signature, 0, 0),
        messages.State(43, 0, bytes(64), 0, 0),
    ):
        with pytest.raises(ChannelDesyncError):
            await channel.reconcile(claim)
    assert channel.state.signed == 0


async def test_invented_receipts_cannot_go_beyond_what_was_signed(channel: PaymentChannel):
    await ask(channel, 1)
    await channel.on_meter(request_id(1), meter(Counts(100, 0, 16), wanted=FIRST + 100))
    made = receipt(99, Counts(100, 0, 45), seq=1, spent=6500)
    with pytest.raises(OverchargeError, match="not yet spent"):
        await channel.recover(sign_receipt(PROVIDER, made))
    assert (await channel.reload()).spent == 0


async def test_recover_settles_a_stream_that_is_open(channel: PaymentChannel):
    await ask(channel, 1)
    raw = sign_receipt(PROVIDER, receipt(1, Counts(100, 0, 10), seq=1, spent=3000))
    await channel.recover(raw)
    assert (channel.state.spent, channel.state.streams) == (3000, ())


def test_the_signer_is_derived_from_the_master_key():
    assert channel_signer(MASTER, STATE).public_key == CLIENT.public_key
    with pytest.raises(ChannelDesyncError, match="another voucher key"):
        channel_signer(PROVIDER, STATE)
