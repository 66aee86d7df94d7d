"""When a channel is read again, and what is served while the chain is down or lags."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cocoon_provider.mirror import ChannelMirror
from cocoon_provider.refusals import Refusal
from cocoon_provider.registration import ChannelPolicy
from cocoon_sdk.errors import WireCode
from cocoon_sdk.ton.address import Address
from tests.provider_world import FakeChain, FakeChannel, make_channel
from tests.unit.provider.books import IDENTITY, Clock, open_book

pytestmark = pytest.mark.anyio

PAYOUT = Address(0, b"\x02" * 32)
TTL = 60.0


class Stage:
    """A mirror over the fake chain, with one good channel and a clock."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.clock.now = time.time()
        self.chain = FakeChain()
        self.book = open_book(folder, clock=self.clock)
        policy = ChannelPolicy(
            provider_key=IDENTITY.public_key,
            payout=PAYOUT,
            min_deposit=1,
            min_close_delay=3_600,
            max_state_age=120,
        )
        self.mirror = ChannelMirror(self.chain, self.book, policy, ttl=TTL)
        self.channel = make_channel(self.chain, IDENTITY.public_key, PAYOUT)
        self.fresh()

    def fresh(self, channel: FakeChannel | None = None) -> None:
        """Show the channel as of now, on the test's clock."""
        shown = channel or self.channel
        state = dataclasses.replace(shown.account(), block_time=int(self.clock.now))
        self.chain.accounts[shown.address] = state

    async def use(self, *, cover: int | None = None) -> object:
        return await self.mirror.usable(
            self.channel.address, self.channel.key.public_key, cover=cover
        )


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.book.database.close()


async def refused(stage: Stage, code: WireCode) -> None:
    with pytest.raises(Refusal) as caught:
        await stage.use()
    assert caught.value.code is code


async def test_the_chain_is_read_once_per_time_to_live(stage: Stage) -> None:
    for _ in range(3):
        await stage.use()
    assert stage.chain.reads == 1
    stage.clock.now += TTL
    stage.fresh()
    await stage.use()
    assert stage.chain.reads == 2


async def test_a_channel_is_only_for_the_key_that_owns_it(stage: Stage) -> None:
    with pytest.raises(Refusal) as caught:
        await stage.mirror.usable(stage.channel.address, b"\x07" * 32)
    assert caught.value.code is WireCode.CHANNEL_UNKNOWN


async def test_funds_that_a_voucher_needs_are_looked_for_but_not_at_will(stage: Stage) -> None:
    await stage.use(cover=1_000)
    assert stage.chain.reads == 1
    await stage.use(cover=10**12)
    assert stage.chain.reads == 1  # just read
    stage.clock.now += 4
    await stage.use(cover=10**12)
    assert stage.chain.reads == 2


async def test_while_the_chain_is_down_a_known_channel_is_served_for_a_while(stage: Stage) -> None:
    await stage.use()
    stage.chain.down = True
    stage.clock.now += 86_400 / 4 - 1
    await stage.use()
    stage.clock.now += 2
    await refused(stage, WireCode.INTERNAL)


async def test_while_the_chain_is_down_no_new_channel_is_taken(stage: Stage) -> None:
    stage.chain.down = True
    await refused(stage, WireCode.INTERNAL)


async def test_a_lagging_chain_proves_nothing_new(stage: Stage) -> None:
    await stage.use()
    stage.clock.now += 1_000  # the state shown is now that old
    await stage.use()
    stage.clock.now += 86_400
    await refused(stage, WireCode.INTERNAL)


async def test_an_unconfirmed_deposit_is_no_channel(stage: Stage) -> None:
    stage.chain.accounts.clear()
    await refused(stage, WireCode.CHANNEL_UNKNOWN)
    stage.fresh()
    await stage.use()


async def test_a_destroyed_channel_is_noticed_and_may_be_born_again(stage: Stage) -> None:
    await stage.use()
    stage.chain.accounts.clear()
    stage.clock.now += TTL
    await refused(stage, WireCode.CHANNEL_UNKNOWN)
    await refused(stage, WireCode.CHANNEL_UNKNOWN)
    stage.channel.data = dataclasses.replace(stage.channel.data, epoch=stage.channel.data.epoch + 9)
    stage.fresh()
    key = await stage.use()
    assert key.epoch == stage.channel.data.epoch  # type: ignore[attr-defined]


async def test_many_channels_do_not_grow_the_locks(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cocoon_provider.mirror.MAX_LOCKS", 4)
    for number in range(10):
        with pytest.raises(Refusal):
            await stage.mirror.usable(Address(0, bytes([number]) * 32), b"\x07" * 32)
    assert len(stage.mirror._locks) <= 4
