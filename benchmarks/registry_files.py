"""A large registry in memory: one file, and the same in shards."""

from __future__ import annotations

import itertools
import secrets
from dataclasses import dataclass

import msgspec

from cocoon_sdk.keys import Ed25519Key, format_public_key
from cocoon_sdk.operator.sharding import pack_shards
from cocoon_sdk.registry.descriptor import sign_descriptor
from cocoon_sdk.registry.dsse import sign_envelope
from cocoon_sdk.registry.model import (
    REGISTRY_TYPE,
    ROOT_TYPE,
    Descriptor,
    Entry,
    ModelOffer,
    ModelPrice,
    RegistryPayload,
    Role,
    RootPayload,
    Shard,
)

NOW = 1_800_000_000
DAY = 86_400
NETWORK = "devnet/bench"
MODELS = ("llama-3.3-70b-instruct", "qwen3-32b", "smollm2-135m-instruct")
HASH = "ab" * 32


@dataclass(frozen=True, slots=True)
class Files:
    """What a client would fetch. `candidates` are ids in the shard whose descriptors are signed."""

    root: bytes
    single: bytes
    index: bytes
    shard: bytes
    line: Shard
    candidates: tuple[str, ...]


def make_files(providers: int, candidates: int) -> Files:
    """A registry of so many providers, two of three keys.

    Only the candidates' own signatures are genuine: clients look at no others.
    """
    keys = _keys_of_one_shard(candidates)
    genuine = [sign_descriptor(key, _descriptor(key, number)) for number, key in enumerate(keys)]
    entries = {key.public_key.hex(): entry for key, entry in zip(keys, genuine, strict=True)}
    while len(entries) < providers:
        name, like = secrets.token_hex(32), len(entries) % candidates
        text = genuine[like].d.replace(keys[like].public_key.hex(), name)
        entries[name] = Entry(d=text, s=genuine[like].s)
    packed = {one.line.name: one for one in pack_shards(entries)}
    mine = packed[keys[0].public_key.hex()[:2]]
    root_keys, online = (tuple(Ed25519Key.generate() for _ in range(3)) for _ in range(2))
    root = RootPayload(
        network=NETWORK,
        version=1,
        expires=NOW + 365 * DAY,
        root=_role(root_keys),
        registry=_role(online),
    )
    return Files(
        root=sign_envelope(msgspec.json.encode(root), ROOT_TYPE, root_keys),
        single=_sign(online, entries=list(entries.values())),
        index=_sign(online, shards=[one.line for one in packed.values()]),
        shard=mine.raw,
        line=mine.line,
        candidates=tuple(key.public_key.hex() for key in keys),
    )


def _keys_of_one_shard(count: int) -> list[Ed25519Key]:
    first = Ed25519Key.generate()
    made = (Ed25519Key.generate() for _ in itertools.count())
    alike = (key for key in made if key.public_key[0] == first.public_key[0])
    return [first, *itertools.islice(alike, count - 1)]


def _descriptor(key: Ed25519Key, number: int) -> Descriptor:
    price = ModelPrice(prompt=200_000, cached=20_000, completion=900_000)
    offer = ModelOffer(
        id=MODELS[number % len(MODELS)], hash=HASH, ctx=32_768, price=price, tokenizer=HASH, tokens=HASH
    )  # fmt: skip
    return Descriptor(
        id=key.public_key.hex(), network=NETWORK, seq=5, issued=NOW - 60, expires=NOW + 7 * DAY,
        endpoints=["wss://provider.example"], suites=[1, 2], payout=f"0:{HASH}", code_hash=HASH,
        min_deposit=100_000_000, close_delay=3600, window=64, models=[offer],
    )  # fmt: skip


def _role(keys: tuple[Ed25519Key, ...]) -> Role:
    return Role(threshold=2, keys=[format_public_key(key.public_key) for key in keys])


def _sign(
    keys: tuple[Ed25519Key, ...],
    *,
    entries: list[Entry] | None = None,
    shards: list[Shard] | None = None,
) -> bytes:
    payload = RegistryPayload(
        network=NETWORK, version=1, root_version=1, issued=NOW, fresh_until=NOW + DAY // 8,
        expires=NOW + DAY, entries=entries, shards=shards,
    )  # fmt: skip
    return sign_envelope(msgspec.json.encode(payload), REGISTRY_TYPE, keys[:2])
