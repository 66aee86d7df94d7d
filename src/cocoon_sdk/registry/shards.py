"""Slices of a large registry: which one a provider is in, reading one, choosing some (registry.md).

A shard is a JSON array of entries in a file that the signed index binds by length and SHA-256, so a
mirror can withhold one but not alter it. Its name is the first byte of the ids in it.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from random import Random

from cocoon_sdk.errors import RegistryFormatError
from cocoon_sdk.registry.listing import Listing, list_entries
from cocoon_sdk.registry.model import MAX_SHARD_BYTES, Entry, Shard
from cocoon_sdk.registry.strict import decode_strict

SHARD_FOLDER = "shards"

_NAMED = re.compile(r"[0-9a-f]{2,64}")


def shard_name(provider: str) -> str:
    """The shard that a provider is in, by its id (hex) or at least the first two digits of it.

    Raises:
        RegistryFormatError: not the beginning of an id.
    """
    if _NAMED.fullmatch(provider) is None:
        raise RegistryFormatError(f"{provider[:80]!a} is not a provider id of 64 hex digits")
    return provider[:2]


def shard_file(sha256: str) -> str:
    """Where a shard lies, beside the index: its content is its name, so an index never races it."""
    return f"{SHARD_FOLDER}/{sha256}.json"


def read_shard(raw: bytes, shard: Shard) -> Listing:
    """The entries of a shard, as the signed index promised them.

    Raises:
        RegistryFormatError: other bytes than were signed, a provider that belongs elsewhere or is
            listed twice, or counts that differ from the index.
    """
    what = f"shard {shard.name}"
    if len(raw) != shard.length:
        raise RegistryFormatError(f"{what} has {len(raw)} bytes, the index says {shard.length}")
    digest = hashlib.sha256(raw).hexdigest()
    if digest != shard.sha256:
        raise RegistryFormatError(f"{what} has SHA-256 {digest}, the index says {shard.sha256}")
    entries = decode_strict(raw, list[Entry], what=what, limit=MAX_SHARD_BYTES)
    listing = list_entries(entries)
    for one in listing.entries:
        if not one.id.startswith(shard.name):
            raise RegistryFormatError(f"{what} lists provider {one.id}, which belongs elsewhere")
    if len(entries) != shard.n:
        raise RegistryFormatError(f"{what} has {len(entries)} entries, the index says {shard.n}")
    models = Counter([model for one in listing.entries for model in set(one.models)])
    if models != shard.models:
        raise RegistryFormatError(f"{what} lists other models than the index says")
    return listing


def shards_of_model(shards: Sequence[Shard], model: str, rng: Random) -> list[Shard]:
    """The shards that list `model`, in random order, one with more offers sooner.

    Taking the first few is a sample in which every provider of the model is about as likely. Which
    shards a client asks for tells a mirror little about the model.
    """
    # Efraimidis and Spirakis: the largest u^(1/weight) first is a weighted draw without replacement.
    drawn = [
        (rng.random() ** (1 / shard.models[model]), shard)
        for shard in shards
        if model in shard.models
    ]
    return [shard for _, shard in sorted(drawn, key=lambda pair: pair[0], reverse=True)]
