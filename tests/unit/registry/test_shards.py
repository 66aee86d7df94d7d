"""Slices of a large registry: names, counts, and the draw. Hostile ones are in tests/adversarial."""

from __future__ import annotations

import hashlib
from random import Random

import msgspec
import pytest
from registry_world import HASH, World, descriptor_of, make_keys

from cocoon_sdk.errors import RegistryFormatError
from cocoon_sdk.registry.descriptor import sign_descriptor
from cocoon_sdk.registry.model import Entry, Shard
from cocoon_sdk.registry.shards import read_shard, shard_file, shard_name, shards_of_model


def entries_of(count: int) -> list[Entry]:
    return [sign_descriptor(key, descriptor_of(key)) for key in make_keys("listed", count)]


def shard_of(name: str, **models: int) -> Shard:
    return Shard(name=name, length=2, sha256=HASH, n=max([0, *models.values()]), models=models)


def test_a_provider_is_in_the_shard_of_its_first_byte() -> None:
    assert shard_name("c0" + "ff" * 31) == "c0"
    assert shard_name("0a") == "0a"
    for text in ("", "a", "C0" + "ff" * 31, "zz", "../etc", "ab" * 33, "ab\n"):
        with pytest.raises(RegistryFormatError, match="provider id"):
            shard_name(text)


def test_a_shard_lies_under_its_content() -> None:
    assert shard_file(HASH) == f"shards/{HASH}.json"


def test_a_shard_that_is_what_the_index_says() -> None:
    world, entries = World(), entries_of(40)
    read = []
    for fields in world.publish_shards(1, entries):
        shard = msgspec.convert(fields, Shard)
        listing = read_shard(world.shards[shard.sha256], shard)
        assert all(one.id.startswith(shard.name) for one in listing.entries)
        assert (len(listing.entries), listing.unreadable) == (shard.n, 0)
        read += [one.entry for one in listing.entries]
    assert sorted(one.d for one in read) == sorted(one.d for one in entries)


def test_what_names_nobody_is_counted_and_hurts_nobody() -> None:
    world = World()
    (entry,) = entries_of(1)
    name = msgspec.json.decode(entry.d)["id"][:2]
    fields = world.make_shard(name, [entry])
    raw = msgspec.json.encode([entry, Entry(d="{}", s="")])
    fields |= {"length": len(raw), "sha256": hashlib.sha256(raw).hexdigest(), "n": 2}
    listing = read_shard(raw, msgspec.convert(fields, Shard))
    assert (len(listing.entries), listing.unreadable) == (1, 1)


def test_shards_of_a_model_are_drawn_by_how_many_offers_they_hold() -> None:
    shards = [shard_of("00", m=90), shard_of("01", m=10), shard_of("02", other=5)]
    rng = Random(1)
    first = [shards_of_model(shards, "m", rng)[0].name for _ in range(2000)]
    assert 0.86 < first.count("00") / len(first) < 0.94
    drawn = shards_of_model(shards, "m", rng)
    assert sorted(shard.name for shard in drawn) == ["00", "01"]
    assert shards_of_model(shards, "nowhere", rng) == []
