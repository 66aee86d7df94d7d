"""Where providers can be dialled: names resolved, addresses checked, kept for a while.

A request on a session that is open already needs none of it, so it must not wait for a name server either.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from cocoon_sdk.errors import ConnectError, RegistryFormatError
from cocoon_sdk.registry.endpoint import parse_endpoint, resolve_endpoint
from cocoon_sdk.transport.reach import Site

KEEP_SECONDS = 300.0
MAX_SITES = 8  # of one provider
MAX_KEPT = 1_000

_Key = tuple[tuple[str, ...], bool, bool]


class Sites:
    """Addresses by the endpoints of a descriptor.

    Args:
        resolve: As `resolve_endpoint`.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        resolve: Callable[..., Awaitable[tuple[str, ...]]] = resolve_endpoint,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolve = resolve
        self._clock = clock
        self._kept: dict[_Key, tuple[float, tuple[Site, ...]]] = {}

    async def of(
        self, endpoints: Sequence[str], *, allow_private: bool, allow_loopback: bool
    ) -> tuple[Site, ...]:
        """All sites of a provider, in the order of its endpoints; at least one.

        Raises:
            ConnectError, RegistryFormatError: none of the endpoints can be used; why the first cannot.
        """
        key = tuple(endpoints), allow_private, allow_loopback
        at, sites = self._kept.get(key, (0.0, ()))
        if sites and self._clock() - at < KEEP_SECONDS:
            return sites
        found = await asyncio.gather(
            *(self._sites(url, allow_private, allow_loopback) for url in endpoints),
            return_exceptions=True,
        )
        sites = tuple(site for one in found if isinstance(one, tuple) for site in one)[:MAX_SITES]
        for one in found:
            expected = isinstance(one, tuple | ConnectError | RegistryFormatError)
            if isinstance(one, BaseException) and not (expected and sites):
                raise one
        while len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = self._clock(), sites
        return sites

    def forget(self, endpoints: Sequence[str]) -> None:
        """Nobody answers there: look again next time."""
        for key in [key for key in self._kept if key[0] == tuple(endpoints)]:
            del self._kept[key]

    async def _sites(self, url: str, allow_private: bool, allow_loopback: bool) -> tuple[Site, ...]:
        endpoint = parse_endpoint(url)
        addresses = await self._resolve(
            endpoint, allow_private=allow_private, allow_loopback=allow_loopback
        )
        return tuple(Site(endpoint, address) for address in addresses)
