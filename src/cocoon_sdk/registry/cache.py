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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
from msgspec import Struct

from cocoon_sdk.errors import RegistryEquivocationError, StoreError
from cocoon_sdk.registry.files import read_bytes, read_json, replace_file
from cocoon_sdk.registry.verified import Seen
from cocoon_sdk.store.lock import file_lock


@dataclass(frozen=True, slots=True)
class Remembered:
    """The content of the cache for one (trust, network).

    `anchored` is the digest of the newest registry that the anchor on chain confirmed.
    """

    network: str
    roots: tuple[bytes, ...] = ()
    seen: Seen | None = None
    envelope: bytes | None = None
    seqs: dict[str, int] = field(default_factory=dict)
    anchored: bytes | None = None


class _State(Struct, kw_only=True):
    network: str
    roots: list[bytes]
    root_version: int | None = None
    version: int | None = None
    digest: bytes | None = None
    seqs: dict[str, int] = {}
    anchored: bytes | None = None

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
    """

    def __init__(self, base: Path | None, trust_id: str) -> None:
        self._folder = None if base is None else base / trust_id[:32]

    def network_of(self, locator: str) -> str | None:
        """The network of a source that gave an accepted registry, in this run or an earlier one."""
        note = self._read_note(locator)
        return note.network if note else None

    def etag(self, locator: str, envelope_sha256: bytes) -> str | None:
        """The tag by which a source recognises this very envelope."""
        note = self._read_note(locator)
        return note.etag if note and note.envelope_sha256 == envelope_sha256 else None

    def note(self, locator: str, network: str, envelope_sha256: bytes, etag: str | None) -> None:
        """Remember that a source gave an accepted registry.

        Raises:
            StoreError: the folder cannot be written.
        """
        if self._folder is None:
            return
        note = _SourceNote(network=network, etag=etag, envelope_sha256=envelope_sha256)
        path = self._note_path(self._folder, locator)
        with _explained(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, msgspec.json.encode(note))

    def folder(self, network: str) -> Path | None:
        """Where things of one network lie; None without a base folder."""
        return None if self._folder is None else self._network_folder(self._folder, network)

    def load(self, network: str) -> Remembered | None:
        """What is known of `network`; None if nothing is."""
        folder = self.folder(network)
        state = None if folder is None else read_json(folder / "state.json", _State)
        if folder is None or state is None or state.network != network:
            return None
        envelope = read_bytes(folder / "registry.json")
        return Remembered(
            network, tuple(state.roots), state.seen, envelope, state.seqs, state.anchored
        )

    def store(self, new: Remembered) -> Remembered:
        """Write what is newer than the files, keep what is not, and return the outcome.

        Workers that refresh at the same time may arrive in any order; floors only ever rise.

        Raises:
            RegistryEquivocationError: another worker accepted the same version with other content.
            StoreError: the folder cannot be written, or is locked for too long.
        """
        folder = self.folder(new.network)
        if folder is None:
            return new
        with _explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with file_lock(folder / "lock"):
                old = self.load(new.network)
                merged = _merge(old, new)
                # The envelope goes first: a crash in between leaves an old floor, which it passes.
                if merged.envelope is not None and (not old or merged.envelope != old.envelope):
                    replace_file(folder / "registry.json", merged.envelope)
                replace_file(folder / "state.json", msgspec.json.encode(_state(merged)))
        return merged

    def _read_note(self, locator: str) -> _SourceNote | None:
        if self._folder is None:
            return None
        return read_json(self._note_path(self._folder, locator), _SourceNote)

    @staticmethod
    def _note_path(folder: Path, locator: str) -> Path:
        name = hashlib.sha256(locator.encode()).hexdigest()[:32]
        return folder / "sources" / f"{name}.json"

    @staticmethod
    def _network_folder(folder: Path, network: str) -> Path:
        return folder / hashlib.sha256(network.encode()).hexdigest()[:32]


def _merge(old: Remembered | None, new: Remembered) -> Remembered:
    if old is None:
        return new
    seqs = dict(old.seqs)
    for provider, seq in new.seqs.items():
        seqs[provider] = max(seq, seqs.get(provider, 0))
    # A chain that only extends ours is another worker's progress; any other one did not hold.
    extends = old.roots[: len(new.roots)] == new.roots
    merged = replace(new, roots=old.roots if extends else new.roots, seqs=seqs)
    kept = replace(merged, seen=old.seen, envelope=old.envelope, anchored=old.anchored)
    if new.seen is None:
        return kept
    if old.seen is not None and old.seen[:2] == new.seen[:2] and old.seen != new.seen:
        raise RegistryEquivocationError(
            f"two different registries are signed as version {new.seen.version}: "
            f"{old.seen.digest.hex()} and {new.seen.digest.hex()}; tell others, do not use it",
            envelopes=tuple(one for one in (old.envelope, new.envelope) if one is not None),
        )
    if old.seen is not None and old.seen[:2] > new.seen[:2]:
        return kept
    return replace(
        merged,
        envelope=new.envelope if new.envelope is not None else old.envelope,
        anchored=new.anchored if new.anchored is not None else old.anchored,
    )


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"the registry cache {folder} cannot be written: {error.strerror or error}; "
            "set COCOON_HOME to a writable folder"
        ) from error


def _state(remembered: Remembered) -> _State:
    seen = remembered.seen
    return _State(
        network=remembered.network,
        roots=list(remembered.roots),
        root_version=seen.root_version if seen else None,
        version=seen.version if seen else None,
        digest=seen.digest if seen else None,
        seqs=remembered.seqs,
        anchored=remembered.anchored,
    )
