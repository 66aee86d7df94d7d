"""Threats.md, "Registry": floors and roots hold while places, workers and damaged caches mix them up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from registry_world import DAY, NOW, World, make_keys

from cocoon_sdk.errors import (
    RegistryEquivocationError,
    RegistryExpiredError,
    RegistryRollbackError,
    RegistrySignatureError,
)
from cocoon_sdk.registry import mirrors as mirrors_module
from cocoon_sdk.registry.cache import RegistryCache
from cocoon_sdk.registry.mirrors import Places
from cocoon_sdk.registry.sources import Fetched
from cocoon_sdk.registry.trust import parse_trust
from cocoon_sdk.registry.updater import Updater
from cocoon_sdk.registry.verify import Seen, TrustedSet

pytestmark = pytest.mark.anyio


def updater_of(world: World, folder: Path | None, *others: World, **options: Any) -> Updater:
    trust = parse_trust(options.pop("trust", world.trust))
    opener = options.pop("open_mirror", None)
    places = Places([world, *others], open_mirror=opener, rng=Random(1))
    cache = RegistryCache(folder, trust.id)
    return Updater(places, trust=trust, cache=cache, clock=world.clock, **options)


@pytest.fixture
def world() -> World:
    return World()


# The trusted set


def trusting(world: World) -> TrustedSet:
    trusted = TrustedSet(parse_trust(world.trust))
    trusted.update_root(world.roots[1])
    return trusted


async def test_a_file_judged_before_a_newer_one_was_accepted_is_a_rollback(world: World) -> None:
    trusted = trusting(world)
    first = trusted.judge_registry(world.registry_raw or b"", NOW)
    newer = trusted.judge_registry(world.publish_registry(2), NOW)
    trusted.accept(newer)
    with pytest.raises(RegistryRollbackError):
        trusted.accept(first)
    with pytest.raises(RegistryRollbackError):
        trusted.recheck(first, NOW)
    assert trusted.seen == newer.seen


async def test_two_forks_judged_at_once_are_not_both_accepted(world: World) -> None:
    trusted = trusting(world)
    one = trusted.judge_registry(world.registry_raw or b"", NOW)
    other = trusted.judge_registry(world.make_registry(1, entries=[]), NOW)
    trusted.accept(one)
    with pytest.raises(RegistryEquivocationError) as caught:
        trusted.accept(other)
    assert caught.value.envelopes == (one.raw, other.raw)
    with pytest.raises(RegistryEquivocationError):
        trusted.recheck(other, NOW)
    assert trusted.seen == one.seen


async def test_a_file_judged_before_its_keys_were_replaced_is_refused(world: World) -> None:
    trusted = trusting(world)
    stolen = trusted.judge_registry(world.registry_raw or b"", NOW)
    world.registry_keys = make_keys("new registry", 3)
    trusted.update_root(world.publish_root(2))
    for late in (trusted.accept, lambda registry: trusted.recheck(registry, NOW)):
        with pytest.raises(RegistryRollbackError, match="root 2 replaced the signing keys"):
            late(stolen)


async def test_evidence_holds_no_file_of_another_version(world: World) -> None:
    """The floor may come from another worker, whose file this one never saw."""
    trusted = trusting(world)
    trusted.update_registry(world.registry_raw or b"", NOW)
    trusted.seen = Seen(1, 2, bytes(32))
    other = world.publish_registry(2)
    with pytest.raises(RegistryEquivocationError) as caught:
        trusted.update_registry(other, NOW)
    assert caught.value.envelopes == (other,)


# Two places at once


async def test_keys_replaced_while_the_other_place_answers_take_its_file_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thieves answer first. The honest place brings the root that bars them, but no valid list."""
    monkeypatch.setattr(mirrors_module, "GRACE", 5.0)
    taken = asyncio.Event()

    class Honest(World):
        locator = "honest"

        async def registry(self, etag: str | None) -> Fetched | None:
            await taken.wait()
            return await super().registry(etag)

    honest = Honest()
    updater = updater_of(world, None, honest)
    taken.set()
    await updater.refresh()
    taken.clear()
    world.publish_registry(2)  # by keys that are stolen
    honest.registry_keys = make_keys("new registry", 3)
    honest.publish_root(2)
    honest.publish_registry(2, issued=NOW - 9, fresh_until=NOW - 5, expires=NOW - 1)
    attempt = updater._attempt

    async def watched(source: Any, tag: str | None) -> Any:
        try:
            return await attempt(source, tag)
        finally:
            if source is world:
                taken.set()

    monkeypatch.setattr(updater, "_attempt", watched)
    async with asyncio.timeout(10):
        with pytest.raises(RegistryRollbackError, match="root 2 replaced the signing keys"):
            await updater.refresh()
    assert updater.registry is None
    assert updater.usable(NOW) is None
    assert len(updater.roots) == 2


