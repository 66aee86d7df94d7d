"""What a client keeps of a registry while something about it changes, and what it does without."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest
from registry_world import World, descriptor_of, make_keys

from cocoon_sdk.errors import RegistryUnavailableError
from cocoon_sdk.registry.descriptor import sign_descriptor
from cocoon_sdk.registry.fetch import RegistryClient
from cocoon_sdk.registry.model import Entry
from cocoon_sdk.registry.shelf import KEEP_UNLISTED
from cocoon_sdk.registry.views import SHARDS_PER_MODEL

pytestmark = pytest.mark.anyio

KEYS = make_keys("m", 40)


def entries(count: int = 40) -> list[Entry]:
    return [sign_descriptor(key, descriptor_of(key)) for key in KEYS[:count]]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr("cocoon_sdk.registry.opening.open_source", lambda *_, **__: made)
    return made


def client_of(world: World, folder: Path) -> RegistryClient:
    return RegistryClient(
        "world", trust=world.trust, cache_dir=folder, clock=world.clock, rng=Random(7)
    )


async def test_shards_that_a_mirror_withholds_hide_nobody_else(
    world: World, tmp_path: Path
) -> None:
    """The very ones that the client draws first are withheld; others take their place."""
    world.publish_shards(1, entries())
    honest, withheld = world.shard, set[str]()

    async def hostile(sha256: str, length: int) -> bytes | None:
        if len(withheld) < SHARDS_PER_MODEL:
            withheld.add(sha256)
        return None if sha256 in withheld else await honest(sha256, length)

    world.shard = hostile  # type: ignore[method-assign] # the test's own world
    snapshot = await client_of(world, tmp_path).snapshot("m")
    assert len(snapshot.broken) == SHARDS_PER_MODEL
    assert len({one.id[:2] for one in snapshot.providers}) == SHARDS_PER_MODEL


async def test_a_failed_refresh_costs_no_signature_checks_again(
    world: World, tmp_path: Path
) -> None:
    client = client_of(world, tmp_path)
    before = await client.snapshot()
    world.registry_raw = None
    with pytest.raises(RegistryUnavailableError):
        await client.refresh()
    after = await client.snapshot()
    assert after is not before  # it tells of the failure
    assert after.errors
    assert after.providers[0] is before.providers[0]


async def test_shards_of_old_indexes_do_not_fill_the_disk(world: World, tmp_path: Path) -> None:
    world.publish_shards(1, entries())
    client = client_of(world, tmp_path)
    await client.snapshot(everything=True)
    files = list(tmp_path.rglob("shards/*.json"))
    for path in files:
        old = path.stat().st_mtime - KEEP_UNLISTED - 60
        os.utime(path, (old, old))
    index = world.publish_shards(2, entries(3))
    await client.refresh()
    assert len(files) > len(index)
    assert {path.stem for path in tmp_path.rglob("shards/*.json")} == {
        str(line["sha256"]) for line in index
    } & {path.stem for path in files}
