"""A whole registry in memory, with every key at hand, so that attacks can be written as tests."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from cocoon_sdk.keys import Ed25519Key, format_public_key
from cocoon_sdk.registry.descriptor import sign_descriptor
from cocoon_sdk.registry.dsse import sign_envelope
from cocoon_sdk.registry.model import (
    REGISTRY_TYPE,
    ROOT_TYPE,
    Descriptor,
    Entry,
    ModelOffer,
    ModelPrice,
)
from cocoon_sdk.registry.sources import Fetched

NOW = 1_800_000_000
DAY = 86_400
HASH = "ab" * 32


def make_keys(label: str, count: int) -> list[Ed25519Key]:
    """The same keys in every run."""
    return [
        Ed25519Key(hashlib.sha256(f"{label} {number}".encode()).digest()) for number in range(count)
    ]


def descriptor_of(key: Ed25519Key, **changes: Any) -> Descriptor:
    """A descriptor that passes every check at NOW, but for `changes`."""
    price = ModelPrice(prompt=100, cached=10, completion=300)
    fields: dict[str, Any] = {
        "id": key.public_key.hex(),
        "network": "devnet/test",
        "seq": 5,
        "issued": NOW - 60,
        "expires": NOW + 7 * DAY,
        "endpoints": ["wss://provider.example"],
        "suites": [1],
        "payout": f"0:{HASH}",
        "code_hash": HASH,
        "min_deposit": 100_000_000,
        "close_delay": 3600,
        "window": 64,
        "models": [
            ModelOffer(id="m", hash=HASH, ctx=2048, price=price, tokenizer=HASH, tokens=HASH)
        ],
    }
    return Descriptor(**(fields | changes))


def _by_first_byte(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    slices: dict[str, list[Entry]] = {}
    for entry in entries:
        slices.setdefault(msgspec.json.decode(entry.d)["id"][:2], []).append(entry)
    return dict(sorted(slices.items()))


class World:
    """Keys of both roles, the files published so far, and a clock. It is itself a source of files."""

    on_this_machine = True
    locator = "world"

    def __init__(self, *, root_threshold: int = 2, registry_threshold: int = 2) -> None:
        self.now = NOW
        self.network = "devnet/test"
        self.root_keys = make_keys("root", 3)
        self.registry_keys = make_keys("registry", 3)
        self.root_threshold = root_threshold
        self.registry_threshold = registry_threshold
        self.provider = Ed25519Key(b"p" * 32)
        self.roots: dict[int, bytes] = {}
        self.registry_raw: bytes | None = None
        self.etag: str | None = None
        self.shards: dict[str, bytes] = {}  # by SHA-256
        self.asked: list[str] = []
        self.publish_root(1)
        self.publish_registry(1)

    def clock(self) -> int:
        return self.now

    @property
    def trust(self) -> list[str]:
        return [format_public_key(key.public_key) for key in make_keys("root", 3)]

    # Making files

    def root_fields(self, version: int, **changes: Any) -> dict[str, Any]:
        def role(keys: Sequence[Ed25519Key], threshold: int) -> dict[str, Any]:
            texts = [format_public_key(key.public_key) for key in keys]
            return {"threshold": threshold, "keys": texts}

        return {
            "network": self.network,
            "version": version,
            "expires": NOW + 365 * DAY,
            "root": role(self.root_keys, self.root_threshold),
            "registry": role(self.registry_keys, self.registry_threshold),
        } | changes

    def make_root(
        self, version: int, signers: Sequence[Ed25519Key] | None = None, **changes: Any
    ) -> bytes:
        payload = msgspec.json.encode(self.root_fields(version, **changes))
        return sign_envelope(payload, ROOT_TYPE, self.root_keys if signers is None else signers)

    def entry(self, **changes: Any) -> Entry:
        return sign_descriptor(self.provider, descriptor_of(self.provider, **changes))

    def registry_fields(self, version: int, **changes: Any) -> dict[str, Any]:
        return {
            "network": self.network,
            "version": version,
            "root_version": max(self.roots, default=1),
            "issued": self.now,
            "fresh_until": self.now + 3 * 3600,
            "expires": self.now + DAY,
            "prev": None if version == 1 else self.digest(),
            "entries": [msgspec.to_builtins(self.entry())],
        } | changes

    def make_registry(
        self, version: int, signers: Sequence[Ed25519Key] | None = None, **changes: Any
    ) -> bytes:
        payload = msgspec.json.encode(self.registry_fields(version, **changes))
        return self.sign_registry(payload, signers)

    def sign_registry(self, payload: bytes, signers: Sequence[Ed25519Key] | None = None) -> bytes:
        keys = self.registry_keys[:2] if signers is None else signers
        return sign_envelope(payload, REGISTRY_TYPE, keys)

    def digest(self) -> str:
        """SHA-256 of the payload of the registry published last."""
        assert self.registry_raw is not None
        envelope = msgspec.json.decode(self.registry_raw)
        payload = msgspec.convert(envelope["payload"], bytes)
        return hashlib.sha256(payload).hexdigest()

    # Publishing

    def publish_root(
        self, version: int, signers: Sequence[Ed25519Key] | None = None, **changes: Any
    ) -> bytes:
        self.roots[version] = self.make_root(version, signers, **changes)
        return self.roots[version]

    def publish_registry(
        self, version: int, signers: Sequence[Ed25519Key] | None = None, **changes: Any
    ) -> bytes:
        self.registry_raw = self.make_registry(version, signers, **changes)
        return self.registry_raw

    def publish_shards(
        self, version: int, entries: Sequence[Entry], **changes: Any
    ) -> list[dict[str, Any]]:
        """A registry in shards of these entries; returns what the index says of each."""
        index = [self.make_shard(name, slice_) for name, slice_ in _by_first_byte(entries).items()]
        self.publish_registry(version, entries=None, shards=index, **changes)
        return index

    def make_shard(self, name: str, entries: Sequence[Entry], **changes: Any) -> dict[str, Any]:
        """Put a shard beside the registry; returns its line of the index."""
        raw = msgspec.json.encode(entries)
        digest = hashlib.sha256(raw).hexdigest()
        self.shards[digest] = raw
        models = Counter(
            model["id"] for entry in entries for model in msgspec.json.decode(entry.d)["models"]
        )
        fields = {"name": name, "length": len(raw), "sha256": digest, "n": len(entries)}
        return fields | {"models": dict(models)} | changes

    # The source

    def check(self) -> None:
        pass

    def has_changed(self) -> bool:
        return False

    async def registry(self, etag: str | None) -> Fetched | None:
        from cocoon_sdk.errors import RegistryUnavailableError

        self.asked.append("registry.json")
        if self.registry_raw is None:
            raise RegistryUnavailableError("the world is down")
        if etag is not None and etag == self.etag:
            return None
        return Fetched(self.registry_raw, self.etag)

    async def root(self, version: int | None) -> bytes | None:
        self.asked.append("root.json" if version is None else f"{version}.root.json")
        return self.roots.get(max(self.roots, default=0) if version is None else version)

    async def shard(self, sha256: str, length: int) -> bytes | None:
        self.asked.append(f"shards/{sha256}.json")
        return self.shards.get(sha256)
