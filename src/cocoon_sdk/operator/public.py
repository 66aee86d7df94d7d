"""The files that clients read, as they lie in an operator's folder and on a web server.

root.json, N.root.json   the root and every version of it
registry.json            the list, or the index of its shards
shards/<sha256>.json     slices of a large list, named by their content

A file appears before the one that names it (shards and roots before the registry), so whoever reads
the folder at any moment, even after a crash in the middle of a change, finds all that he needs.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.operator.files import make_folder, read_file, write_file
from cocoon_sdk.registry.model import Shard
from cocoon_sdk.registry.shards import SHARD_FOLDER, shard_file
from cocoon_sdk.registry.sources import REGISTRY_FILE, ROOT_FILE, root_file
from cocoon_sdk.store.lock import file_lock

_SHARD_FILE = re.compile(r"[0-9a-f]{64}\.json")


class PublicFolder:
    """Reads and writes public files; knows nothing of what is right."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other commands out while the folder changes.

        Raises:
            ConfigError: there is no such folder, or a file in it cannot be read or written.
            StoreError: another command holds it for long.
        """
        if not self.path.is_dir():
            raise ConfigError(f"there is no registry at {self.path}; run: cocoon registry init")
        try:
            with file_lock(self.path / ".lock"):
                yield
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be used: {error}") from error

    def has_root(self) -> bool:
        """Whether there is a root; a folder whose first one waits for signatures has none."""
        return (self.path / ROOT_FILE).exists() or bool(self.read_roots())

    def read_root(self) -> bytes:
        """The newest root. A crash may have left root.json one version behind.

        Raises:
            ConfigError: the folder holds none.
        """
        roots = self.read_roots()
        raw = roots[max(roots)] if roots else read_file(self.path / ROOT_FILE)
        if raw is None:
            raise ConfigError(f"there is no registry at {self.path}; run: cocoon registry init")
        return raw

    def read_roots(self) -> dict[int, bytes]:
        """Every version of the root, the oldest first."""
        numbers = (path.name.partition(".")[0] for path in self.path.glob(f"*.{ROOT_FILE}"))
        versions = sorted(int(number) for number in numbers if number.isdecimal())
        found = {version: read_file(self.path / root_file(version)) for version in versions}
        return {version: raw for version, raw in found.items() if raw is not None}

    def write_root(self, raw: bytes, version: int) -> None:
        """Store a root under its version and as the newest."""
        self.write(root_file(version), raw)
        self.write(ROOT_FILE, raw)

    def read_registry(self) -> bytes | None:
        """The newest registry.json, None before the first signing."""
        return read_file(self.path / REGISTRY_FILE)

    def write_registry(self, raw: bytes) -> None:
        """Store a registry as the newest; the shards that it names must lie here already."""
        self.write(REGISTRY_FILE, raw)

    def read_shard(self, sha256: str) -> bytes | None:
        """A shard, None where it is missing or damaged."""
        raw = read_file(self.path / shard_file(sha256))
        return raw if raw is not None and hashlib.sha256(raw).hexdigest() == sha256 else None

    def write_shards(self, shards: Mapping[str, bytes]) -> list[str]:
        """Store shards by their SHA-256; the names of those that were not here yet."""
        missing = {name: raw for name, raw in shards.items() if self.read_shard(name) is None}
        if missing:
            make_folder(self.path / SHARD_FOLDER)
        for name, raw in missing.items():
            self.write(shard_file(name), raw)
        return [shard_file(name) for name in missing]

    def retire_shards(self, shards: Sequence[Shard], *, now: int) -> None:
        """Start the time of grace of shards, before the index that drops them is written.

        Modification times are the memory: a crash leaves shards that live longer, never shorter.
        """
        for shard in shards:
            path = self.path / shard_file(shard.sha256)
            if path.exists():
                os.utime(path, (now, now))

    def prune_shards(self, keep: Sequence[Shard], *, before: int) -> int:
        """Delete shards that `keep` does not name and that retired before this unix time; how many."""
        kept = {Path(shard_file(shard.sha256)).name for shard in keep}
        pruned = 0
        for path in self.path.glob(shard_file("*")):
            if not _SHARD_FILE.fullmatch(path.name):
                continue  # somebody else's
            if path.name not in kept and path.stat().st_mtime < before:
                path.unlink()
                pruned += 1
        return pruned

    def write(self, name: str, content: bytes) -> None:
        """Replace one file, unless it holds the very content already."""
        path = self.path / name
        if read_file(path) != content:
            write_file(path, content)
