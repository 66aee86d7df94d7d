"""The cut into shards: by the first byte, the same bytes for the same entries, and readable."""

from __future__ import annotations

import random

import pytest
from registry_world import HASH, NOW, descriptor_of, make_keys

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.operator import sharding
from cocoon_sdk.operator.sharding import pack_shards
from cocoon_sdk.registry.descriptor import sign_descriptor
from cocoon_sdk.registry.model import Entry, ModelOffer, ModelPrice
from cocoon_sdk.registry.shards import read_shard

KEYS = make_keys("shard", 40)
PRICE = ModelPrice(prompt=1, cached=1, completion=1)


def offers(*names: str) -> list[ModelOffer]:
    return [
        ModelOffer(id=name, hash=HASH, ctx=1, price=PRICE, tokenizer=HASH, tokens=HASH)
        for name in names
    ]


def listed(count: int, **changes: object) -> dict[str, Entry]:
    return {
        key.public_key.hex(): sign_descriptor(key, descriptor_of(key, **changes))
        for key in KEYS[:count]
    }


def test_every_provider_is_in_the_shard_of_its_first_byte_and_clients_read_it() -> None:
    entries = listed(40)
    packed = pack_shards(entries)
    assert [shard.line.name for shard in packed] == sorted({name[:2] for name in entries})
    read = {}
    for shard in packed:
        listing = read_shard(shard.raw, shard.line)
        assert listing.unreadable == 0
        read |= {one.id: one.entry for one in listing.entries}
    assert read == entries


def test_the_bytes_depend_on_the_entries_alone() -> None:
    entries = listed(40)
    shuffled = list(entries.items())
    random.Random(1).shuffle(shuffled)
    assert pack_shards(dict(shuffled)) == pack_shards(entries)


def test_a_change_touches_one_shard_only() -> None:
    entries = listed(40)
    key = KEYS[3]
    changed = entries | {
        key.public_key.hex(): sign_descriptor(key, descriptor_of(key, seq=6, issued=NOW))
    }
    before = {shard.line.name: shard.line.sha256 for shard in pack_shards(entries)}
    after = {shard.line.name: shard.line.sha256 for shard in pack_shards(changed)}
    assert {name for name in before if before[name] != after[name]} == {key.public_key.hex()[:2]}


def test_models_are_counted_once_for_each_provider() -> None:
    packed = pack_shards(listed(1, models=offers("b", "a")))
    assert packed[0].line.models == {"a": 1, "b": 1}
    assert list(packed[0].line.models) == ["a", "b"]  # the index is a function of the entries too
    assert packed[0].line.n == 1


def test_no_entries_are_no_shards() -> None:
    assert pack_shards({}) == []


def test_a_shard_that_clients_would_not_read_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "MAX_SHARD_BYTES", 100)
    with pytest.raises(ConfigError, match="clients read 100; remove some of its 1 providers"):
        pack_shards(listed(1))