async def test_a_root_that_both_places_bring_is_a_failure_of_neither(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    for walked in (False, True):
        barrier = asyncio.Barrier(2)

        class Meeting(World):
            meet = barrier

            async def root(self, version: int | None) -> bytes | None:
                found = await super().root(version)
                async with asyncio.timeout(5):
                    await self.meet.wait()
                return found

        places = [Meeting(), Meeting()]
        for number, place in enumerate(places):
            place.locator = f"place {number}"
            if walked:  # the newest root is not of the trusted keys: the walk starts at the first
                old, place.root_keys = place.root_keys, make_keys("new root", 3)
                place.publish_root(2, [*old, *place.root_keys])
                place.publish_root(3)
        updater = updater_of(places[0], None, places[1])
        await updater.refresh()
        assert "no registry from" not in caplog.text


# What is asked for, and how often


async def test_a_file_of_strangers_costs_one_question_for_a_root(world: World) -> None:
    updater = updater_of(world, None)
    await updater.refresh()
    world.publish_registry(2, make_keys("stranger", 3))
    world.asked.clear()
    with pytest.raises(RegistrySignatureError, match=r"registry\.json"):
        await updater.refresh()
    assert world.asked == ["registry.json", "2.root.json"]


async def test_an_expired_file_is_no_reason_to_ask_for_roots(world: World) -> None:
    updater = updater_of(world, None)
    await updater.refresh()
    world.publish_registry(2, issued=NOW - 9, fresh_until=NOW - 5, expires=NOW - 1)
    world.asked.clear()
    with pytest.raises(RegistryExpiredError):
        await updater.refresh()
    assert world.asked == ["registry.json"]


async def test_an_unchanged_file_outlives_its_root_where_that_has_a_successor(
    world: World,
) -> None:
    world.etag = '"same"'
    world.publish_registry(1, fresh_until=NOW + 400 * DAY, expires=NOW + 500 * DAY)
    updater = updater_of(world, None)
    held = await updater.refresh()
    world.now += 366 * DAY
    assert updater.usable(world.now) is None
    world.publish_root(2, expires=world.now + 365 * DAY)
    assert await updater.refresh() is held
    assert updater.usable(world.now) is held


# Other workers, and what they left in the cache


async def test_keys_that_another_worker_saw_replaced_bar_what_is_held_here(
    world: World, tmp_path: Path
) -> None:
    world.publish_root(1, mirrors=["https://old.example/"])
    opened: list[str] = []

    def open_mirror(url: str) -> World:
        opened.append(url)
        made = World()
        made.locator = url
        return made

    here = updater_of(world, tmp_path, open_mirror=open_mirror)
    there = updater_of(world, tmp_path)
    await here.refresh()
    await there.refresh()
    stolen, world.registry_keys = world.registry_keys, make_keys("new registry", 3)
    world.publish_root(2, mirrors=["https://new.example/"])
    world.publish_registry(2, stolen)
    with pytest.raises(RegistrySignatureError):
        await there.refresh()
    assert here.usable(NOW) is not None
    await here.adopt()
    assert here.roots == (world.roots[1], world.roots[2])
    assert here.registry is None
    assert here.usable(NOW) is None
    assert opened == ["https://old.example/", "https://new.example/"]


async def test_the_longer_chain_of_another_worker_is_taken_over_whole(
    world: World, tmp_path: Path
) -> None:
    """What root 1 signed stays evidence for somebody who came when root 2 was the newest."""
    there = updater_of(world, tmp_path)
    await there.refresh()
    world.publish_root(2)
    world.publish_registry(2)
    for path in tmp_path.rglob("*.json"):
        path.unlink()  # a cache cleared, so that this one starts at the newest root
    here = updater_of(world, tmp_path)
    await here.refresh()
    assert here.roots == (world.roots[2],)
    world.publish_root(3)
    world.publish_registry(3)
    await there.refresh()
    assert there.roots == (world.roots[1], world.roots[2], world.roots[3])
    await here.adopt()
    assert here.roots == there.roots


@pytest.mark.parametrize("left", [0, 1])
async def test_a_cache_set_back_takes_no_root_away(world: World, tmp_path: Path, left: int) -> None:
    updater = updater_of(world, tmp_path)
    await updater.refresh()
    stolen, world.registry_keys = world.registry_keys, make_keys("new registry", 3)
    world.publish_root(2)
    world.publish_registry(2)
    await updater.refresh()
    (path,) = tmp_path.rglob("state.json")
    state = msgspec.json.decode(path.read_bytes())
    state["roots"] = state["roots"][:left]
    path.write_bytes(msgspec.json.encode(state))
    held = updater.registry
    await updater.adopt()
    assert updater.roots == (world.roots[1], world.roots[2])
    assert updater.usable(NOW) is held is not None
    world.publish_registry(3, stolen)
    with pytest.raises(RegistrySignatureError):
        await updater.refresh()


async def test_a_cache_that_lost_its_list_still_has_roots_and_floor(
    world: World, tmp_path: Path
) -> None:
    old = world.registry_raw
    world.publish_registry(2)
    await updater_of(world, tmp_path).refresh()
    (path,) = tmp_path.rglob("registry.json")
    path.unlink()
    later = updater_of(world, tmp_path)
    await later.adopt()
    assert later.registry is None
    assert later.roots == (world.roots[1],)
    world.registry_raw = old
    with pytest.raises(RegistryRollbackError):
        await later.refresh()


async def test_the_cached_list_that_is_held_is_not_judged_again(
    world: World, tmp_path: Path
) -> None:
    """Another worker's refresh of the same version costs a large registry nothing here."""
    updater = updater_of(world, tmp_path)
    held = await updater.refresh()
    await updater.adopt()
    assert updater.registry is held


async def test_floors_are_of_the_network_that_is_insisted_on(world: World, tmp_path: Path) -> None:
    """An address that once served another list brings no floor of that one along."""
    for version in (2, 3):
        world.publish_registry(version)
    await updater_of(world, tmp_path).refresh()
    world.network = "devnet/other"
    world.publish_root(1)
    world.publish_registry(1)
    updater = updater_of(world, tmp_path, network="devnet/other")
    await updater.adopt()
    assert (await updater.refresh()).payload.version == 1


async def test_what_others_know_of_the_network_insisted_on_counts_before_any_request(
    world: World, tmp_path: Path
) -> None:
    await updater_of(world, tmp_path).refresh()
    mirror = World()
    mirror.locator = "a mirror never asked before"
    updater = updater_of(mirror, tmp_path, network="devnet/test")
    await updater.adopt()
    assert updater.roots == (world.roots[1],)
    assert not updater.proven
    assert mirror.asked == []


async def test_a_place_once_proven_stays_proven_without_a_cache(world: World) -> None:
    updater = updater_of(world, None)
    await updater.refresh()
    await updater.adopt()
    assert updater.proven


async def test_storing_learns_the_sequence_numbers_of_others(world: World, tmp_path: Path) -> None:
    """An older descriptor is refused here as soon as this worker writes, not at its next refresh."""
    here, there = updater_of(world, tmp_path), updater_of(world, tmp_path)
    await here.refresh()
    await there.refresh()
    there.seqs.raise_to("p", 7)
    await there.store(None)
    assert here.seqs.floor("p") == 0
    await here.store(None)
    assert here.seqs.floor("p") == 7


async def test_a_pinned_root_alone_makes_nothing_usable(world: World) -> None:
    assert updater_of(world, None, trust=world.roots[1]).usable(NOW) is None
