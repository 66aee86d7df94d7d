"""A registry of 100,000 providers: in shards, as one file, and what that holds of memory.

The peer does what no client can do without: parse the same bytes once, without types, hash them, and
verify the same signatures with bare libsodium.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import msgspec
from nacl.bindings import crypto_sign_open

from benchmarks.harness import FULL, Effort, Figure, Goal, compare, figure
from benchmarks.registry_files import NOW, Files, make_files
from cocoon_sdk.registry import verify
from cocoon_sdk.registry.dsse import pae
from cocoon_sdk.registry.listed import SeenSequences, origin_of
from cocoon_sdk.registry.model import PROVIDER_TYPE, REGISTRY_TYPE
from cocoon_sdk.registry.shards import read_shard
from cocoon_sdk.registry.snapshot import Snapshot, make_snapshot
from cocoon_sdk.registry.trust import PinnedRoot
from cocoon_sdk.registry.verify import TrustedSet, VerifiedRegistry

PROVIDERS = 100_000
CANDIDATES = 8
WARM = 20  # looks at the shards in one measurement
SINGLE_PAIRS = 3  # of seconds each
UNLIMITED = 1 << 30  # clients refuse a file of this many providers for its size
STATUS = Path("/proc/self/status")
PEER = "msgspec without types, bare Ed25519"


def look_at_shards(files: Files, trusted: TrustedSet) -> None:
    """Verify the index, read one shard, verify eight descriptors: what a new request may cost."""
    registry = trusted.update_registry(files.index, NOW)
    make_snapshot(registry)
    listing = read_shard(files.shard, files.line)
    origin = origin_of(registry, SeenSequences())
    providers = {provider.id: provider for provider in origin.providers(listing)}
    for name in files.candidates:
        providers[name].verify(NOW)


def look_at_file(raw: bytes, trusted: TrustedSet) -> tuple[VerifiedRegistry, Snapshot]:
    """Verify the file with all providers in it; what a client then holds, the file among it."""
    with mock.patch.object(verify, "MAX_REGISTRY_BYTES", UNLIMITED):
        registry = trusted.update_registry(raw, NOW)
    return registry, make_snapshot(registry)


class Peer:
    """Envelopes and entries by hand, with the keys of the root."""

    def __init__(self, root: bytes) -> None:
        payload = msgspec.json.decode(base64.b64decode(msgspec.json.decode(root)["payload"]))
        texts = payload["registry"]["keys"]
        self._keys = [bytes.fromhex(text.removeprefix("ed25519:")) for text in texts]

    def file(self, raw: bytes) -> Any:
        """The payload of an envelope after two signatures."""
        envelope = msgspec.json.decode(raw)
        payload = base64.b64decode(envelope["payload"])
        message = pae(REGISTRY_TYPE, payload)
        hashlib.sha256(payload).digest()
        for key, one in zip(self._keys, envelope["signatures"], strict=False):
            crypto_sign_open(base64.b64decode(one["sig"]) + message, key)
        return msgspec.json.decode(payload)

    def shards(self, files: Files) -> None:
        """An index, one shard, and the descriptors of the candidates."""
        self.file(files.index)
        hashlib.sha256(files.shard).digest()
        left = set(files.candidates)
        for entry in msgspec.json.decode(files.shard):
            descriptor = msgspec.json.decode(entry["d"])
            if descriptor["id"] in left:
                message = pae(PROVIDER_TYPE, entry["d"].encode())
                key = bytes.fromhex(descriptor["id"])
                crypto_sign_open(base64.b64decode(entry["s"]) + message, key)


def run(effort: Effort = FULL) -> list[Figure]:
    """Time of one core for shards and file, memory for the file."""
    providers, warm = effort.of(PROVIDERS), effort.of(WARM)
    files = make_files(providers, CANDIDATES)
    trusted, peer = TrustedSet(PinnedRoot(files.root)), Peer(files.root)

    def shards() -> float:
        for _ in range(warm):
            look_at_shards(files, trusted)
        return warm

    def peer_shards() -> float:
        for _ in range(warm):
            peer.shards(files)
        return warm

    def single() -> float:
        look_at_file(files.single, TrustedSet(PinnedRoot(files.root)))
        return 1

    def peer_single() -> float:
        peer.file(files.single)
        return 1

    return [
        compare(
            f"{providers:,} providers: index, one shard, {CANDIDATES} descriptors", PEER, "ms",
            shards, peer_shards, effort=effort, clock=time.process_time, each=1e3,
            goal=Goal("ours", 3.0),
        ),
        compare(
            f"{providers:,} providers in one file of {len(files.single) >> 20} MiB", PEER, "ms",
            single, peer_single, effort=Effort(min(effort.pairs, SINGLE_PAIRS)),
            clock=time.process_time, each=1e3, goal=Goal("ours", 1000.0),
        ),
        *_memory(files),
    ]  # fmt: skip


def _memory(files: Files) -> list[Figure]:
    """Of processes that read the one file and keep what they made of it. It hardly varies: one pair."""
    if not STATUS.exists():
        return []  # no Linux
    with tempfile.TemporaryDirectory() as folder:
        for name in ("root", "single"):
            (Path(folder) / name).write_bytes(getattr(files, name))
        ours, peer = _child("ours", folder), _child("peer", folder)
    return [
        figure(f"its memory, {kind}", PEER, "MiB", [(ours[at], peer[at])], less=True)
        for at, kind in enumerate(("kept", "at the highest"))
    ]


def _child(side: Literal["ours", "peer"], folder: str) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.registry_memory", side, folder],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    kept, highest = msgspec.json.decode(done.stdout)
    return kept, highest
