"""What is said when nobody can answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cocoon_sdk.errors import NoProviderError
from cocoon_sdk.keys import Ed25519Key, save_key
from cocoon_sdk.payments import ledger
from cocoon_sdk.payments.accounting import ChannelStatus
from cocoon_sdk.payments.ledger import CLIENT_MIGRATIONS
from cocoon_sdk.store.database import Database
from tests.stub_provider import Customer, StubProvider, ask, make_customer

pytestmark = pytest.mark.anyio


async def turn(customer: Customer, status: ChannelStatus, close_at: int) -> str:
    """Have another process book a new status; the channel's address."""
    state = replace(await customer.channel(), status=status, close_at=close_at)
    with Database(customer.state_url, migrations=CLIENT_MIGRATIONS) as database:
        await database.run(lambda c: ledger.save_channel(c, state))
    return state.address.raw


async def test_a_closing_channel_is_named_with_the_way_back(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        address = await turn(customer, ChannelStatus.CLOSING, 1_900_000_000)
        async with customer.client() as client:
            with pytest.raises(NoProviderError) as caught:
                await client.chat.completions.create(**ask())
            said = str(caught.value)
            assert f"your channel {address} is closing until 2030-03-17T17:46:40+00:00" in said
            assert f"`cocoon wallet cancel-close {address}`" in said
            assert "wallet open" not in said
            await turn(customer, ChannelStatus.OPENING, 0)
            with pytest.raises(NoProviderError, match=f"{address} is opening; .*wallet show"):
                await client.chat.completions.create(**ask())
            await turn(customer, ChannelStatus.CLOSED, 0)
            with pytest.raises(NoProviderError, match="no channel: cocoon wallet open"):
                await client.chat.completions.create(**ask())
            await turn(customer, ChannelStatus.OPEN, 0)
            assert (await client.chat.completions.create(**ask())).text


async def test_a_lost_voucher_key_is_named_and_not_replaced(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        address = (await customer.channel()).address.raw
        key = tmp_path / "voucher.key"
        key.rename(tmp_path / "away.key")
        async with customer.client() as client:
            with pytest.raises(NoProviderError, match=f"voucher key of your channel {address}"):
                await client.chat.completions.create(**ask())
            assert not key.exists()
            save_key(Ed25519Key.generate(), key)  # another one
            with pytest.raises(NoProviderError, match=f"voucher key of your channel {address}"):
                await client.chat.completions.create(**ask())
            (tmp_path / "away.key").replace(key)
            assert (await client.chat.completions.create(**ask())).text
