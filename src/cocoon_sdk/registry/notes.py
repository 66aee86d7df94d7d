"""What each place of a registry gave last: its network, and the tag by which it knows the file again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from cocoon_sdk.registry.cache import RegistryCache
from cocoon_sdk.registry.mirrors import Places
from cocoon_sdk.registry.sources import Source
from cocoon_sdk.registry.verified import VerifiedRegistry


class Notes:
    """Kept in the cache for other processes, and here for clients without one."""

    def __init__(self, places: Places, cache: RegistryCache) -> None:
        self._places = places
        self._cache = cache
        self._given: dict[str, tuple[str | None, bytes]] = {}  # by locator: tag and SHA-256

    def network(self) -> str | None:
        """The network of the first place named by the user that ever gave a registry."""
        found = (self._cache.network_of(source.locator) for source in self._places.given)
        return next((network for network in found if network is not None), None)

    def tags(self, held: VerifiedRegistry | None) -> dict[str, str]:
        """By which tag each place, by its locator, recognises the registry held."""
        if held is None:
            return {}
        digest = hashlib.sha256(held.raw).digest()
        tags: dict[str, str] = {}
        for source in self._places.in_order():
            given, of = self._given.get(source.locator, (None, b""))
            tag = given if of == digest else self._cache.etag(source.locator, digest)
            if tag is not None:
                tags[source.locator] = tag
        return tags

    def take(self, answers: Iterable[tuple[Source, tuple[VerifiedRegistry, str | None]]]) -> None:
        """Remember which places gave a registry, and its tag there.

        Raises:
            StoreError: the cache cannot be written.
        """
        for source, (registry, tag) in answers:
            digest = hashlib.sha256(registry.raw).digest()
            if self._given.get(source.locator) != (tag, digest):
                self._given[source.locator] = (tag, digest)
                self._cache.note(source.locator, registry.payload.network, digest, tag)
