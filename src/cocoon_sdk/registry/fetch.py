"""One registry as a client holds it: one call gives the newest verified snapshot."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from random import Random, SystemRandom
from typing import TYPE_CHECKING

from cocoon_sdk.errors import CocoonError, RegistryEquivocationError, RegistryError
from cocoon_sdk.registry.anchor import AnchorPolicy
from cocoon_sdk.registry.evidence import encode_evidence, write_evidence
from cocoon_sdk.registry.opening import OpenRegistry, open_registry
from cocoon_sdk.registry.snapshot import Snapshot
from cocoon_sdk.registry.sources import SourceSpec
from cocoon_sdk.registry.trust import TrustSource
from cocoon_sdk.registry.verified import VerifiedRegistry
from cocoon_sdk.ton.chain import ChainClient

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
        mirrors: further places of the same files. Those that root.json names are asked too where
            `source` is a URL.
        network: the network text to insist on, such as "-239/main"; the first root's when None.
        anchor: `"off"`, or compare with the account on chain that root.json names: `"warn"` reports
            what is wrong in `problems`, `"require"` refuses.
        open_chain: makes the chain client that reads the anchor, by the chain's global id; the public
            API of the network when None.
        cache_dir: folder of the cache; the default is under `settings.cache_dir()`.
        cache: False remembers nothing between runs, so rollbacks are only seen within one.
        clock: unix seconds.
        allow_stale: use a registry after its expiry (never after the root's).
        allow_private: mirrors that root.json names may be on private addresses.
        transport: replaces the network, in tests.
        timeout: seconds for fetching one file.
        rng: draws mirrors, shards and providers; the system's randomness when None.
    """

    def __init__(
        self,
        source: SourceSpec,
        *,
        trust: TrustSource,
        trust_threshold: int | None = None,
        mirrors: Collection[str | Path] = (),
        network: str | None = None,
        anchor: AnchorPolicy = "off",
        open_chain: Callable[[int], ChainClient] | None = None,
        cache_dir: str | Path | None = None,
        cache: bool = True,
        clock: Callable[[], int] = unix_time,
        allow_stale: bool = False,
        allow_private: bool = False,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout: float = 20.0,
        rng: Random | None = None,
    ) -> None:
        self.name = "bytes" if isinstance(source, bytes) else str(source)
        self._clock = clock
        self._open_registry = partial(
            open_registry,
            source,
            trust=trust,
            trust_threshold=trust_threshold,
            mirrors=mirrors,
            network=network,
            anchor=anchor,
            open_chain=open_chain,
            cache_dir=cache_dir,
            cache=cache,
            clock=clock,
            allow_stale=allow_stale,
            allow_private=allow_private,
            transport=transport,
            timeout=timeout,
            rng=rng or SystemRandom(),
        )
        self._lock = asyncio.Lock()
        self._opened: OpenRegistry | None = None
        self._background: asyncio.Task[None] | None = None
        self._retry_at = 0  # after a failure
        self._again_at = 0  # after a refresh that brought nothing fresh
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
        opened = self._opened or await self._open()
        registry = await self._newest(opened)
        return await opened.views.show(
            registry,
            stale=self._clock() >= registry.payload.expires,
            model=model,
            providers=providers,
            only=only,
            everything=everything,
            problems=self._problems(opened),
        )

    async def refresh(self) -> Snapshot:
        """Fetch now, whatever is held.

        Raises:
            RegistryError: the new file was not accepted; what was held before stays in force.
        """
        opened = self._opened or await self._open()
        async with self._lock:
            await self._refresh(opened)
        return await self.snapshot()

    async def confront(self, envelope: bytes) -> bool:
        """Judge the registry that a provider uses, when it names this one's version with another digest.

        Only what the registry's own signers signed says anything: then it is a fork, and this registry
        is not used again. Returns whether the envelope is valid and so worth a `refresh`.

        Raises:
            RegistryEquivocationError: two registries are signed under one version.
        """
        opened = self._opened or await self._open()
        async with self._lock:
            try:
                return await opened.updater.confront(envelope)
            except RegistryEquivocationError as error:
                await self._failed(opened, error)
                raise

    async def aclose(self) -> None:
        """Stop a refresh in the background and remember the sequence numbers seen."""
        if self._background is not None:
            self._background.cancel()
            await asyncio.gather(self._background, return_exceptions=True)
            self._background = None
        if self._opened is None:
            return
        await self._opened.views.aclose()
        if self._opened.updater.seqs.changed:
            async with self._lock:
                await self._opened.updater.store(None)
        await self._opened.aclose()

    @property
    def _refreshing(self) -> bool:
        return self._background is not None and not self._background.done()

    async def _open(self) -> OpenRegistry:
        async with self._lock:
            if self._opened is None:
                opened = await self._open_registry()
                try:
                    await opened.updater.adopt()
                except RegistryEquivocationError as error:
                    await self._failed(opened, error)
                self._opened = opened
            return self._opened

    async def _newest(self, opened: OpenRegistry) -> VerifiedRegistry:
        self._check_fork()
        updater, source = opened.updater, opened.updater.places.primary
        source.check()
        if updater.seqs.changed and not self._lock.locked():
            async with self._lock:
                await updater.store(None)
        now = self._clock()
        usable = self._usable(opened)
        if usable is None or (source.has_changed() and now >= self._retry_at):
            return await self._refresh_or_serve(opened)
        wait_until = max(usable.fresh_until, self._retry_at, self._again_at)
        if now >= wait_until and not self._refreshing:
            self._background = asyncio.create_task(self._refresh_quietly(opened))
        return usable

    async def _refresh(self, opened: OpenRegistry) -> VerifiedRegistry:
        """Fetch; the lock is held."""
        self._check_fork()
        try:
            await opened.updater.adopt()  # another worker may have refreshed meanwhile
            registry = await opened.updater.refresh()
        except CocoonError as error:
            await self._failed(opened, error)
            raise
        self.refresh_error, self._retry_at = None, 0
        self._again_at = self._clock() + RETRY_AFTER
        return registry

    async def _refresh_or_serve(self, opened: OpenRegistry) -> VerifiedRegistry:
        """Wait for a refresh; where it fails but a copy has not expired, that one serves."""
        async with self._lock:
            self._check_fork()
            usable = self._usable(opened)
            if usable is not None and not opened.updater.places.primary.has_changed():
                return usable  # another caller's refresh, waited for
            try:
                return await self._refresh(opened)
            except RegistryEquivocationError:
                raise
            except RegistryError as error:
                usable = self._usable(opened)
                if usable is None:
                    raise
                _log.warning("registry not refreshed, the verified copy serves on: %s", error)
                return usable

    async def _refresh_quietly(self, opened: OpenRegistry) -> None:
        """In the background. What goes wrong is kept in `refresh_error`."""
        async with self._lock:
            if isinstance(self.refresh_error, RegistryEquivocationError):
                return  # it was found while this waited
            try:
                await opened.updater.adopt()
                registry = opened.updater.usable(self._clock())
                if registry is None or self._clock() >= registry.fresh_until:
                    await self._refresh(opened)
                self.refresh_error, self._retry_at = None, 0
            except CocoonError as error:
                await self._failed(opened, error)
                _log.warning("registry not refreshed, the verified copy serves on: %s", error)

    def _check_fork(self) -> None:
        """Once forked, forked: no file that follows can make up for it, from whichever source it comes."""
        if isinstance(self.refresh_error, RegistryEquivocationError):
            raise self.refresh_error

    async def _failed(self, opened: OpenRegistry, error: CocoonError) -> None:
        """Remember a failure, and keep the evidence of a fork."""
        self.refresh_error = error
        self._retry_at = self._clock() + RETRY_AFTER
        if not isinstance(error, RegistryEquivocationError) or error.evidence is not None:
            return
        folder, roots = opened.evidence_folder, opened.updater.roots
        if folder is None or len(error.envelopes) != 2 or not roots:
            return
        content = encode_evidence(roots, error.envelopes)
        try:
            path = await asyncio.to_thread(write_evidence, folder, content)
        except OSError as problem:
            _log.warning("the evidence of a fork cannot be written: %s", problem)
            return
        error.evidence = str(path)
        _log.error("the registry %s is forked, the evidence is in %s", self.name, path)

    def _usable(self, opened: OpenRegistry) -> VerifiedRegistry | None:
        """The copy that may serve without a fetch."""
        return opened.updater.usable(self._clock()) if opened.updater.proven else None

    def _problems(self, opened: OpenRegistry) -> tuple[CocoonError, ...]:
        found = (self.refresh_error, opened.updater.anchor.problem)
        return tuple(dict.fromkeys(one for one in found if one is not None))
