"""Threats.md, "Registry": hostile and broken sources, over time and between workers."""

import asyncio
import base64
import logging
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from registry_world import DAY, NOW, World, make_keys

from cocoon_sdk.errors import (
    RegistryEquivocationError,
    RegistryFormatError,
    RegistryRollbackError,
    RegistrySignatureError,
    RegistryUnavailableError,
)
from cocoon_sdk.registry.cache import RegistryCache
from cocoon_sdk.registry.mirrors import Places
from cocoon_sdk.registry.trust import parse_trust
from cocoon_sdk.registry.updater import MAX_ROOTS_PER_REFRESH, Updater

pytestmark = pytest.mark.anyio


def updater_of(world: World, folder: Path | None, **options: Any) -> Updater:
    trust = parse_trust(options.pop("trust", world.trust))
    world.locator = options.pop("locator", "world")
    places = Places([world, *options.pop("mirrors", ())], rng=Random(1))
    cache = RegistryCache(folder, trust.id)
    return Updater(places, trust=trust, cache=cache, clock=world.clock, **options)


async def accepted_version(updater: Updater) -> int:
    return (await updater.refresh()).payload.version


async def test_roots_are_walked_one_by_one(tmp_path: Path) -> None:
    world = World()
    updater = updater_of(world, tmp_path)
    await updater.refresh()
    for version in (2, 3, 4):
        old = world.root_keys
        world.root_keys = make_keys(f"root {version}", 3)
        world.registry_keys = make_keys(f"registry {version}", 3)
        world.publish_root(version, [*old, *world.root_keys])
    world.publish_registry(2)
    world.asked.clear()
    assert await accepted_version(updater) == 2
    assert world.asked == ["registry.json", "2.root.json", "3.root.json", "4.root.json"]


async def test_a_missing_root_in_between_stops_the_walk(tmp_path: Path) -> None:
    world = World()
    updater = updater_of(world, tmp_path)
    await updater.refresh()
    world.registry_keys = make_keys("new registry", 3)
    world.publish_root(2)
    world.publish_root(3)
    world.publish_registry(2)
    del world.roots[2]
    with pytest.raises(RegistrySignatureError):
        await updater.refresh()
    world.roots[2] = world.make_root(3)  # root 3 under the name of root 2
    with pytest.raises(RegistryRollbackError, match="one by one"):
        await updater.refresh()


async def test_a_new_client_starts_at_the_first_root_when_the_newest_is_of_other_keys(
    tmp_path: Path,
) -> None:
    world = World()
    old = world.root_keys
    world.root_keys = make_keys("new root", 3)
    world.publish_root(2, [*old, *world.root_keys])
    world.publish_root(3)
    world.publish_registry(1)
    assert await accepted_version(updater_of(world, tmp_path)) == 1
    assert world.asked == [
        *("registry.json", "root.json"),
        *("1.root.json", "2.root.json", "3.root.json"),
    ]


async def test_an_expired_root_leads_to_its_successor(tmp_path: Path) -> None:
    world = World()
    updater = updater_of(world, tmp_path)
    first = await updater.refresh()
    world.now += 366 * DAY
    world.publish_registry(2)
    with pytest.raises(Exception, match="root 1 expired"):
        await updater.refresh()
    world.publish_root(2, expires=world.now + DAY)
    # Made before the new root was.
    world.publish_registry(2, root_version=1, prev=first.digest.hex())
    assert await accepted_version(updater) == 2


async def test_an_endless_supply_of_roots_is_bounded(tmp_path: Path) -> None:
    world = World()
    updater = updater_of(world, tmp_path)
    await updater.refresh()
    for version in range(2, MAX_ROOTS_PER_REFRESH + 20):
        world.publish_root(version)
    world.publish_registry(2)
    with pytest.raises(RegistrySignatureError, match="more than"):
        await updater.refresh()
    assert await accepted_version(updater) == 2  # it goes on from where it stopped


