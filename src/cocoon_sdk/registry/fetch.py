"""The registry as a client holds it: one call gives the newest verified snapshot."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path
from random import Random, SystemRandom
from typing import TYPE_CHECKING

from cocoon_sdk.errors import CocoonError, ConfigError, RegistryEquivocationError, RegistryError
from cocoon_sdk.registry.cache import RegistryCache
from cocoon_sdk.registry.shelf import ShardShelf
from cocoon_sdk.registry.snapshot import Snapshot
from cocoon_sdk.registry.sources import SourceSpec, open_source
from cocoon_sdk.registry.trust import PinnedRoot, TrustSource, parse_trust
from cocoon_sdk.registry.updater import Updater
from cocoon_sdk.registry.verify import VerifiedRegistry
from cocoon_sdk.registry.views import Views
from cocoon_sdk.settings import cache_dir as default_cache_dir

if TYPE_CHECKING:
    import httpx

RETRY_AFTER = 30  # seconds before a failed refresh is tried again while a valid copy serves

_log = logging.getLogger(__name__)


def unix_time() -> int:
    """The wall clock, in whole seconds."""
    return int(time.time())


class RegistryClient:
    """One registry: the newest verified snapshot, refreshed once it is no longer fresh.

    What other sources of the same trust and network taught serves only once this source has given a
    registry itself, so that the cache hides no wrong address. The constructor does no I/O; the first
    `snapshot()` opens source, trust and cache.

    Args:
        source: https URL (http on loopback), path of registry.json or its folder, or its bytes.
        trust: root keys, or a root.json as path or bytes (needed with a source of bytes).
        trust_threshold: how many of the keys must have signed the first root; a strict majority
            when None.
        network: the network text to insist on, such as "-239/main"; the first root's when None.
        cache_dir: folder of the cache; the default is under `settings.cache_dir()`.
        cache: False remembers nothing between runs, so rollbacks are only seen within one.
        clock: unix seconds.
        allow_stale: use a registry after its expiry (never after the root's).
        transport: replaces the network, in tests.
        timeout: seconds for fetching one file.
        rng: draws shards and providers; the system's randomness when None.
    """

    def __init__(
        self,
        source: SourceSpec,
        *,
        trust: TrustSource,
        trust_threshold: int | None = None,
        network: str | None = None,
        cache_dir: str | Path | None = None,
        cache: bool = True,
        clock: Callable[[], int] = unix_time,
        allow_stale: bool = False,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout: float = 20.0,
        rng: Random | None = None,
    ) -> None:
        self._spec = source
        self._trust_spec = (trust, trust_threshold)
        self._network = network
        self._cache_base = Path(cache_dir) if cache_dir else None
        self._use_cache = cache
        self._clock = clock
        self._allow_stale = allow_stale
        self._transport = transport
        self._timeout = timeout
        self._rng = rng or SystemRandom()
        self._lock = asyncio.Lock()
        self._updater: Updater | None = None
        self._cache: RegistryCache | None = None
        self._views: Views | None = None
        self._background: asyncio.Task[None] | None = None
        self._retry_at = 0
        self.refresh_error: CocoonError | None = None  # why the last refresh failed, if it did

    async def snapshot(
        self,
        model: str | None = None,
        providers: Collection[str] = (),
        *,
        only: Collection[str] = (),
        everything: bool = False,
    ) -> Snapshot:
        """The newest snapshot, with what one request needs.

        Of a registry in shards only those are loaded that are asked for; one that cannot be had is
        in `broken` of the snapshot, and its providers are missing. A copy that is no longer fresh
        but has not expired is handed out while a refresh runs in the background; where that fails,
        `refresh_error` tells. Without such a copy, and on the first use of a source, the call waits.
        A path must exist, whatever the cache holds.

        Args:
            model: the model wanted: a few shards that list it are loaded, and of many providers a
                random sample is shown (`views.SHARDS_PER_MODEL`, `views.CANDIDATES_PER_MODEL`).
            providers: ids (hex), or at least their first two digits, that must be looked at.
            only: ids; where there are any, no others are drawn for the model.
            everything: load all shards.

        Raises:
            RegistryEquivocationError: always, once two registries of one version turned up.
            RegistryError: there is no usable copy; the subclass says why.
            ConfigError: source or trust is wrong.
            StoreError: the cache cannot be written.
        """
        updater = self._updater or await self._open()
        registry = await self._newest(updater)
        return await self._show(registry, model, providers, only=only, everything=everything)

    async def _newest(self, updater: Updater) -> VerifiedRegistry:
        if isinstance(self.refresh_error, RegistryEquivocationError):
            raise self.refresh_error
        updater.source.check()
        if updater.seqs.changed and not self._lock.locked():
            async with self._lock:
                await updater.store(None)
        now = self._clock()
        usable = self._usable(updater)
        if usable is None or (updater.source.has_changed() and now >= self._retry_at):
            return await self._refresh_or_serve(updater)
        if now >= usable.payload.fresh_until and now >= self._retry_at and not self._refreshing:
            self._background = asyncio.create_task(self._refresh_quietly(updater))
        return usable

    async def refresh(self) -> Snapshot:
        """Fetch now, whatever is held.

        Raises:
            RegistryError: the new file was not accepted; what was held before stays in force.
        """
        updater = self._updater or await self._open()
        async with self._lock:
            registry = await self._refresh(updater)
        return await self._show(registry)

    async def aclose(self) -> None:
        """Stop a refresh in the background and remember the sequence numbers seen."""
        if self._background is not None:
            self._background.cancel()
            await asyncio.gather(self._background, return_exceptions=True)
            self._background = None
        if self._views is not None:
            await self._views.aclose()
        if self._updater is not None and self._updater.seqs.changed:
            async with self._lock:
                await self._updater.store(None)

    @property
    def _refreshing(self) -> bool:
        return self._background is not None and not self._background.done()

    async def _open(self) -> Updater:
        async with self._lock:
            if self._updater is not None:
                return self._updater
            trust = await asyncio.to_thread(parse_trust, *self._trust_spec)
            if isinstance(self._spec, bytes) and not isinstance(trust, PinnedRoot):
                raise ConfigError(
                    "a registry given as bytes has no root.json beside it; "
                    "pass the root.json as trust (path or bytes)"
                )
            source = await asyncio.to_thread(
                open_source, self._spec, transport=self._transport, timeout=self._timeout
            )
            base = (
                (self._cache_base or default_cache_dir() / "registry") if self._use_cache else None
            )
            self._cache = RegistryCache(base, trust.id, source.locator)
            updater = Updater(
                source,
                trust=trust,
                cache=self._cache,
                clock=self._clock,
                network=self._network,
                allow_stale=self._allow_stale,
            )
            await updater.adopt()
            self._views = Views(
                ShardShelf(lambda: [source], self._clock),
                updater.seqs,
                self._rng,
                on_this_machine=source.on_this_machine,
            )
            self._updater = updater
            return updater

    async def _refresh(self, updater: Updater) -> VerifiedRegistry:
        """Fetch; the lock is held."""
        try:
            await updater.adopt()  # another worker may have refreshed meanwhile
            registry = await updater.refresh()
        except CocoonError as error:
            self.refresh_error = error
            self._retry_at = self._clock() + RETRY_AFTER
            raise
        self.refresh_error, self._retry_at = None, 0
        return registry

    async def _refresh_or_serve(self, updater: Updater) -> VerifiedRegistry:
        """Wait for a refresh; where it fails but a copy has not expired, that one serves."""
        async with self._lock:
            usable = self._usable(updater)
            if usable is not None and not updater.source.has_changed():
                return usable  # another caller's refresh, waited for
            try:
                return await self._refresh(updater)
            except RegistryEquivocationError:
                raise
            except RegistryError as error:
                usable = self._usable(updater)
                if usable is None:
                    raise
                _log.warning("registry not refreshed, the verified copy serves on: %s", error)
                return usable

    async def _refresh_quietly(self, updater: Updater) -> None:
        """In the background. What goes wrong is kept in `refresh_error`."""
        async with self._lock:
            try:
                await updater.adopt()
                registry = updater.usable(self._clock())
                if registry is None or self._clock() >= registry.payload.fresh_until:
                    await self._refresh(updater)
                self.refresh_error, self._retry_at = None, 0
            except CocoonError as error:
                self.refresh_error = error
                self._retry_at = self._clock() + RETRY_AFTER
                _log.warning("registry not refreshed, the verified copy serves on: %s", error)

    def _usable(self, updater: Updater) -> VerifiedRegistry | None:
        """The copy that may serve without a fetch."""
        return updater.usable(self._clock()) if updater.proven else None

    async def _show(
        self,
        registry: VerifiedRegistry,
        model: str | None = None,
        providers: Collection[str] = (),
        *,
        only: Collection[str] = (),
        everything: bool = False,
    ) -> Snapshot:
        assert self._views is not None  # noqa: S101 - opened with the updater
        return await self._views.show(
            registry,
            self._cache.folder(registry.payload.network) if self._cache else None,
            stale=self._clock() >= registry.payload.expires,
            model=model,
            providers=providers,
            only=only,
            everything=everything,
        )
