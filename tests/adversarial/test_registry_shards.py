"""Threats.md, "Registry": shards that are swapped, extended, cut, unknown, or otherwise not as signed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from registry_world import NOW, World, descriptor_of, make_keys

from cocoon_sdk.errors import RegistryFormatError
from cocoon_sdk.registry.descriptor import sign_descriptor
from cocoon_sdk.registry.model import MAX_SHARD_BYTES, Entry, Shard
from cocoon_sdk.registry.shards import read_shard
from cocoon_sdk.registry.trust import parse_trust
from cocoon_sdk.registry.verify import TrustedSet


def slices() -> tuple[World, list[Shard]]:
    """A world whose registry is in shards, and what its index says of them."""
    world = World()
    entries = [sign_descriptor(key, descriptor_of(key)) for key in make_keys("listed", 12)]
    return world, [msgspec.convert(one, Shard) for one in world.publish_shards(1, entries)]


def bound(raw: bytes, shard: Shard, **changes: Any) -> Shard:
    """What an index would say that binds other bytes."""
    fields = {"length": len(raw), "sha256": hashlib.sha256(raw).hexdigest()} | changes
    return msgspec.structs.replace(shard, **fields)


def test_swapped() -> None:
    world, (first, second, *_) = slices()
    other = world.shards[second.sha256]
    with pytest.raises(RegistryFormatError, match=r"SHA-256|bytes"):
        read_shard(other, first)
    with pytest.raises(RegistryFormatError, match="SHA-256"):
        read_shard(other, msgspec.structs.replace(first, length=len(other)))


@pytest.mark.parametrize(
    "change", [lambda raw: raw + b" ", lambda raw: raw[:-1], lambda raw: b"", lambda raw: raw * 2]
)
def test_extended_or_cut(change: Callable[[bytes], bytes]) -> None:
    world, (shard, *_) = slices()
    with pytest.raises(RegistryFormatError, match="the index says"):
        read_shard(change(world.shards[shard.sha256]), shard)


def test_every_byte_matters() -> None:
    world, (shard, *_) = slices()
    raw = world.shards[shard.sha256]
    for position in range(0, len(raw), 11):
        flipped = bytearray(raw)
        flipped[position] ^= 1
        with pytest.raises(RegistryFormatError, match="SHA-256"):
            read_shard(bytes(flipped), shard)


def test_a_provider_that_belongs_elsewhere() -> None:
    """Otherwise one provider could stand in two shards, and the newer entry be hidden."""
    world, (first, second, *_) = slices()
    raw = world.shards[first.sha256]
    with pytest.raises(RegistryFormatError, match="belongs elsewhere"):
        read_shard(raw, bound(raw, first, name=second.name))


def test_a_provider_twice() -> None:
    world, (shard, *_) = slices()
    entries = msgspec.json.decode(world.shards[shard.sha256], type=list[Entry])
    raw = msgspec.json.encode([*entries, entries[0]])
    with pytest.raises(RegistryFormatError, match="twice"):
        read_shard(raw, bound(raw, shard, n=shard.n + 1, models={"m": shard.n + 1}))


def test_other_counts_than_the_index_says() -> None:
    world, (shard, *_) = slices()
    raw = world.shards[shard.sha256]
    with pytest.raises(RegistryFormatError, match="entries, the index says"):
        read_shard(raw, msgspec.structs.replace(shard, n=shard.n + 1))
    for models in ({}, {"other": 1}, {"m": shard.n, "other": 1}):
        with pytest.raises(RegistryFormatError, match="other models"):
            read_shard(raw, msgspec.structs.replace(shard, models=models))


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b"null",
        b'[{"d":"","s":"","x":1}]',
        b'[{"d":"","s":"","d":""}]',
        b"[" * 100_000,
        b'[{"d":"\xff","s":""}]',
        b"[]]",
    ],
)
def test_malformed_although_signed(raw: bytes) -> None:
    _, (shard, *_) = slices()
    with pytest.raises(RegistryFormatError):
        read_shard(raw, bound(raw, shard))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "../../x"}, "parse"),
        ({"name": "AB"}, "parse"),
        ({"name": "abc"}, "parse"),
        ({"length": MAX_SHARD_BYTES + 1}, "parse"),
        ({"length": -1}, "parse"),
        ({"sha256": "x"}, "parse"),
        ({"models": {"m": 99}}, "more often"),
        ({"models": {"m": 0}}, "parse"),
        ({"surprise": 1}, "parse"),
    ],
)
def test_an_index_that_no_honest_signer_makes(changes: dict[str, Any], says: str) -> None:
    world, _ = slices()
    trusted = TrustedSet(parse_trust(world.trust))
    trusted.update_root(world.roots[1])
    line = world.make_shard("00", []) | changes
    raw = world.make_registry(1, entries=None, shards=[line])
    with pytest.raises(RegistryFormatError, match=says):
        trusted.update_registry(raw, NOW)
    assert trusted.seen is None


def test_an_index_that_names_a_shard_twice_or_too_many() -> None:
    world, _ = slices()
    trusted = TrustedSet(parse_trust(world.trust))
    trusted.update_root(world.roots[1])
    line = world.make_shard("00", [])
    for shards in ([line, line], [line] * 257):
        raw = world.make_registry(1, entries=None, shards=shards)
        with pytest.raises(RegistryFormatError):
            trusted.update_registry(raw, NOW)


def test_a_name_that_borrows_digits_of_the_hash() -> None:
    """Together they look right; the file fetched and the providers looked for would be others."""
    world = World()
    line = world.publish_shards(1, [world.entry()])[0]
    both = line["name"] + line["sha256"]
    for cut in (0, 1, 3, 66):
        with pytest.raises(msgspec.ValidationError, match="two hex digits"):
            msgspec.convert(line | {"name": both[:cut], "sha256": both[cut:]}, Shard)