async def test_a_root_that_replaces_stolen_keys_sticks_without_a_new_registry(
    tmp_path: Path,
) -> None:
    world = World()
    updater = updater_of(world, tmp_path)
    await updater.refresh()
    stolen = world.registry_keys
    world.registry_keys = make_keys("new registry", 3)
    world.publish_root(2)
    world.publish_registry(2, stolen[:2])
    with pytest.raises(RegistrySignatureError):
        await updater.refresh()
    assert updater.registry is None  # signed by the stolen keys, so not even the copy serves
    again = updater_of(world, tmp_path)
    await again.adopt()
    assert again.registry is None
    world.roots = {1: world.roots[1]}  # the thieves hide root 2 from later requests
    with pytest.raises(RegistrySignatureError):
        await again.refresh()


async def test_old_root_keys_do_not_come_back_through_another_address(tmp_path: Path) -> None:
    """A client that saw their replacement believes no first root of theirs, however high its version."""
    world = World()
    running = updater_of(world, tmp_path)
    await running.refresh()
    stolen = world.root_keys
    world.root_keys = make_keys("new root", 3)
    world.publish_root(2, [*stolen, *world.root_keys])
    world.publish_registry(2)
    assert await accepted_version(running) == 2

    thief = World()
    thief.registry_keys = make_keys("thief", 3)
    thief.roots = {1000: thief.make_root(1000, stolen)}
    thief.registry_raw = thief.make_registry(9, root_version=1000, prev="ab" * 32)
    with pytest.raises(RegistrySignatureError):
        await updater_of(thief, tmp_path, locator="another address").refresh()

    for version, other in enumerate((running, updater_of(world, tmp_path, locator="a third")), 3):
        world.publish_registry(version)
        assert await accepted_version(other) == version
        assert other.roots == tuple(world.roots.values())


@pytest.mark.parametrize("continues", [False, True])
async def test_another_chain_in_the_cache_counts_as_far_as_it_continues_ours(
    tmp_path: Path, continues: bool
) -> None:
    world = World()
    running = updater_of(world, tmp_path)
    await running.refresh()
    old = world.root_keys
    world.root_keys = make_keys("new root", 3)
    world.publish_root(2, [*old, *world.root_keys])
    world.publish_registry(2)
    assert await accepted_version(running) == 2

    folder = RegistryCache(tmp_path, parse_trust(world.trust).id).folder(world.network)
    assert folder is not None
    state = msgspec.json.decode((folder / "state.json").read_bytes())
    signers = [*old, *world.root_keys] if continues else old
    world.publish_root(3, signers, mirrors=["https://m.example/"])
    state["roots"] = [base64.b64encode(world.roots[3]).decode()]  # a first root by the trusted keys
    if not continues:
        world.root_keys = old
        state["roots"] = [base64.b64encode(world.make_root(3)).decode()]
    (folder / "state.json").write_bytes(msgspec.json.encode(state))
    await running.adopt()
    assert running.roots == tuple(
        world.roots[number] for number in ((1, 2, 3) if continues else (1, 2))
    )


async def test_fast_forward_and_recovery_through_the_cache(tmp_path: Path) -> None:
    world = World()
    honest = await updater_of(world, tmp_path).refresh()
    world.publish_registry(2**53 - 1, prev="00" * 32)
    assert await accepted_version(updater_of(world, tmp_path)) == 2**53 - 1
    world.registry_keys = make_keys("new registry", 3)
    world.publish_root(2)
    world.publish_registry(2, prev=honest.digest.hex())
    later = updater_of(world, tmp_path)
    await later.adopt()
    assert await accepted_version(later) == 2


@pytest.mark.parametrize("locator", ["world", "another mirror"])
async def test_rollback_is_seen_across_runs_and_mirrors(tmp_path: Path, locator: str) -> None:
    world = World()
    old = world.registry_raw
    world.publish_registry(2)
    await updater_of(world, tmp_path).refresh()
    world.registry_raw = old
    later = updater_of(world, tmp_path, locator=locator)
    await later.adopt()
    with pytest.raises(RegistryRollbackError):
        await later.refresh()


async def test_two_workers_shown_different_forks_find_out(tmp_path: Path) -> None:
    world = World()
    one, two = updater_of(world, tmp_path), updater_of(world, tmp_path)
    await one.refresh()
    await two.adopt()
    world.publish_registry(2)
    await one.refresh()
    world.registry_raw = world.make_registry(2, entries=[], prev=_prev(world))
    with pytest.raises(RegistryEquivocationError):
        await two.refresh()


