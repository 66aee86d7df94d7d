"""Threats.md, "Mirror": stale, mixed, truncated, oversized, dead, slow; none of them stops a client."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fake_anchor import CONTRACT, FakeChainClient
from registry_world import DAY, NOW, World, make_keys

from cocoon_sdk.errors import (
    RegistryEquivocationError,
    RegistryError,
    RegistryExpiredError,
    RegistryFormatError,
    RegistryRollbackError,
    RegistrySignatureError,
    RegistryUnavailableError,
)
from cocoon_sdk.registry import mirrors as mirrors_module
from cocoon_sdk.registry.anchor import AnchorCheck
from cocoon_sdk.registry.cache import RegistryCache
from cocoon_sdk.registry.mirrors import Places
from cocoon_sdk.registry.sources import Fetched
from cocoon_sdk.registry.trust import parse_trust
from cocoon_sdk.registry.updater import Updater
from cocoon_sdk.registry.verify import Seen

pytestmark = pytest.mark.anyio


@pytest.fixture
def own() -> World:
    return World()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors_module, "GRACE", 0.1)


def mirror_of(world: World, name: str = "mirror") -> World:
    """Another place with the same files, as they are now."""
    made = World()
    made.locator = name
    made.roots, made.registry_raw, made.etag = dict(world.roots), world.registry_raw, world.etag
    made.shards = dict(world.shards)
    return made


def updater_of(
    world: World, *others: Any, folder: Path | None = None, mirrors: Any = None, **options: Any
) -> Updater:
    trust = parse_trust(world.trust)
    places = Places([world, *others], open_mirror=mirrors, rng=Random(1))
    cache = RegistryCache(folder, trust.id)
    return Updater(places, trust=trust, cache=cache, clock=world.clock, **options)


async def version_of(updater: Updater) -> int:
    async with asyncio.timeout(10):
        return (await updater.refresh()).payload.version


class Silent(World):
    """Accepts the request and never answers."""

    locator = "silent"

    async def registry(self, etag: str | None) -> Fetched | None:
        await asyncio.Event().wait()
        return None


class Rootless(World):
    """Sends rubbish at once, and when asked for a root keeps the client waiting."""

    locator = "rootless"

    async def registry(self, etag: str | None) -> Fetched | None:
        return Fetched(self.make_registry(9, make_keys("stranger", 3), prev="00" * 32))

    async def root(self, version: int | None) -> bytes | None:
        await asyncio.Event().wait()
        return None


class Strange(World):
    """Shows a root of its own, and keeps whoever asks for the first one waiting."""

    locator = "strange"

    async def root(self, version: int | None) -> bytes | None:
        if version is None:
            return self.make_root(1, make_keys("stranger", 3))
        await asyncio.sleep(0.05)
        return None


async def test_the_highest_valid_version_wins(own: World) -> None:
    mirror = mirror_of(own)
    own.publish_registry(2)
    for first, second in ((own, mirror), (mirror, own)):
        assert await version_of(updater_of(first, second)) == 2


@pytest.mark.parametrize("bad", [Silent, Rootless, Strange])
@pytest.mark.parametrize("first", [True, False])
async def test_a_dead_or_hostile_place_does_not_block(
    own: World, bad: type[World], first: bool
) -> None:
    places = [bad(), own] if first else [own, bad()]
    assert await version_of(updater_of(*places)) == 1


async def test_a_stranger_alone_is_not_believed() -> None:
    updater = updater_of(Strange())
    with pytest.raises(RegistrySignatureError, match="trusted root keys"):
        await updater.refresh()
    assert updater.roots == ()


async def test_every_kind_of_rubbish_from_one_is_outvoted_by_the_other(
    own: World, caplog: pytest.LogCaptureFixture
) -> None:
    forged = own.make_registry(9, make_keys("stranger", 3), prev="00" * 32)
    for raw in (b"", b"{}", b"\xff", b"[" * 100_000, own.roots[1], forged, None):
        mirror = mirror_of(own)
        mirror.registry_raw = raw
        caplog.clear()
        assert await version_of(updater_of(mirror, own)) == 1
        assert "no registry from mirror" in caplog.text
    expired = mirror_of(own)
    own.now += 2 * DAY
    own.publish_registry(2)
    expired.now = own.now
    assert await version_of(updater_of(expired, own)) == 2


async def test_a_mirror_with_a_root_of_its_own_changes_nothing(own: World) -> None:
    evil = World()
    evil.locator = "evil"
    evil.root_keys = make_keys("evil root", 3)
    evil.registry_keys = make_keys("evil registry", 3)
    evil.publish_root(1)
    evil.publish_registry(1)
    updater = updater_of(evil, own)
    assert await version_of(updater) == 1
    assert updater.roots == (own.roots[1],)
    with pytest.raises(RegistrySignatureError):
        await updater_of(evil).refresh()


async def test_more_places_are_asked_only_where_two_fail(own: World) -> None:
    dead = [mirror_of(own, f"dead {number}") for number in range(3)]
    for world in dead:
        world.registry_raw = None
    spare = mirror_of(own, "spare")
    updater = updater_of(dead[0], dead[1], dead[2], spare)
    assert await version_of(updater) == 1
    healthy = [mirror_of(own, f"healthy {number}") for number in range(6)]
    updater = updater_of(*healthy)
    await updater.refresh()
    assert len([world for world in healthy if world.asked]) == 2


async def test_the_own_addresss_failure_is_told(own: World) -> None:
    own.registry_raw = None
    other = mirror_of(own)
    other.registry_raw = b"{}"
    with pytest.raises(RegistryUnavailableError):
        await updater_of(own, other).refresh()
    with pytest.raises(RegistryFormatError):
        await updater_of(other, own).refresh()


async def test_a_fork_between_two_places_is_found_in_one_refresh(own: World) -> None:
    fork = mirror_of(own)
    fork.registry_raw = own.make_registry(1, entries=[])
    updater = updater_of(own, fork)
    with pytest.raises(RegistryEquivocationError) as caught:
        await updater.refresh()
    assert set(caught.value.envelopes) == {own.registry_raw, fork.registry_raw}


async def test_a_stale_mirror_is_no_reason_to_go_back(own: World, tmp_path: Path) -> None:
    stale = mirror_of(own)
    own.publish_registry(2)
    updater = updater_of(own, stale, folder=tmp_path)
    await updater.refresh()
    own.registry_raw = None
    with pytest.raises(RegistryUnavailableError):
        await updater.refresh()
    assert updater.registry is not None
    assert updater.registry.payload.version == 2
    own.registry_raw = stale.registry_raw
    with pytest.raises(RegistryRollbackError):
        await updater.refresh()


async def test_a_new_root_from_one_place_bars_the_old_keys_at_the_other(own: World) -> None:
    updater = updater_of(own, mirror := mirror_of(own))
    await updater.refresh()
    stolen = own.registry_keys
    mirror.now = own.now
    mirror.publish_registry(3, stolen[:2], prev="00" * 32)
    own.registry_keys = make_keys("new registry", 3)
    own.publish_root(2)
    own.publish_registry(2)
    assert await version_of(updater) == 2
    assert updater.registry is not None
    assert updater.registry.payload.root_version == 2


class Meeting(World):
    """Two places that answer for a root only when both have been asked for it."""

    def __init__(self, world: World, name: str, barrier: asyncio.Barrier) -> None:
        super().__init__()
        self.locator, self.roots, self.barrier = name, dict(world.roots), barrier
        self.registry_raw = world.registry_raw

    async def root(self, version: int | None) -> bytes | None:
        found = await super().root(version)
        async with asyncio.timeout(5):
            await self.barrier.wait()
        return found


def meeting(world: World) -> tuple[Meeting, Meeting]:
    barrier = asyncio.Barrier(2)
    return Meeting(world, "a", barrier), Meeting(world, "b", barrier)


async def test_both_places_bring_the_first_root(own: World) -> None:
    updater = updater_of(*meeting(own))
    assert await version_of(updater) == 1
    assert len(updater.roots) == 1


async def test_both_places_lead_through_every_root(own: World) -> None:
    old = own.root_keys
    own.root_keys = make_keys("new root", 3)
    own.publish_root(2, [*old, *own.root_keys])
    own.publish_root(3)
    own.registry_keys = make_keys("new registry", 3)
    own.publish_root(4)
    own.publish_registry(1)
    places = meeting(own)
    updater = updater_of(*places)
    assert await version_of(updater) == 1
    assert len(updater.roots) == 4
    walk = [
        "registry.json",
        "root.json",
        "1.root.json",
        "2.root.json",
        "3.root.json",
        "4.root.json",
    ]
    assert [place.asked for place in places] == [walk, walk]


async def test_a_root_that_came_while_a_file_was_judged_is_not_asked_for_again(own: World) -> None:
    updater = updater_of(own)
    await updater.refresh()
    own.registry_keys = make_keys("new registry", 3)
    own.publish_root(2)
    own.publish_registry(2)
    trusted = updater._trusted
    judge, judged = trusted.judge_registry, []

    def overtaken(raw: bytes, now: int, **options: Any) -> Any:
        judged.append(raw)
        try:
            return judge(raw, now, **options)
        finally:
            if len(judged) == 1:
                trusted.update_root(own.roots[2])

    trusted.judge_registry = overtaken  # type: ignore[method-assign] # the test's own instance
    own.asked.clear()
    assert await version_of(updater) == 2
    assert own.asked == ["registry.json"]
    assert len(judged) == 2


async def test_each_place_has_a_tag_of_its_own(own: World, tmp_path: Path) -> None:
    mirror = mirror_of(own)
    own.etag, mirror.etag = '"own"', '"mirror"'
    asked: list[tuple[str, str | None]] = []
    for world in (own, mirror):

        async def recorded(etag: str | None, world: World = world) -> Fetched | None:
            asked.append((world.locator, etag))
            return await World.registry(world, etag)

        world.registry = recorded  # type: ignore[method-assign] # the test's own world
    updater = updater_of(own, mirror, folder=tmp_path)
    first = await updater.refresh()
    assert await updater.refresh() is first
    later = updater_of(own, mirror, folder=tmp_path)
    await later.adopt()
    await later.refresh()
    tags = [("own", '"own"'), ("mirror", '"mirror"')]
    locators = {"world": "own", "mirror": "mirror"}
    named = [(locators[name], tag) for name, tag in asked]
    assert sorted(named[:2]) == [("mirror", None), ("own", None)]
    assert sorted(named[2:4]) == sorted(tags)
    assert sorted(named[4:6]) == sorted(tags)
    own.publish_registry(2)
    own.etag = '"own 2"'
    await later.refresh()
    asked.clear()
    await later.refresh()  # the mirror's tag belongs to version 1, which is not held any more
    assert dict(asked) == {"world": '"own 2"', "mirror": None}


async def test_mirrors_of_the_root_are_asked_once_it_is_trusted(own: World) -> None:
    own.publish_root(1, mirrors=["https://m.example/"])
    mirror = mirror_of(own)
    opened: list[str] = []

    def open_mirror(url: str) -> World:
        opened.append(url)
        return mirror

    updater = updater_of(own, mirrors=open_mirror)
    await updater.refresh()
    assert mirror.asked == []
    own.registry_raw = None
    assert await version_of(updater) == 1
    assert mirror.asked == ["registry.json"]
    assert opened == ["https://m.example/"]
    own.registry_keys = make_keys("new registry", 3)
    mirror.roots[2] = own.publish_root(2, mirrors=[])
    mirror.now = own.now
    mirror.registry_keys = own.registry_keys
    mirror.publish_registry(2)
    assert await version_of(updater) == 2
    mirror.asked.clear()
    with pytest.raises(RegistryUnavailableError):
        await updater.refresh()  # root 2 names it no more
    assert mirror.asked == []


async def test_places_of_the_root_prove_nothing_of_the_own_address(
    own: World, tmp_path: Path
) -> None:
    own.publish_root(1, mirrors=["https://m.example/"])
    mirror = mirror_of(own)
    await updater_of(mirror, folder=tmp_path).refresh()  # another client's source
    wrong = World()
    wrong.locator, wrong.registry_raw = "a wrong address", None
    updater = updater_of(wrong, mirrors=lambda _: mirror, folder=tmp_path)
    await updater.adopt()
    with pytest.raises(RegistryUnavailableError):
        await updater.refresh()
    assert not updater.proven


# The anchor


def anchored(world: World, chain: FakeChainClient, *others: World, policy: Any = "require") -> Any:
    world.publish_root(1, anchor={"contract": CONTRACT})
    for other in others:
        other.roots = dict(world.roots)
    return updater_of(world, *others, anchor=AnchorCheck(policy, lambda _: chain))  # type: ignore[arg-type, return-value] # a fake


def seen_of(world: World) -> Seen:
    version = 1 if world.registry_raw is None else _version(world)
    return Seen(1, version, bytes.fromhex(world.digest()))


def _version(world: World) -> int:
    import msgspec

    envelope = msgspec.json.decode(world.registry_raw or b"")
    return int(msgspec.json.decode(msgspec.convert(envelope["payload"], bytes))["version"])


async def test_a_newer_anchor_sends_the_client_to_other_mirrors(own: World) -> None:
    frozen = [mirror_of(own, f"frozen {number}") for number in range(3)]
    own.publish_registry(2)
    chain = FakeChainClient(seen_of(own))
    current = mirror_of(own, "current")
    assert await version_of(anchored(frozen[0], chain, *frozen[1:], current)) == 2
    alone = anchored(frozen[0], chain, *frozen[1:])
    with pytest.raises(RegistryRollbackError, match="names version 2"):
        await alone.refresh()
    assert alone.registry is None
    warned = anchored(frozen[0], chain, *frozen[1:], policy="warn")
    assert await version_of(warned) == 1
    assert isinstance(warned.anchor.problem, RegistryRollbackError)


async def test_a_fork_that_the_chain_shows(own: World) -> None:
    chain = FakeChainClient(Seen(1, 1, bytes(32)))
    with pytest.raises(RegistryEquivocationError):
        await anchored(own, chain).refresh()


async def test_what_was_not_confirmed_does_not_serve_what_was_does(
    own: World, tmp_path: Path
) -> None:
    chain = FakeChainClient(seen_of(own))
    own.publish_root(1, anchor={"contract": CONTRACT})
    await updater_of(own, folder=tmp_path).refresh()  # a client without an anchor

    def fresh() -> Updater:
        check = AnchorCheck("require", lambda _: chain)  # type: ignore[arg-type, return-value] # a fake
        return updater_of(own, folder=tmp_path, anchor=check)

    chain.down = True
    first = fresh()
    await first.adopt()
    assert first.usable(NOW) is None
    with pytest.raises(RegistryUnavailableError, match="the chain is down"):
        await first.refresh()
    chain.down = False
    await first.refresh()
    assert first.usable(NOW) is not None
    chain.down = True
    second = fresh()
    await second.adopt()
    assert second.usable(NOW) is not None


# Shown by a provider


async def test_only_what_the_own_signers_signed_accuses_them(
    own: World, caplog: pytest.LogCaptureFixture
) -> None:
    updater = updater_of(own)
    await updater.refresh()
    honest = own.registry_raw or b""
    with caplog.at_level(logging.INFO, "cocoon_sdk"):
        for raw in (
            b"rubbish",
            own.make_registry(1, make_keys("stranger", 3), entries=[]),
            own.make_registry(1, own.registry_keys[:1], entries=[]),
            own.make_registry(1, network="devnet/other", entries=[]),
            own.make_registry(2, prev="00" * 32),
        ):
            assert not await updater.confront(raw)
    assert "says nothing" in caplog.text
    assert await updater.confront(honest)
    own.now += 2 * DAY
    assert await updater.confront(own.make_registry(2))
    with pytest.raises(RegistryEquivocationError):
        await updater.confront(own.make_registry(1, entries=[]))
    assert updater.registry is not None
    assert updater.registry.raw == honest


async def test_errors_of_all_kinds_are_registry_errors(own: World) -> None:
    own.now += 2 * DAY
    with pytest.raises(RegistryExpiredError):
        await updater_of(own).refresh()
    assert issubclass(RegistryExpiredError, RegistryError)
