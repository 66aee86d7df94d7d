"""What is remembered between runs: the root chain, the newest registry, the floors (registry.md).

    <base>/<trust>/sources/<locator>.json     network and ETag of one source
    <base>/<trust>/<network>/state.json       root chain, floor, sequence numbers
    <base>/<trust>/<network>/registry.json    the newest envelope
    <base>/<trust>/<network>/lock
    <base>/<trust>/<network>/shards/…         see shelf.py

Two sources that answer to the same root keys and network share one floor, so neither can show an
older file than the other did. Nothing here is believed because it is here: a client verifies the
chain and the envelope again, and only the floors count by themselves.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec import Struct

from cocoon_sdk.errors import RegistryEquivocationError, StoreError
from cocoon_sdk.registry.files import read_bytes, read_json, replace_file
from cocoon_sdk.registry.verify import Seen
from cocoon_sdk.store.lock import file_lock


@dataclass(frozen=True, slots=True)
class Remembered:
    """The content of the cache for one (trust, network)."""

    network: str
    roots: tuple[bytes, ...] = ()
    seen: Seen | None = None
    envelope: bytes | None = None
    etag: str | None = None  # of the source that was asked for, and only for `envelope`
    seqs: dict[str, int] = field(default_factory=dict)


class _State(Struct, kw_only=True):
    network: str
    roots: list[bytes]
    root_version: int | None = None
    version: int | None = None
    digest: bytes | None = None
    seqs: dict[str, int] = {}

    @property
    def seen(self) -> Seen | None:
        if self.root_version is None or self.version is None or self.digest is None:
            return None
        return Seen(self.root_version, self.version, self.digest)


class _SourceNote(Struct, kw_only=True):
    network: str
    etag: str | None = None
    envelope_sha256: bytes = b""


class RegistryCache:
    """The cache of one trust; without a base folder it remembers nothing.

    Args:
        base: the folder of all registry caches, or None.
        trust_id: from `TrustKeys.id` or `PinnedRoot.id`.
        locator: names the source.
    """

    def __init__(self, base: Path | None, trust_id: str, locator: str) -> None:
        self._folder = None if base is None else base / trust_id[:32]
        self._note_name = f"{hashlib.sha256(locator.encode()).hexdigest()[:32]}.json"

    def knows_source(self) -> bool:
        """Whether this source gave an accepted registry in this run or an earlier one."""
        return self._read_note() is not None

    def folder(self, network: str) -> Path | None:
        """Where things of one network lie; None without a base folder."""
        return None if self._folder is None else self._network_folder(self._folder, network)

    def load(self, network: str | None = None) -> Remembered | None:
        """What is known of `network`, or of the network that this source had; None if nothing is."""
        note = self._read_note()
        network = network or (note.network if note else None)
        if self._folder is None or network is None:
            return None
        folder = self._network_folder(self._folder, network)
        state = read_json(folder / "state.json", _State)
        if state is None or state.network != network:
            return None
        envelope = read_bytes(folder / "registry.json")
        etag = None
        if note is not None and envelope is not None and note.network == network:
            same = hashlib.sha256(envelope).digest() == note.envelope_sha256
            etag = note.etag if same else None
        return Remembered(network, tuple(state.roots), state.seen, envelope, etag, state.seqs)

    def store(self, new: Remembered) -> Remembered:
        """Write what is newer than the files, keep what is not, and return the outcome.

        Workers that refresh at the same time may arrive in any order; floors only ever rise.

        Raises:
            RegistryEquivocationError: another worker accepted the same version with other content.
            StoreError: the folder cannot be written, or is locked for too long.
        """
        if self._folder is None:
            return new
        folder = self._network_folder(self._folder, new.network)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (self._folder / "sources").mkdir(exist_ok=True)
            with file_lock(folder / "lock"):
                old = self.load(new.network)
                merged = self._merge(old, new)
                # The envelope goes first: a crash in between leaves an old floor, which it passes.
                if merged.envelope is not None and (not old or merged.envelope != old.envelope):
                    replace_file(folder / "registry.json", merged.envelope)
                replace_file(folder / "state.json", msgspec.json.encode(_state(merged)))
                if new.envelope is not None:
                    self._write_note(self._folder, merged)
        except OSError as error:
            raise StoreError(
                f"the registry cache {folder} cannot be written: {error.strerror or error}; "
                "set COCOON_HOME to a writable folder"
            ) from error
        return merged

    def _merge(self, old: Remembered | None, new: Remembered) -> Remembered:
        if old is None:
            return new
        seqs = dict(old.seqs)
        for provider, seq in new.seqs.items():
            seqs[provider] = max(seq, seqs.get(provider, 0))
        # A chain that only extends ours is another worker's progress; any other one did not hold.
        extends = old.roots[: len(new.roots)] == new.roots
        roots = old.roots if extends else new.roots
        if old.seen is not None and new.seen is not None and old.seen != new.seen:
            if old.seen[:2] == new.seen[:2]:
                raise RegistryEquivocationError(
                    f"two different registries are signed as version {new.seen.version}: "
                    f"{old.seen.digest.hex()} and {new.seen.digest.hex()}; tell others, "
                    "do not use it"
                )
            if old.seen[:2] > new.seen[:2]:
                return Remembered(new.network, roots, old.seen, old.envelope, old.etag, seqs)
        if new.seen is None:
            return Remembered(new.network, roots, old.seen, old.envelope, old.etag, seqs)
        envelope = new.envelope if new.envelope is not None else old.envelope
        return Remembered(new.network, roots, new.seen, envelope, new.etag, seqs)

    def _read_note(self) -> _SourceNote | None:
        if self._folder is None:
            return None
        return read_json(self._folder / "sources" / self._note_name, _SourceNote)

    def _write_note(self, folder: Path, remembered: Remembered) -> None:
        digest = hashlib.sha256(remembered.envelope or b"").digest()
        note = _SourceNote(network=remembered.network, etag=remembered.etag, envelope_sha256=digest)
        replace_file(folder / "sources" / self._note_name, msgspec.json.encode(note))

    @staticmethod
    def _network_folder(folder: Path, network: str) -> Path:
        return folder / hashlib.sha256(network.encode()).hexdigest()[:32]


def _state(remembered: Remembered) -> _State:
    seen = remembered.seen
    return _State(
        network=remembered.network,
        roots=list(remembered.roots),
        root_version=seen.root_version if seen else None,
        version=seen.version if seen else None,
        digest=seen.digest if seen else None,
        seqs=remembered.seqs,
    )
