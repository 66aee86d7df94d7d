"""Threats.md, "Mirror" and "Registry signers": a place that fails fast, hangs or is closed under way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from registry_world import NOW, World, descriptor_of, make_keys

from cocoon_sdk.errors import RegistryUnavailableError
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.registry import mirrors as mirrors_module
from cocoon_sdk.registry import union as union_module
from cocoon_sdk.registry.descriptor import sign_descriptor
from cocoon_sdk.registry.fetch import RETRY_AFTER, RegistryClient
from cocoon_sdk.registry.mirrors import Race
from cocoon_sdk.registry.model import Shard
from cocoon_sdk.registry.shelf import ShardShelf
from cocoon_sdk.registry.sources import Fetched
from cocoon_sdk.registry.union import RegistryUnion

pytestmark = pytest.mark.anyio

ALICE, BOB = make_keys("listed", 2)


class Slow(World):
    """Answers once its gate is open."""

    def __init__(self, name: str, listed: Ed25519Key) -> None:
        super().__init__()
        self.locator = name
        self.gate = asyncio.Event()
        self.gate.set()
        entry = sign_descriptor(listed, descriptor_of(listed))
        self.publish_registry(1, entries=[msgspec.to_builtins(entry)])

    async def registry(self, etag: str | None) -> Fetched | None:
        self.asked.append("waiting")
        await self.gate.wait()
        return await super().registry(etag)


class Two:
    """A client of two registries, and how often each is asked for a snapshot."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.now = folder, NOW
        self.one, self.two = Slow("one", ALICE), Slow("two", BOB)
        worlds = {"one": self.one, "two": self.two}
        patch.setattr(union_module, "unix_time", lambda: self.now)
        patch.setattr(union_module, "GRACE", 0.05)
        patch.setattr("cocoon_sdk.registry.opening.open_source", lambda name, **_: worlds[name])
        self.union = RegistryUnion([self.client("one"), self.client("two")])
        self.asked: list[str] = []
        for member in self.union._members:
            self._count(member.client, patch)

    def client(self, name: str) -> RegistryClient:
        trust = self.one.trust
        return RegistryClient(
            name, trust=trust, cache_dir=self.folder / name, clock=lambda: self.now, rng=Random(1)
        )

    def _count(self, client: RegistryClient, patch: pytest.MonkeyPatch) -> None:
        honest = client.snapshot

        async def counted(*arguments: Any, **options: Any) -> Any:
            self.asked.append(client.name)
            return await honest(*arguments, **options)

        patch.setattr(client, "snapshot", counted)


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Two:
    return Two(tmp_path, monkeypatch)


# Mirrors of one registry


async def test_a_place_that_fails_at_once_does_not_cut_the_honest_one_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rubbish is quicker than a registry: only an answer may start the clock for the others."""
    monkeypatch.setattr(mirrors_module, "GRACE", 0.01)

    async def ask(source: Any) -> str:
        if source.locator == "hostile":
            raise RegistryUnavailableError("rubbish")
        await asyncio.sleep(0.1)
        return "honest"

    race: Race[str] = Race()
    places: list[Any] = [SimpleNamespace(locator=name) for name in ("hostile", "honest")]
    await race.run(places, ask)
    assert [answer for _, answer in race.answers] == ["honest"]


# Several registries


async def test_one_that_fails_at_once_does_not_cut_the_other_off(two: Two) -> None:
    two.one.registry_raw = None
    two.two.gate.clear()
    task = asyncio.create_task(two.union.snapshot())
    await asyncio.sleep(0.2)  # four times as long as one that answers leaves the other
    assert not task.done()
    two.two.gate.set()
    async with asyncio.timeout(5):
        assert [one.id for one in (await task).providers] == [BOB.public_key.hex()]
    await two.union.aclose()


async def test_one_that_hangs_is_not_asked_anew_by_each_request(two: Two) -> None:
    """Otherwise an operator makes a client pile up tasks."""
    two.one.gate.clear()
    async with asyncio.timeout(5):
        for _ in range(3):
            assert len((await two.union.snapshot()).parts) == 1
    assert two.asked.count("one") == 1
    assert two.asked.count("two") == 3
    await two.union.aclose()


async def test_one_that_hangs_is_waited_for_and_not_asked_anew_where_the_other_fails(
    two: Two,
) -> None:
    two.one.gate.clear()
    async with asyncio.timeout(5):
        await two.union.snapshot()
        two.two.registry_raw = None
        two.now += 2 * 86_400  # what `two` gave has expired
        task = asyncio.create_task(two.union.snapshot())
        await asyncio.sleep(0.1)
        assert not task.done()
        two.one.now = two.now
        two.one.publish_registry(1)
        two.one.gate.set()
        snapshot = await task
    assert [part.registry for part in snapshot.parts] == ["devnet/test"]
    assert two.asked.count("one") == 1
    await two.union.aclose()


async def test_one_that_failed_is_left_alone_for_a_while(two: Two) -> None:
    two.one.registry_raw = None
    for _ in range(3):
        await two.union.snapshot()
    assert two.asked.count("one") == 1
    two.now += RETRY_AFTER
    await two.union.snapshot()
    assert two.asked.count("one") == 2
    await two.union.aclose()


async def test_closing_several_remembers_what_each_has_seen(two: Two) -> None:
    """Else a provider's older descriptor could be shown to the next process."""
    for one in (await two.union.snapshot()).providers:
        one.verify(NOW)
    await two.union.aclose()
    for name, key in (("one", ALICE), ("two", BOB)):
        later = two.client(name)
        snapshot = await later.snapshot()
        assert snapshot.origin.seen.floor(key.public_key.hex()) == 5


async def test_a_fault_of_our_own_is_no_verdict_on_what_a_provider_shows(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Swallowed, it would read as "nothing is wrong with it"."""

    async def broken(envelope: bytes) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(two.union._members[0].client, "confront", broken)
    with pytest.raises(ZeroDivisionError):
        await two.union.confront(two.two.registry_raw or b"")
    await two.union.aclose()


# Shards


def shelf_of(world: World) -> tuple[ShardShelf, list[Shard]]:
    keys = make_keys("in shards", 3)
    lines = world.publish_shards(1, [sign_descriptor(key, descriptor_of(key)) for key in keys])
    index = [msgspec.convert(line, Shard) for line in lines]
    shelf = ShardShelf(lambda: [world], world.clock)
    shelf.use(index, None)
    return shelf, index


async def test_a_shard_that_was_withheld_is_forgotten_with_its_index() -> None:
    world = World()
    shelf, (withheld, *rest) = shelf_of(world)
    world.shards.clear()
    await shelf.bring([withheld])
    assert set(shelf.broken) == {withheld.name}
    shelf.use(rest, None)
    assert shelf.broken == {}
    assert not shelf.lacks(withheld)


async def test_after_closing_no_shard_is_on_its_way() -> None:
    world = World()
    shelf, index = shelf_of(world)

    async def never(sha256: str, length: int) -> bytes | None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # as a connection that is being closed
        return None

    world.shard = never  # type: ignore[method-assign] # the test's own world
    waiting = asyncio.create_task(shelf.bring(index))
    await asyncio.sleep(0)
    tasks = list(shelf._loading.values())
    await asyncio.sleep(0)
    await shelf.aclose()
    assert len(tasks) == len(index)
    assert all(task.done() for task in tasks)
    await waiting
