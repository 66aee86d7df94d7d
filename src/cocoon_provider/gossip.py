"""Registries that list us, kept so that clients can be shown another content of a version (wire.md).

Nothing is judged here: whoever trusts a registry's keys can tell a fork from a forgery, and we need not.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Sequence

from cocoon_provider.failures import describe
from cocoon_sdk.errors import CocoonError
from cocoon_sdk.protocol.params import RegistryRef
from cocoon_sdk.registry.gossip import PIECE_BYTES, ForkHint, read_claim
from cocoon_sdk.registry.sources import Source, open_source

log = logging.getLogger(__name__)

# Seconds; registries are signed anew every hour.
INTERVAL = 600.0
TIMEOUT = 60.0
MAX_KEPT_BYTES = 64 * 1024 * 1024
MAX_KEPT = 256


class RegistryGossip:
    """The newest files of some registries, in memory; the oldest go first.

    Args:
        sources: Where the files come from.
        interval: Seconds between looks.
    """

    def __init__(self, sources: Sequence[Source], *, interval: float = INTERVAL) -> None:
        self._sources = sources
        self._interval = interval
        self._tags: dict[str, str] = {}
        self._seen: dict[str, bytes] = {}  # by locator: SHA-256 of the file read last
        self._kept: OrderedDict[bytes, tuple[ForkHint, bytes]] = (
            OrderedDict()
        )  # by payload's digest

    async def run(self) -> None:
        """Keep up with the sources until cancelled. What fails is logged and tried again."""
        while True:
            for source in self._sources:
                await self._look(source)
            await asyncio.sleep(self._interval)

    def fork_of(self, ref: RegistryRef) -> ForkHint | None:
        """The newest other content of the very version that a client names, if one is held."""
        for hint, _ in reversed(self._kept.values()):
            same = (hint.registry_id, hint.version) == (ref.registry_id, ref.version)
            if same and hint.digest != ref.digest:
                return hint
        return None

    def piece(self, digest: bytes, number: int) -> bytes | None:
        """One piece of a file by the digest of its payload, or None."""
        kept = self._kept.get(digest)
        if kept is None:
            return None
        return kept[1][number * PIECE_BYTES : (number + 1) * PIECE_BYTES] or None

    async def _look(self, source: Source) -> None:
        try:
            fetched = await source.registry(self._tags.get(source.locator))
            if fetched is None:
                return
            if fetched.etag is not None:
                self._tags[source.locator] = fetched.etag
            await self._take(source.locator, fetched.raw)
        except CocoonError as error:
            log.warning("no registry to compare with from %s: %s", source.locator, error)
        except Exception as error:  # noqa: BLE001 - the others are still looked at
            log.error("%s cannot be read: %s", source.locator, describe(error))

    async def _take(self, locator: str, raw: bytes) -> None:
        seen = await asyncio.to_thread(lambda: hashlib.sha256(raw).digest())
        if self._seen.get(locator) == seen:
            return
        claim = await asyncio.to_thread(read_claim, raw)
        self._seen[locator] = seen
        if len(raw) > MAX_KEPT_BYTES:
            log.warning("%s is above %d bytes and is not kept", locator, MAX_KEPT_BYTES)
            return
        self._kept.pop(claim.digest, None)
        self._kept[claim.digest] = ForkHint(*claim, len(raw)), raw
        while len(self._kept) > MAX_KEPT or self._bytes() > MAX_KEPT_BYTES:
            self._kept.popitem(last=False)

    def _bytes(self) -> int:
        return sum(hint.size for hint, _ in self._kept.values())


def open_gossip(registries: Sequence[str]) -> RegistryGossip | None:
    """Gossip about the registries at these URLs and paths; None where there are none.

    Raises:
        ConfigError: a URL that is neither https nor on loopback.
    """
    if not registries:
        return None
    return RegistryGossip([open_source(locator, timeout=TIMEOUT) for locator in registries])
