"""What is said when nobody can answer."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from registry_world import NOW, World, descriptor_of, make_keys

from cocoon_sdk.errors import NoProviderError, RegistryError, RegistryUnavailableError
from cocoon_sdk.keys import Ed25519Key, save_key
from cocoon_sdk.payments import ledger
from cocoon_sdk.payments.accounting import ChannelStatus
from cocoon_sdk.payments.ledger import CLIENT_MIGRATIONS
from cocoon_sdk.registry.descriptor import sign_descriptor
from cocoon_sdk.registry.shared import UnionSnapshot
from cocoon_sdk.registry.snapshot import Snapshot, make_snapshot
from cocoon_sdk.registry.trust import parse_trust
from cocoon_sdk.registry.verify import TrustedSet
from cocoon_sdk.routing.policy import Ranking
from cocoon_sdk.store.database import Database
from cocoon_sdk.transport.question import nobody, origin_of
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


def snapshot_of(*, entries: list[Any], broken: dict[str, RegistryError] | None = None) -> Snapshot:
    world = World()
    trusted = TrustedSet(parse_trust(world.trust))
    trusted.update_root(world.roots[1])
    raw = world.make_registry(1, entries=msgspec.to_builtins(entries))
    return replace(make_snapshot(trusted.update_registry(raw, NOW)), broken=broken or {})


async def test_a_session_names_the_registry_through_which_its_provider_was_chosen() -> None:
    now = int(time.time())
    key = make_keys("listed", 1)[0]

    def entry(seq: int) -> Any:
        fields = {"issued": now - 60, "expires": now + 3600, "seq": seq, "network": "devnet"}
        return sign_descriptor(key, descriptor_of(key, **fields))

    older, newer = snapshot_of(entries=[entry(5)]), snapshot_of(entries=[entry(6)])
    both = UnionSnapshot(-217, (older, newer))
    candidate: Any = SimpleNamespace(provider=key.public_key.hex())
    assert origin_of(older, candidate) is older.origin
    assert origin_of(both, candidate) is newer.origin


async def test_nobody_tells_what_of_the_registry_could_not_be_read() -> None:
    missing = {"ab": RegistryUnavailableError("shard ab is not at world")}
    question: Any = SimpleNamespace(model="m")
    for rejections in ({}, {"ab" * 32: "is too dear"}):
        told = str(
            nobody(question, snapshot_of(entries=[], broken=missing), Ranking((), rejections, None))
        )
        assert "shard ab is not at world" in told
        told = str(nobody(question, snapshot_of(entries=[]), Ranking((), rejections, None)))
        assert "could be read" not in told
