"""Between source, trusted set and cache. Hostile sources are in tests/adversarial/test_registry_updates.py."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from registry_world import DAY, NOW, World, make_keys

from cocoon_sdk.errors import (
    RegistryEquivocationError,
    RegistryExpiredError,
    RegistrySignatureError,
    RegistryUnavailableError,
)
from cocoon_sdk.registry.cache import RegistryCache
from cocoon_sdk.registry.mirrors import Places
from cocoon_sdk.registry.sources import Fetched
from cocoon_sdk.registry.trust import parse_trust
from cocoon_sdk.registry.updater import Updater

pytestmark = pytest.mark.anyio


def updater_of(world: World, folder: Path | None, **options: Any) -> Updater:
    trust = parse_trust(options.pop("trust", world.trust))
    world.locator = options.pop("locator", "world")
    places = Places([world, *options.pop("mirrors", ())], rng=Random(1))
    cache = RegistryCache(folder, trust.id)
    return Updater(places, trust=trust, cache=cache, clock=world.clock, **options)


@pytest.fixture
def world() -> World:
    return World()


async def test_usable_until_it_expires(world: World) -> None:
    updater = updater_of(world, None)
    assert updater.usable(NOW) is None
    held = await updater.refresh()
    assert updater.usable(NOW + DAY - 1) is held
    assert updater.usable(NOW + DAY) is None
    assert updater_of(world, None, allow_stale=True).usable(NOW) is None


async def test_an_expired_registry_may_be_allowed_an_expired_root_never(world: World) -> None:
    updater = updater_of(world, None, allow_stale=True)
    await updater.refresh()
    assert updater.usable(NOW + DAY) is updater.registry is not None
    assert updater.usable(NOW + 365 * DAY) is None


async def test_not_modified_keeps_what_is_held_and_judges_it_again(world: World) -> None:
    world.etag = '"1"'
    updater = updater_of(world, None)
    first = await updater.refresh()
    assert (await updater.refresh()).raw == first.raw
    world.now += DAY
    with pytest.raises(RegistryExpiredError):
        await updater.refresh()
    assert updater.usable(world.now) is None


async def test_not_modified_to_someone_who_holds_nothing(world: World) -> None:
    class Odd(World):
        async def registry(self, etag: str | None) -> Fetched | None:
            return None

    with pytest.raises(RegistryUnavailableError, match="sent no registry"):
        await updater_of(Odd(), None).refresh()


async def test_a_registry_without_a_root_beside_it(world: World) -> None:
    world.roots.clear()
    with pytest.raises(RegistryUnavailableError, match=r"no root\.json beside world"):
        await updater_of(world, None).refresh()


async def test_a_pinned_root_is_never_asked_for(world: World) -> None:
    updater = updater_of(world, None, trust=world.roots[1])
    await updater.refresh()
    assert world.asked == ["registry.json"]


async def test_another_process_starts_from_the_cache(world: World, tmp_path: Path) -> None:
    world.etag = '"1"'
    first = updater_of(world, tmp_path)
    await first.refresh()
    first.seqs.raise_to("p", 7)
    await first.store(None)
    second = updater_of(world, tmp_path)
    await second.adopt()
    assert second.usable(NOW) is not None
    assert second.seqs.floor("p") == 7
    world.asked.clear()
    await second.refresh()  # with the ETag of the first process, and its roots
    assert world.asked == ["registry.json"]


async def test_an_empty_cache_teaches_nothing_and_nothing_is_stored_without_a_root(
    world: World, tmp_path: Path
) -> None:
    updater = updater_of(world, tmp_path)
    await updater.adopt()
    assert updater.registry is None
    assert await updater.store(None) is None
    assert list(tmp_path.rglob("*.json")) == []


async def test_the_floor_of_the_cache_counts_though_its_roots_are_damaged(
    world: World, tmp_path: Path
) -> None:
    first = updater_of(world, tmp_path)
    await first.refresh()
    old = world.registry_raw
    world.publish_registry(2)
    await first.refresh()
    (state,) = tmp_path.rglob("state.json")
    state.write_bytes(state.read_bytes().replace(b'"roots":["', b'"roots":["AAAA'))
    world.registry_raw = old
    second = updater_of(world, tmp_path)
    await second.adopt()
    assert second.registry is None
    with pytest.raises(Exception, match="older than version 2"):
        await second.refresh()


async def test_equivocation_between_cache_and_source_is_raised(
    world: World, tmp_path: Path
) -> None:
    updater = updater_of(world, tmp_path)
    await updater.refresh()
    world.publish_registry(1, entries=[])
    with pytest.raises(RegistryEquivocationError):
        await updater_of(world, tmp_path).refresh()


async def test_a_network_that_is_insisted_on(world: World) -> None:
    with pytest.raises(Exception, match="expected -239/main"):
        await updater_of(world, None, network="-239/main").refresh()
    assert (await updater_of(world, None, network="devnet/test").refresh()).payload.version == 1


async def test_strangers_at_the_source_are_not_believed(world: World) -> None:
    strangers = parse_trust(world.trust)
    world.root_keys = make_keys("stranger", 3)
    world.publish_root(1)
    updater = Updater(
        Places([world], rng=Random(1)),
        trust=strangers,
        cache=RegistryCache(None, strangers.id),
        clock=world.clock,
    )
    with pytest.raises(RegistrySignatureError):
        await updater.refresh()
    assert world.asked == ["registry.json", "root.json", "1.root.json"]
    assert updater.registry is None
