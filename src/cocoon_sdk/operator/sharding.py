"""Cutting a large list into shards (registry.md, "Fetch and cache").

The cut is by the first byte of the provider's id and the bytes are a function of the entries alone,
so a shard that nobody changed keeps its digest, and clients and mirrors keep their copy.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.registry.listing import list_entries
from cocoon_sdk.registry.model import MAX_SHARD_BYTES, Entry, Shard
from cocoon_sdk.registry.shards import shard_name

SHARD_ABOVE = 2_000  # entries; a single file of that size takes clients some 30 ms to verify


class PackedShard(NamedTuple):
    """A line of the index, and the file that it binds."""

    line: Shard
    raw: bytes


def pack_shards(entries: Mapping[str, Entry]) -> list[PackedShard]:
    """The shards of these entries (by provider id), in the order of their names; none is empty.

    Raises:
        ConfigError: a shard would be larger than clients read.
    """
    slices: defaultdict[str, list[Entry]] = defaultdict(list)
    for provider in sorted(entries):
        slices[shard_name(provider)].append(entries[provider])
    return [_pack(name, slices[name]) for name in sorted(slices)]


def _pack(name: str, entries: list[Entry]) -> PackedShard:
    raw = msgspec.json.encode(entries)
    if len(raw) > MAX_SHARD_BYTES:
        raise ConfigError(
            f"shard {name} would have {len(raw)} bytes, clients read {MAX_SHARD_BYTES}; "
            f"remove some of its {len(entries)} providers"
        )
    models = Counter(model for one in list_entries(entries).entries for model in set(one.models))
    line = Shard(
        name=name,
        length=len(raw),
        sha256=hashlib.sha256(raw).hexdigest(),
        n=len(entries),
        models=dict(sorted(models.items())),
    )
    return PackedShard(line, raw)
