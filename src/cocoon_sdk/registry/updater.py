"""Moving one trusted set forward: ask, have it judged, remember it, only then use it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from cocoon_sdk.errors import (
    CocoonError,
    RegistryEquivocationError,
    RegistryError,
    RegistryExpiredError,
    RegistrySignatureError,
    RegistryUnavailableError,
)
from cocoon_sdk.registry.anchor import AnchorCheck
from cocoon_sdk.registry.cache import RegistryCache, Remembered
from cocoon_sdk.registry.listed import SeenSequences
from cocoon_sdk.registry.mirrors import Places, Race
from cocoon_sdk.registry.notes import Notes
from cocoon_sdk.registry.sources import Fetched, Source
from cocoon_sdk.registry.trust import Trust, TrustKeys
from cocoon_sdk.registry.verified import VerifiedRegistry, check_times
from cocoon_sdk.registry.verify import TrustedSet

MAX_ROOTS_PER_REFRESH = 64

Answers = Race[tuple[VerifiedRegistry, str | None]]  # and the tag by which a place knows it

_log = logging.getLogger(__name__)


class Updater:
    """The state of one registry in one process. `adopt`, `refresh` and `store` must not run at once.

    Args:
        places: where files come from.
        trust: judges the first root.
        cache: what other runs and workers remember.
        clock: unix seconds.
        network: the network text to insist on, the first root's when None.
        allow_stale: accept a registry after its expiry.
        anchor: compares with the chain; None does not.
    """

    def __init__(
        self,
        places: Places,
        *,
        trust: Trust,
        cache: RegistryCache,
        clock: Callable[[], int],
        network: str | None = None,
        allow_stale: bool = False,
        anchor: AnchorCheck | None = None,
    ) -> None:
        self.places = places
        self.seqs = SeenSequences()
        self.registry: VerifiedRegistry | None = None
        self.proven = False  # a place that the user named gave a registry, now or in an earlier run
        self.anchor = anchor or AnchorCheck("off", None)
        self._trust = trust
        self._cache = cache
        self._clock = clock
        self._network = network
        self._allow_stale = allow_stale
        self._trusted = TrustedSet(trust, network=network)
        self._notes = Notes(places, cache)

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The chain of trusted root files."""
        return self._trusted.roots

    def usable(self, now: int) -> VerifiedRegistry | None:
        """The registry held, unless it or the root is out of date at `now`, or the anchor is missing."""
        root = self._trusted.root
        if self.registry is None or root is None or not self.anchor.allows(self.registry):
            return None
        try:
            check_times(self.registry.payload, root, now, allow_stale=self._allow_stale)
        except RegistryExpiredError:
            return None
        return self.registry

    async def adopt(self, *, over_held: bool = False) -> None:
        """Take over what the cache holds, where it is newer than what is held here.

        With `over_held` its roots come before those held: what was learned earlier decides what may
        follow, not what a new place shows first.

        Raises:
            RegistryEquivocationError: another worker accepted the same version with other content.
        """
        known = await asyncio.to_thread(self._notes.network)
        network = self._network or (self._trusted.root.network if self._trusted.root else known)
        self.proven = self.proven or known is not None
        remembered = await asyncio.to_thread(self._cache.load, network) if network else None
        if remembered is None:
            return
        self.seqs.merge(remembered.seqs)
        trusted = await asyncio.to_thread(self._replay, remembered, over_held)
        # The floors count even where the chain beside them is damaged.
        floors = [seen for seen in (self._trusted.seen, remembered.seen) if seen is not None]
        trusted.seen = max(floors, key=lambda seen: seen[:2], default=None)
        self._trusted = trusted
        self._roots_moved()
        self.anchor.recall(remembered.anchored)
        if remembered.envelope is None or trusted.root is None:
            return
        if self.registry is not None and self.registry.raw == remembered.envelope:
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
        self.registry = registry

    async def refresh(self) -> VerifiedRegistry:
        """Ask two places at once, more where these fail; judge, remember and use the newest valid file.

        Raises:
            RegistryError: none was accepted; what was held stays in force, except where a new root
                replaced the keys that signed it. Of several errors it is the own address's.
        """
        roots_before = self._trusted.roots
        tags = await asyncio.to_thread(self._notes.tags, self.registry)
        race: Answers = Race()
        try:
            newest = await self._newest(race, tags)
            # The other place may have brought a root that replaces the keys which signed this one.
            self._trusted.recheck(newest, self._clock(), allow_stale=self._allow_stale)
            self.anchor.judge(newest)
        except CocoonError:
            # A root that replaces stolen keys must stick even if no new registry came with it.
            if self._trusted.roots != roots_before:
                await self.store(None)
                self._roots_moved()
            raise
        merged = await self.store(newest)
        await asyncio.to_thread(self._notes.take, race.answers)
        self.proven = self.proven or any(one in self.places.given for one, _ in race.answers)
        self.registry = newest
        self._roots_moved()
        if merged is not None and merged.seen is not None and merged.seen > newest.seen:
            await self.adopt()  # another worker was faster, with a newer file
        return self.registry

    async def confront(self, envelope: bytes) -> bool:
        """Judge a registry that somebody else uses; whether it is valid here, and so worth a refresh.

        Raises:
            RegistryEquivocationError: it is signed under the version held, with another content.
        """
        try:
            await asyncio.to_thread(
                self._trusted.judge_registry, envelope, self._clock(), allow_stale=True
            )
        except RegistryEquivocationError:
            raise
        except RegistryError as error:
            _log.info("a registry shown by a provider says nothing here: %s", error)
            return False
        return True

    async def store(self, registry: VerifiedRegistry | None) -> Remembered | None:
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
            seqs=self.seqs.as_dict(),
            anchored=self.anchor.confirmed_digest,
        )
        merged = await asyncio.to_thread(self._cache.store, remembered)
        self.seqs.merge(merged.seqs)
        return merged

    async def _newest(self, race: Answers, tags: dict[str, str]) -> VerifiedRegistry:
        newest: VerifiedRegistry | None = None
        for pair in self.places.pairs():
            await race.run(pair, lambda source: self._attempt(source, tags.get(source.locator)))
            if race.answers:
                newest = max((one for _, (one, _) in race.answers), key=lambda one: one.seen[:2])
                if not await self.anchor.is_newer(self._trusted.root, newest):
                    break
        if newest is None:
            raise race.error_of(self.places.primary)
        for source, error in race.errors:
            _log.warning("no registry from %s: %s", source.locator, error)
        return newest

    async def _attempt(
        self, source: Source, tag: str | None
    ) -> tuple[VerifiedRegistry, str | None]:
        """One place: its file, judged and accepted."""
        held = self.registry
        fetched = await source.registry(tag if held is not None else None)
        if self._trusted.root is None:
            await self._first_root(source)
        if fetched is None and held is not None:
            fetched = Fetched(held.raw, tag)
        if fetched is None:
            raise RegistryUnavailableError(f"{source.locator} sent no registry")
        return await self._judge(source, fetched.raw), fetched.etag

    async def _judge(self, source: Source, raw: bytes) -> VerifiedRegistry:
        """Verify and accept; where a newer root may be what is missing, fetch that and try again."""
        for _ in range(MAX_ROOTS_PER_REFRESH):
            trusted, held, now = self._trusted, self.registry, self._clock()
            root, version = (
                trusted.root,
                self._root_version(),
            )  # another place may pass it meanwhile
            try:
                if held is not None and held.raw == raw:
                    registry = held
                    trusted.recheck(held, now, allow_stale=self._allow_stale)
                else:
                    registry = await asyncio.to_thread(
                        trusted.judge_registry, raw, now, allow_stale=self._allow_stale
                    )
            except RegistrySignatureError:
                if not await self._pass_root(version, source):
                    raise
            except RegistryExpiredError:
                expired = root is not None and now >= root.expires
                if not expired or not await self._pass_root(version, source):
                    raise
            else:
                self._trusted.accept(registry)
                return registry
        raise RegistrySignatureError(
            f"{source.locator} offers more than {MAX_ROOTS_PER_REFRESH} new roots at once"
        )

    async def _first_root(self, source: Source) -> None:
        """root.json where the trusted keys signed it, else the very first root, to walk on from."""
        newest = await source.root(None)
        if self._root_version():
            return  # another place gave it meanwhile
        if newest is None:
            raise RegistryUnavailableError(f"there is no root.json beside {source.locator}")
        try:
            self._trusted.update_root(newest)
        except RegistrySignatureError:
            oldest = await source.root(1) if isinstance(self._trust, TrustKeys) else None
            if self._root_version():
                return
            if oldest is None:
                raise
            self._trusted.update_root(oldest)
        # Only now is the network known, and what another source taught of it. Old root keys that were
        # stolen and replaced can sign a first root of any version.
        await self.adopt(over_held=True)

    async def _pass_root(self, version: int, source: Source) -> bool:
        """Whether a root newer than `version` is trusted now; the next one is asked for, if need be."""
        if self._root_version() == version:
            raw = await source.root(version + 1)
            if raw is None:
                return False
            if self._root_version() == version:  # else another place gave it meanwhile
                self._trusted.update_root(raw)
        return True

    def _root_version(self) -> int:
        """Of the newest trusted root, 0 before the first."""
        return self._trusted.root.version if self._trusted.root is not None else 0

    def _replay(self, remembered: Remembered, over_held: bool) -> TrustedSet:
        """The set that the cached chain leads to, or the one held where that is as new."""
        held = self._trusted
        cached = self._walk(remembered.roots)
        if cached is None or cached.root is None:
            return held
        if held.root is None or over_held:
            return cached
        newer = cached.root.version - held.root.version
        if newer <= 0:
            return held
        if held.roots[-1] in remembered.roots:
            return cached
        # Another chain than the one held: it counts as far as it continues that one.
        return self._walk((*held.roots, *remembered.roots[-newer:])) or held

    def _walk(self, roots: Sequence[bytes]) -> TrustedSet | None:
        """The set that a chain of roots leads to, None where it does not hold."""
        trusted = TrustedSet(self._trust, network=self._network)
        try:
            for raw in roots[len(trusted.roots) :]:
                trusted.update_root(raw)
        except RegistryError as error:
            _log.warning("the cached roots are not used: %s", error)
            return None
        return trusted

    def _roots_moved(self) -> None:
        """Follow a newer root: its mirrors, and no registry whose signing keys it replaced."""
        root, held = self._trusted.root, self.registry
        if root is not None:
            self.places.follow(root.mirrors)
        if held is not None and held.payload.root_version < self._trusted.keys_since:
            self.registry = None