async def test_two_workers_refresh_one_cache_at_once(tmp_path: Path) -> None:
    world = World()
    workers = [updater_of(world, tmp_path) for _ in range(6)]
    for version in (2, 3, 4):
        world.publish_registry(version)
        versions = await asyncio.gather(*map(accepted_version, workers))
        assert versions == [version] * 6
    later = updater_of(world, tmp_path)
    await later.adopt()
    assert later.registry is not None
    assert later.registry.payload.version == 4


async def test_a_worker_behind_takes_the_newer_file_of_a_faster_one(tmp_path: Path) -> None:
    world = World()
    slow, fast = updater_of(world, tmp_path), updater_of(world, tmp_path)
    await slow.refresh()
    old = world.registry_raw
    world.publish_registry(2)
    await fast.refresh()
    world.registry_raw = old  # the slow one asked before version 2 was out
    assert await accepted_version(slow) == 2


async def test_a_new_source_that_is_behind_serves_what_another_taught(tmp_path: Path) -> None:
    world = World()
    old = world.registry_raw
    world.publish_registry(2)
    await updater_of(world, tmp_path).refresh()
    world.registry_raw = old
    updater = updater_of(world, tmp_path, locator="a mirror never asked before")
    await updater.adopt()
    assert updater.registry is None
    with pytest.raises(RegistryRollbackError):
        await updater.refresh()
    assert updater.registry is not None
    assert updater.registry.payload.version == 2


@pytest.mark.parametrize("name", ["state.json", "registry.json"])
async def test_a_tampered_cache_proves_nothing(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    await updater_of(world, tmp_path).refresh()
    evil = World()
    evil.root_keys = make_keys("evil root", 3)
    evil.registry_keys = make_keys("evil registry", 3)
    evil.publish_root(1)
    evil.publish_registry(9, prev="00" * 32)
    (path,) = tmp_path.rglob(f"*/{name}")
    if name == "registry.json":
        path.write_bytes(evil.registry_raw or b"")
    else:
        state = msgspec.json.decode(path.read_bytes())
        state["roots"] = [msgspec.to_builtins(evil.roots[1])]
        path.write_bytes(msgspec.json.encode(state))
    later = updater_of(world, tmp_path)
    with caplog.at_level(logging.WARNING, "cocoon_sdk"):
        await later.adopt()
    assert later.registry is None
    assert "not used" in caplog.text
    assert await accepted_version(later) == 1
    healed = updater_of(world, tmp_path)
    await healed.adopt()
    assert healed.registry is not None


async def test_a_mirror_that_answers_not_modified_cannot_freeze_past_expiry(
    tmp_path: Path,
) -> None:
    world = World()
    world.etag = '"same"'
    updater = updater_of(world, tmp_path)
    await updater.refresh()
    world.now += DAY
    with pytest.raises(Exception, match="expired 0 s ago"):
        await updater.refresh()
    assert updater.usable(world.now) is None


async def test_a_world_that_is_down(tmp_path: Path) -> None:
    world = World()
    world.roots.clear()
    with pytest.raises(RegistryUnavailableError, match=r"no root\.json"):
        await updater_of(world, tmp_path).refresh()
    world.registry_raw = None
    with pytest.raises(RegistryUnavailableError):
        await updater_of(world, tmp_path).refresh()


async def test_rubbish_does_not_disturb_what_is_held(tmp_path: Path) -> None:
    world = World()
    updater = updater_of(world, tmp_path)
    held = await updater.refresh()
    for raw in (b"[" * 10_000_000, b"\xff", b"{}", world.roots[1]):
        world.registry_raw = raw
        with pytest.raises((RegistryFormatError, RegistrySignatureError)):
            await updater.refresh()
        assert updater.usable(NOW) is held


def _prev(world: World) -> str:
    envelope = msgspec.json.decode(world.registry_raw or b"")
    return str(msgspec.json.decode(msgspec.convert(envelope["payload"], bytes))["prev"])
