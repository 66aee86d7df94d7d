"""The shards that a client holds: fetched when one is first needed, kept by content, dropped when old.

    <cache of the network>/shards/<sha256>.json     shared by processes; a name is a content

A shard that cannot be had makes its own providers unavailable and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from cocoon_sdk.errors import RegistryError, RegistryFormatError, RegistryUnavailableError
from cocoon_sdk.registry.files import read_bytes, replace_file
from cocoon_sdk.registry.listing import Listing
from cocoon_sdk.registry.model import Shard
from cocoon_sdk.registry.shards import SHARD_FOLDER, read_shard
from cocoon_sdk.registry.sources import Source

RETRY_SHARD_AFTER = 30  # seconds before a shard that could not be had is asked for again
PARALLEL = 4
KEEP_UNLISTED = 3600  # seconds; another process may still hold the index that names a file

_log = logging.getLogger(__name__)


class ShardShelf:
    """The loaded shards of one registry in one process.

    Args:
        sources: where to ask, in this order.
        clock: unix seconds.
    """

    def __init__(self, sources: Callable[[], Sequence[Source]], clock: Callable[[], int]) -> None:
        self._sources = sources
        self._clock = clock
        self._folder: Path | None = None
        self._index: dict[str, Shard] = {}  # by SHA-256
        self._held: dict[str, Listing] = {}
        self._failed: dict[str, tuple[int, RegistryError]] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._parallel = asyncio.Semaphore(PARALLEL)
        self.changes = 0  # rises whenever `loaded` or `broken` change

    @property
    def loaded(self) -> Mapping[str, Listing]:
        """What is held, by name of the shard."""
        return {self._index[sha256].name: one for sha256, one in self._held.items()}

    @property
    def broken(self) -> Mapping[str, RegistryError]:
        """Why a shard could not be had, by its name."""
        return {self._index[sha256].name: error for sha256, (_, error) in self._failed.items()}

    def holds(self, shard: Shard) -> bool:
        """Whether a shard is loaded."""
        return shard.sha256 in self._held

    def lacks(self, shard: Shard) -> bool:
        """Whether a shard could not be had, so recently that it is not worth asking again."""
        failed = self._failed.get(shard.sha256)
        return failed is not None and self._clock() < failed[0] + RETRY_SHARD_AFTER

    def use(self, index: Iterable[Shard], folder: Path | None) -> None:
        """Follow a new index: shards that it still names are kept, the rest goes."""
        self._index = {shard.sha256: shard for shard in index}
        self._folder = None if folder is None else folder / SHARD_FOLDER
        self._held = {name: one for name, one in self._held.items() if name in self._index}
        self._failed = {name: one for name, one in self._failed.items() if name in self._index}
        self.changes += 1

    async def prune(self) -> None:
        """Remove files that the index no longer names, once they are old."""
        if self._folder is not None:
            await asyncio.to_thread(_prune, self._folder, frozenset(self._index))

    async def bring(self, shards: Iterable[Shard]) -> None:
        """Load shards of the index that are not held; those that cannot be had show in `broken`."""
        tasks: set[asyncio.Task[None]] = set()
        for shard in shards:
            if self.holds(shard) or self.lacks(shard):
                continue
            task = self._loading.get(shard.sha256)
            if task is None:
                task = asyncio.create_task(self._load(shard))
                self._loading[shard.sha256] = task
            tasks.add(task)
        if tasks:
            await asyncio.wait(tasks)  # one caller's cancellation does not take it from the others
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def aclose(self) -> None:
        """Stop loading."""
        tasks = list(self._loading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _load(self, shard: Shard) -> None:
        try:
            async with self._parallel:
                listing = await self._read_cached(shard) or await self._fetch(shard)
        except RegistryError as error:
            if shard.sha256 in self._index:
                self._failed[shard.sha256] = (self._clock(), error)
            _log.warning("shard %s of the registry is not available: %s", shard.name, error)
        else:
            if shard.sha256 in self._index:
                self._held[shard.sha256] = listing
                self._failed.pop(shard.sha256, None)
        finally:
            self.changes += 1
            del self._loading[shard.sha256]

    async def _read_cached(self, shard: Shard) -> Listing | None:
        if self._folder is None:
            return None
        path = self._folder / f"{shard.sha256}.json"
        try:
            return await asyncio.to_thread(_read_file, path, shard)
        except RegistryFormatError as error:
            _log.warning("the cache file %s is damaged and is fetched again: %s", path, error)
            return None

    async def _fetch(self, shard: Shard) -> Listing:
        errors: list[RegistryError] = []
        for source in self._sources():
            try:
                raw = await source.shard(shard.sha256, shard.length)
                if raw is None:
                    raise RegistryUnavailableError(
                        f"shard {shard.name} ({shard.sha256[:16]}…) is not at {source.locator}"
                    )
                listing = await asyncio.to_thread(read_shard, raw, shard)
            except RegistryError as error:
                errors.append(error)
                continue
            if self._folder is not None:
                await asyncio.to_thread(_write_file, self._folder / f"{shard.sha256}.json", raw)
            return listing
        raise errors[0]


def _read_file(path: Path, shard: Shard) -> Listing | None:
    raw = read_bytes(path)
    return None if raw is None else read_shard(raw, shard)


def _write_file(path: Path, raw: bytes) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        replace_file(path, raw)
    except OSError as error:  # it is only a copy; the next process fetches it again
        _log.warning("a shard is not kept in the cache: %s", error)


def _prune(folder: Path, named: Collection[str]) -> None:
    oldest = time.time() - KEEP_UNLISTED
    with contextlib.suppress(OSError):  # a folder that is not there, a file that another removed
        for path in folder.iterdir():
            if path.stem not in named and path.stat().st_mtime < oldest:
                path.unlink()
