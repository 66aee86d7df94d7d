"""Moving one trusted set forward: fetch a file, have it judged, remember it, only then use it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from cocoon_sdk.errors import (
    RegistryEquivocationError,
    RegistryError,
    RegistryExpiredError,
    RegistrySignatureError,
    RegistryUnavailableError,
)
from cocoon_sdk.registry.cache import RegistryCache, Remembered
from cocoon_sdk.registry.listed import SeenSequences
from cocoon_sdk.registry.sources import Source
from cocoon_sdk.registry.trust import Trust, TrustKeys
from cocoon_sdk.registry.verify import TrustedSet, VerifiedRegistry, check_times

MAX_ROOTS_PER_REFRESH = 64

_log = logging.getLogger(__name__)


class Updater:
    """The state of one registry in one process. Its methods must not run at the same time.

    Args:
        source: where files come from.
        trust: judges the first root.
        cache: what other runs and workers remember.
        clock: unix seconds.
        network: the network text to insist on, the first root's when None.
        allow_stale: accept a registry after its expiry.
    """

    def __init__(
        self,
        source: Source,
        *,
        trust: Trust,
        cache: RegistryCache,
        clock: Callable[[], int],
        network: str | None = None,
        allow_stale: bool = False,
    ) -> None:
        self.source = source
        self.seqs = SeenSequences()
        self.registry: VerifiedRegistry | None = None
        self.proven = False  # the source gave an accepted registry, now or in an earlier run
        self._trust = trust
        self._cache = cache
        self._clock = clock
        self._network = network
        self._allow_stale = allow_stale
        self._trusted = TrustedSet(trust, network=network)
        self._etag: str | None = None

    def usable(self, now: int) -> VerifiedRegistry | None:
        """The registry held, unless it or the root is out of date at `now`."""
        root = self._trusted.root
        if self.registry is None or root is None:
            return None
        try:
            check_times(self.registry.payload, root, now, allow_stale=self._allow_stale)
        except RegistryExpiredError:
            return None
        return self.registry

    async def adopt(self) -> None:
        """Take over what the cache holds, where it is newer than what is held here.

        Raises:
            RegistryEquivocationError: another worker accepted the same version with other content.
        """
        root = self._trusted.root
        network = self._network or (root.network if root else None)
        remembered = await asyncio.to_thread(self._cache.load, network)
        self.proven = self.proven or await asyncio.to_thread(self._cache.knows_source)
        if remembered is None:
            return
        self.seqs.merge(remembered.seqs)
        trusted = await asyncio.to_thread(self._replay, remembered)
        # The floors count even where the chain beside them is damaged.
        floors = [seen for seen in (self._trusted.seen, remembered.seen) if seen is not None]
        trusted.seen = max(floors, key=lambda seen: seen[:2], default=None)
        self._trusted = trusted
        self._drop_replaced()
        if remembered.envelope is None or trusted.root is None:
            return
        try:
            registry = await asyncio.to_thread(
                trusted.update_registry, remembered.envelope, self._clock(), allow_stale=True
            )
        except RegistryEquivocationError:
            raise
        except RegistryError as error:
            _log.warning("the cached registry is not used: %s", error)
            return
        if self.registry is None or registry.seen[:2] >= self.registry.seen[:2]:
            self.registry, self._etag = registry, remembered.etag

    async def refresh(self) -> VerifiedRegistry:
        """Fetch, judge and remember the newest registry.

        Raises:
            RegistryError: it was not accepted; what was held stays in force, except where a new root
                replaced the keys that signed it.
        """
        roots_before = len(self._trusted.roots)
        fetched = await self.source.registry(self._etag if self.registry is not None else None)
        try:
            if self._trusted.root is None:
                await self._first_root()
            if fetched is not None:
                raw, etag = fetched.raw, fetched.etag
            elif self.registry is not None:
                raw, etag = self.registry.raw, self._etag
            else:
                raise RegistryUnavailableError(f"{self.source.locator} sent no registry")
            registry = await self._judge(raw)
        except RegistryError:
            # A root that replaces stolen keys must stick even if no new registry came with it.
            if len(self._trusted.roots) > roots_before:
                await self.store(None)
                self._drop_replaced()
            raise
        merged = await self.store(registry, etag)
        self.proven = True
        self.registry, self._etag = registry, etag
        if merged is not None and merged.seen is not None and merged.seen > registry.seen:
            await self.adopt()  # another worker was faster, with a newer file
        return self.registry

    async def store(
        self, registry: VerifiedRegistry | None, etag: str | None = None
    ) -> Remembered | None:
        """Remember the roots, the sequence numbers and, where one is given, a registry."""
        root = self._trusted.root
        if root is None:
            return None
        self.seqs.changed = False
        remembered = Remembered(
            network=root.network,
            roots=self._trusted.roots,
            seen=registry.seen if registry else None,
            envelope=registry.raw if registry else None,
            etag=etag,
            seqs=self.seqs.as_dict(),
        )
        merged = await asyncio.to_thread(self._cache.store, remembered)
        self.seqs.merge(merged.seqs)
        return merged

    def _replay(self, remembered: Remembered) -> TrustedSet:
        """The set that the cached chain leads to, or the one held where that is as new."""
        held = self._trusted
        trusted = TrustedSet(self._trust, network=self._network)
        try:
            for raw in remembered.roots[len(trusted.roots) :]:
                trusted.update_root(raw)
        except RegistryError as error:
            _log.warning("the cached roots are not used: %s", error)
            return held
        if trusted.root is None or (held.root and held.root.version >= trusted.root.version):
            return held
        return trusted

    async def _judge(self, raw: bytes) -> VerifiedRegistry:
        """Verify; where a newer root may be what is missing, fetch that and try again."""
        for _ in range(MAX_ROOTS_PER_REFRESH):
            now = self._clock()
            try:
                return await asyncio.to_thread(
                    self._trusted.update_registry, raw, now, allow_stale=self._allow_stale
                )
            except RegistrySignatureError:
                if not await self._next_root():
                    raise
            except RegistryExpiredError:
                root = self._trusted.root
                if root is None or now < root.expires or not await self._next_root():
                    raise
        raise RegistrySignatureError(
            f"{self.source.locator} offers more than {MAX_ROOTS_PER_REFRESH} new roots at once"
        )

    async def _first_root(self) -> None:
        """root.json where the trusted keys signed it, else the very first root, to walk on from."""
        newest = await self.source.root(None)
        if newest is None:
            raise RegistryUnavailableError(f"there is no root.json beside {self.source.locator}")
        try:
            self._trusted.update_root(newest)
        except RegistrySignatureError:
            oldest = await self.source.root(1) if isinstance(self._trust, TrustKeys) else None
            if oldest is None:
                raise
            self._trusted.update_root(oldest)
        await self.adopt()  # only now is the network known, and what another source taught of it

    async def _next_root(self) -> bool:
        root = self._trusted.root
        raw = await self.source.root(root.version + 1) if root is not None else None
        if raw is None:
            return False
        self._trusted.update_root(raw)
        return True

    def _drop_replaced(self) -> None:
        """Forget a registry whose signing keys a newer root replaced."""
        held = self.registry
        if held is not None and held.payload.root_version < self._trusted.keys_since:
            self.registry = None
