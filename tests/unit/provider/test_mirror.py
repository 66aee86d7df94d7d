"""When a channel is read again, and what is served while the chain is down or lags."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cocoon_provider.closing import CooperativeClose
from cocoon_provider.mirror import MAX_FIRST_LOOKS, ChannelMirror
from cocoon_provider.refusals import Refusal
from cocoon_provider.registration import ChannelPolicy, StaleStateError
from cocoon_provider.tables import ChannelKey
from cocoon_sdk.errors import WireCode
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import AccountState
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

    def vanish(self, *, age: int = 0) -> None:
        """Show no contract at the channel's address, as of `age` seconds ago."""
        at = int(self.clock.now) - age
        address = self.channel.address
        self.chain.accounts[address] = AccountState(address, 0, "uninit", None, None, 0, 1, at)

    async def use(self, *, cover: int | None = None) -> ChannelKey:
        return await self.mirror.usable(
            self.channel.address, self.channel.key.public_key, cover=cover
        )


@pytest.fixture
async def stage(book_folder: Path) -> AsyncIterator[Stage]:
    made = Stage(book_folder)
    yield made
    made.book.database.close()


async def refused(stage: Stage, code: WireCode) -> None:
    with pytest.raises(Refusal) as caught:
        await stage.use()
    assert caught.value.code is code


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


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
    stage.clock.now += 86_400
    stage.vanish()
    await refused(stage, WireCode.CHANNEL_UNKNOWN)
    await refused(stage, WireCode.CHANNEL_UNKNOWN)
    stage.channel.data = dataclasses.replace(stage.channel.data, epoch=stage.channel.data.epoch + 9)
    stage.fresh()
    key = await stage.use()
    assert key.epoch == stage.channel.data.epoch


async def given_up(stage: Stage) -> bool:
    row = await stage.book.latest(stage.channel.address.raw)
    assert row is not None
    return bool(row["gone"])


async def test_a_channel_that_cannot_be_gone_yet_is_not_given_up(stage: Stage) -> None:
    await stage.use()
    stage.clock.now += 86_400 - 1  # the client alone needs the whole close delay
    stage.vanish()
    with pytest.raises(StaleStateError):
        await stage.mirror.refresh(stage.channel.address)
    assert not await given_up(stage)
    stage.clock.now += 1
    stage.vanish()
    assert await stage.mirror.refresh(stage.channel.address) is None
    assert await given_up(stage)


async def test_a_close_that_was_seen_runs_out_at_its_time(stage: Stage) -> None:
    closing = int(stage.clock.now) + 500
    stage.channel.data = dataclasses.replace(stage.channel.data, close_at=closing)
    stage.fresh()
    await stage.mirror.refresh(stage.channel.address)
    stage.vanish()
    with pytest.raises(StaleStateError):
        await stage.mirror.refresh(stage.channel.address)
    stage.clock.now = closing
    stage.vanish()
    assert await stage.mirror.refresh(stage.channel.address) is None


async def test_an_old_state_without_the_channel_proves_nothing(stage: Stage) -> None:
    await stage.use()
    stage.clock.now += 90_000
    stage.vanish(age=1_000)
    with pytest.raises(StaleStateError):
        await stage.mirror.refresh(stage.channel.address)
    assert not await given_up(stage)


async def test_a_cooperative_close_needs_no_delay(stage: Stage) -> None:
    key = await stage.use()
    auth = await CooperativeClose(stage.book, IDENTITY).authorise(key, key.epoch)
    assert auth.final == 0
    stage.vanish()
    assert await stage.mirror.refresh(stage.channel.address) is None


async def test_strangers_cannot_keep_the_chain_busy(stage: Stage) -> None:
    release, reading = asyncio.Event(), 0
    get_account = stage.chain.get_account

    async def slow(address: Address) -> AccountState:
        nonlocal reading
        reading += 1
        await release.wait()
        return await get_account(address)

    await stage.use()
    stage.chain.get_account = slow  # type: ignore[method-assign]
    guesses = [
        asyncio.create_task(stage.mirror.usable(Address(0, bytes([n]) * 32), b"\x07" * 32))
        for n in range(50)
    ]
    await until(lambda: reading + sum(guess.done() for guess in guesses) == 50)
    assert reading == MAX_FIRST_LOOKS
    codes = [guess.exception() for guess in guesses if guess.done()]
    assert len(codes) == 50 - MAX_FIRST_LOOKS
    assert {code.code for code in codes if isinstance(code, Refusal)} == {WireCode.OVERLOADED}
    stage.clock.now += TTL
    stage.fresh()
    again = asyncio.create_task(stage.use())  # a known channel is looked at all the same
    await until(lambda: reading == MAX_FIRST_LOOKS + 1)
    release.set()
    await asyncio.gather(again, *guesses, return_exceptions=True)
    assert again.exception() is None


async def test_many_channels_do_not_grow_the_locks(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cocoon_provider.mirror.MAX_LOCKS", 4)
    for number in range(10):
        with pytest.raises(Refusal):
            await stage.mirror.usable(Address(0, bytes([number]) * 32), b"\x07" * 32)
    assert len(stage.mirror._locks) <= 4
