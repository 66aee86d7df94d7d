"""Receipts that got lost, and a ledger that knows less than the provider."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cocoon_sdk.payments import ledger
from cocoon_sdk.payments.accounting import ChannelState, OpenStream
from cocoon_sdk.payments.ledger import CLIENT_MIGRATIONS
from cocoon_sdk.protocol.messages import ReceiptGet, StateGet
from cocoon_sdk.store.database import Database
from tests.stub_provider import PRICE, Customer, StubProvider, ask, make_customer

pytestmark = pytest.mark.anyio


def rewrite(customer: Customer, state: ChannelState) -> None:
    """Make the ledger say this, as an old backup would; receipts after `state.seq` are gone."""
    with Database(customer.state_url, migrations=CLIENT_MIGRATIONS) as database:

        def work(connection: Any) -> None:
            ledger.save_channel(connection, state)
            connection.exec_driver_sql(f"DELETE FROM receipts WHERE seq > {state.seq}")

        database.run_sync(work)


def leave_open(customer: Customer, channel_id: int, *, age: float) -> None:
    """A stream of a process that is gone."""
    stream = OpenStream(
        request_id=b"o" * 16, opened_at=int(time.time() - age), price=PRICE, prompt_bound=100,
        max_tokens=100, window_tokens=64,
    ).with_window()  # fmt: skip
    with Database(customer.state_url, migrations=CLIENT_MIGRATIONS) as database:
        database.run_sync(lambda c: ledger.put_stream(c, channel_id, stream))


async def buy(customer: Customer, count: int = 1) -> None:
    async with customer.client() as client:
        for _ in range(count):
            await client.chat.completions.create(**ask())


async def test_nothing_is_asked_where_nothing_is_missing(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        await buy(customer)
        await buy(customer)
        assert stub.questions == []


async def test_an_old_backup_catches_up(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        await buy(customer)
        backup = await customer.channel()
        await buy(customer, 2)
        right = await customer.channel()
        rewrite(customer, backup)
        leave_open(customer, backup.id, age=10)  # what makes the client ask
        await buy(customer)
        channel = await customer.channel()
        assert (channel.seq, channel.pending) == (4, 0)
        assert channel.spent == stub.books.spent > right.spent
        assert channel.signed >= right.signed
        assert len(await customer.receipts()) == 4
        assert stub.questions == [StateGet(), ReceiptGet(None, 2), ReceiptGet(None, 3)]


@pytest.mark.parametrize(("age", "left"), [(60, 1), (3_700, 0)])
async def test_a_stream_that_was_never_billed_is_given_up_in_time(
    age: float, left: int, tmp_path: Path
) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        leave_open(customer, (await customer.channel()).id, age=age)
        await buy(customer)
        assert len((await customer.channel()).streams) == left


async def test_a_provider_that_claims_endless_receipts_costs_one_question(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        leave_open(customer, (await customer.channel()).id, age=60)
        right = stub.state

        def claims() -> Any:
            return replace(right(), seq=2**62)

        stub.state = claims  # type: ignore[method-assign]
        await buy(customer)
        assert len(stub.questions) == 2
        assert (await customer.channel()).spent == stub.books.spent


@pytest.mark.parametrize("change", [{"epoch": 41}, {"signed": 10**9}])
async def test_a_claim_without_proof_changes_nothing(
    change: dict[str, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "cocoon_sdk")
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        leave_open(customer, (await customer.channel()).id, age=60)
        right = stub.state

        def claims() -> Any:
            return replace(right(), **change)

        stub.state = claims  # type: ignore[method-assign]
        await buy(customer)  # the request at hand does not depend on the past
        assert "missing receipts could not be fetched" in caplog.text
        channel = await customer.channel()
        assert channel.signed < 10**9
        assert channel.spent == stub.books.spent


async def test_a_provider_that_does_not_answer_costs_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cocoon_sdk.transport.recovery.TIMEOUT", 0.1)

    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        leave_open(customer, (await customer.channel()).id, age=60)
        stub.state = lambda: None  # type: ignore[method-assign]
        await buy(customer)
        assert (await customer.channel()).spent == stub.books.spent


async def test_the_streams_of_running_requests_are_left_alone(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            await asyncio.gather(*(client.chat.completions.create(**ask()) for _ in range(12)))
        assert stub.handshakes == 2
        assert stub.questions == []
        channel = await customer.channel()
        assert channel.streams == ()
