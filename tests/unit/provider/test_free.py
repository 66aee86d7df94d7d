"""A free model without a channel: every step at once, no payment kept, a receipt of price 0."""

from __future__ import annotations

import asyncio

import pytest

from cocoon_provider.billing import Job
from cocoon_provider.free import FreeBilling
from cocoon_sdk.payments.meter import Counts, Price
from cocoon_sdk.payments.receipt import NO_CHANNEL, NO_CLIENT, FinishReason, verify_receipt
from cocoon_sdk.ton.chain import DEVNET_NETWORK
from tests.unit.provider.books import CLIENT, IDENTITY, voucher

pytestmark = pytest.mark.anyio

JOB = Job(b"r" * 16, b"q" * 32, b"s" * 16, b"m" * 32, Price(0, 0, 0), 10, 100, 64)


def billing(client_key: bytes | None = None) -> FreeBilling:
    return FreeBilling(
        IDENTITY, network=DEVNET_NETWORK, client_key=client_key, job=JOB, clock=lambda: 3.5
    )


async def test_the_furthest_step_is_granted_and_nothing_is_due() -> None:
    free = billing()
    assert await free.open(Counts(10), None) is None
    await free.voucher(voucher(10**12))  # no error, though nothing could pay for it
    far, near = Counts(10, 0, 32), Counts(10, 0, 16)
    assert tuple(await free.advance(Counts(10), b"h" * 32, [far, near])) == (0, 0, far)
    assert (await free.advance(far, b"h" * 32, [])).granted is None
    assert not free.metered


@pytest.mark.parametrize(
    ("key", "client"), [(None, NO_CLIENT), (CLIENT.public_key, CLIENT.public_key)]
)
async def test_the_receipt_names_the_client_if_there_is_one(
    key: bytes | None, client: bytes
) -> None:
    raw = await billing(key).finish(Counts(8, 2, 5, 1), b"h" * 32, FinishReason.STOP)
    receipt = verify_receipt(raw, IDENTITY.public_key)
    assert (receipt.client, receipt.channel) == (client, NO_CHANNEL)
    assert (receipt.price, receipt.spent, receipt.seq, receipt.epoch) == (0, 0, 0, 0)
    assert (receipt.request_id, receipt.request_hash) == (JOB.request_id, JOB.request_hash)
    assert (receipt.session_id, receipt.model_hash) == (JOB.session_id, JOB.model_hash)
    assert (receipt.counts, receipt.response_hash) == (Counts(8, 2, 5, 1), b"h" * 32)
    assert (receipt.time_ms, receipt.network) == (3_500, DEVNET_NETWORK)


async def test_nothing_is_waited_for() -> None:
    free, wake = billing(), asyncio.Event()
    with free.listening(wake):
        await free.drop()
    assert not wake.is_set()
