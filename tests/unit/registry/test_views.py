"""From an index to what one request needs: shards drawn, providers sampled, ids found."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from registry_world import HASH, NOW, World, descriptor_of, make_keys

from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.registry.cache import RegistryCache
from cocoon_sdk.registry.descriptor import sign_descriptor
from cocoon_sdk.registry.fetch import RegistryClient
from cocoon_sdk.registry.model import Entry, ModelOffer, ModelPrice
from cocoon_sdk.registry.shelf import RETRY_SHARD_AFTER
from cocoon_sdk.registry.snapshot import Snapshot
from cocoon_sdk.registry.views import CANDIDATES_PER_MODEL, SHARDS_PER_MODEL

pytestmark = pytest.mark.anyio


def offers(*models: str) -> list[ModelOffer]:
    price = ModelPrice(prompt=1, cached=1, completion=1)
    return [
        ModelOffer(id=name, hash=HASH, ctx=9, price=price, tokenizer=HASH, tokens=HASH)
        for name in models
    ]


def entries_of(keys: list[Ed25519Key], *models: str, **changes: Any) -> list[Entry]:
    return [
        sign_descriptor(key, descriptor_of(key, models=offers(*models), **changes)) for key in keys
    ]


def named(snapshot: Snapshot) -> set[str]:
    return {one.id[:2] for one in snapshot.providers}


@pytest.fixture
def world() -> World:
    return World()


def client_of(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> RegistryClient:
    """A client whose only source is the world."""
    monkeypatch.setattr("cocoon_sdk.registry.opening.open_source", lambda *_, **__: world)
    return RegistryClient(
        "world", trust=world.trust, cache_dir=folder, clock=world.clock, rng=Random(7)
    )


async def test_a_request_loads_a_few_shards_that_list_its_model(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [*entries_of(make_keys("m", 40), "m"), *entries_of(make_keys("n", 3), "n")]
    index = world.publish_shards(1, both)
    client = client_of(world, tmp_path, monkeypatch)
    first = await client.snapshot()
    assert first.providers == ()
    assert first.models == {"m": 40, "n": 3}
    assert not [name for name in world.asked if name.startswith("shards/")]
    snapshot = await client.snapshot("m")
    asked = [name for name in world.asked if name.startswith("shards/")]
    assert len(asked) == SHARDS_PER_MODEL
    lists_m = {f"shards/{line['sha256']}.json" for line in index if "m" in line["models"]}
    assert set(asked) <= lists_m
    assert snapshot.for_model("m")
    assert snapshot.models == {"m": 40, "n": 3}
    assert await client.snapshot("m") is snapshot
    assert len(world.asked) == 2 + SHARDS_PER_MODEL
    assert (await client.snapshot("nowhere")).for_model("nowhere") == ()
    await client.aclose()


async def test_a_provider_is_found_by_its_id(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = make_keys("m", 40)
    world.publish_shards(1, entries_of(keys, "m"))
    client = client_of(world, tmp_path, monkeypatch)
    wanted = keys[17].public_key.hex()
    snapshot = await client.snapshot(providers=[wanted, "not an id", ""])
    listed = snapshot.get(wanted)
    assert listed is not None
    assert listed.verify(NOW).id == wanted
    assert named(snapshot) == {wanted[:2]}
    other = keys[3].public_key.hex()
    assert (await client.snapshot(providers=[other[:2]])).get(other) is not None
    only = await client_of(world, tmp_path, monkeypatch).snapshot("m", only=[wanted])
    assert named(only) == {wanted[:2]}


async def test_everything(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.publish_shards(1, entries_of(make_keys("m", 40), "m"))
    client = client_of(world, tmp_path, monkeypatch)
    assert len((await client.snapshot(everything=True)).providers) == 40


async def test_other_shards_stand_in_for_those_that_cannot_be_had(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = world.publish_shards(1, entries_of(make_keys("m", 40), "m"))
    all_shards = dict(world.shards)
    client = client_of(world, tmp_path, monkeypatch)
    kept = {line["sha256"] for line in index[-3:]}
    world.shards = {name: raw for name, raw in world.shards.items() if name in kept}
    snapshot = await client.snapshot("m")
    assert snapshot.broken
    assert snapshot.errors == tuple(snapshot.broken.values())
    asked = len(world.asked)
    assert await client.snapshot("m")
    assert len(world.asked) <= asked + 2 * SHARDS_PER_MODEL
    world.shards = all_shards
    world.now += RETRY_SHARD_AFTER
    assert len(named(await client.snapshot("m"))) >= SHARDS_PER_MODEL


async def test_only_changed_shards_are_fetched_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = make_keys("m", 40)
    entries = entries_of(keys, "m")
    world.publish_shards(1, entries)
    client = client_of(world, tmp_path, monkeypatch)
    await client.snapshot(everything=True)
    world.asked.clear()
    entries[0] = entries_of(keys[:1], "m", seq=6)[0]
    world.publish_shards(2, entries)
    await client.refresh()
    snapshot = await client.snapshot(everything=True)
    assert len([name for name in world.asked if name.startswith("shards/")]) == 1
    listed = snapshot.get(keys[0].public_key.hex())
    assert listed is not None
    assert (listed.verify(NOW).seq, listed.origin.version) == (6, 2)


async def test_revocation_and_min_seq_of_the_index_reach_the_shards(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = make_keys("m", 2)
    one, two = (key.public_key.hex() for key in keys)
    world.publish_shards(1, entries_of(keys, "m"), revoked=[one], min_seq={two: 6})
    snapshot = await client_of(world, tmp_path, monkeypatch).snapshot("m")
    problems = {listed.id: listed.problem(NOW) or "" for listed in snapshot.providers}
    assert "revoked" in problems[one]
    assert "below 6" in problems[two]


async def test_of_many_providers_a_sample_and_those_that_are_named(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = make_keys("m", CANDIDATES_PER_MODEL + 40)
    world.publish_registry(1, entries=msgspec.to_builtins(entries_of(keys, "m")))
    client = client_of(world, tmp_path, monkeypatch)
    ids = [key.public_key.hex() for key in keys]
    assert len((await client.snapshot()).providers) == len(ids)
    sample = await client.snapshot("m")
    assert len(sample.providers) == CANDIDATES_PER_MODEL
    assert sample.models == {"m": len(ids)}
    assert await client.snapshot("m") is sample
    outside = [name for name in ids if sample.get(name) is None]
    more = await client.snapshot("m", outside[:3])
    assert all(more.get(name) for name in outside[:3])
    assert len(more.providers) <= CANDIDATES_PER_MODEL + 3
    only = await client.snapshot("m", only=outside[:2])
    assert [one.id for one in only.providers] == outside[:2]
    assert only.models == sample.models


async def test_every_provider_has_its_turn(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = make_keys("m", CANDIDATES_PER_MODEL * 2)
    world.publish_registry(1, entries=msgspec.to_builtins(entries_of(keys, "m")))
    client = client_of(world, tmp_path, monkeypatch)
    met: set[str] = set()
    for number in range(40):
        met |= {one.id for one in (await client.snapshot("m", [f"{number:02x}"])).providers}
    assert len(met) == len(keys)


async def test_views_are_not_remembered_without_end(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cocoon_sdk.registry.views._REMEMBERED_VIEWS", 2)
    monkeypatch.setattr("cocoon_sdk.registry.snapshot._REMEMBERED_MODELS", 2)
    keys = make_keys("m", CANDIDATES_PER_MODEL + 1)
    world.publish_registry(1, entries=msgspec.to_builtins(entries_of(keys, "m")))
    client = client_of(world, tmp_path, monkeypatch)
    for number in range(6):
        await client.snapshot("m", [f"{number:02x}"])
        await client.snapshot(f"unknown {number}")
    assert client._opened is not None
    assert len(client._opened.views._views) <= 2
    assert len((await client.snapshot())._by_model) <= 2


async def test_without_a_cache_nothing_is_written(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish_shards(1, entries_of(make_keys("m", 4), "m"))
    monkeypatch.setattr("cocoon_sdk.registry.opening.open_source", lambda *_, **__: world)
    client = RegistryClient("world", trust=world.trust, cache=False, clock=world.clock)
    assert (await client.snapshot("m")).for_model("m")
    assert RegistryCache(None, "x").folder("z") is None
    assert list(tmp_path.iterdir()) == []
