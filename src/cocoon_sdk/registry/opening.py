"""From what the user wrote to the parts that hold one registry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.registry.anchor import ANCHOR_POLICIES, AnchorCheck, AnchorPolicy
from cocoon_sdk.registry.cache import RegistryCache
from cocoon_sdk.registry.endpoint import AddressRules
from cocoon_sdk.registry.mirrors import Places, mirror_url
from cocoon_sdk.registry.shelf import ShardShelf
from cocoon_sdk.registry.sources import Source, SourceSpec, open_source
from cocoon_sdk.registry.trust import PinnedRoot, TrustSource, parse_trust
from cocoon_sdk.registry.updater import Updater
from cocoon_sdk.registry.views import Views
from cocoon_sdk.settings import cache_dir as default_cache_dir
from cocoon_sdk.ton.chain import ChainClient

if TYPE_CHECKING:
    import httpx

EVIDENCE_FOLDER = "evidence"


@dataclass(frozen=True, slots=True)
class OpenRegistry:
    """The parts of one registry in one process. `evidence_folder` is None without a cache."""

    updater: Updater
    views: Views
    evidence_folder: Path | None

    async def aclose(self) -> None:
        """Release the chain's connections, where they were opened here."""
        await self.updater.anchor.aclose()


async def open_registry(
    source: SourceSpec,
    *,
    trust: TrustSource,
    trust_threshold: int | None,
    mirrors: Collection[str | Path],
    network: str | None,
    anchor: AnchorPolicy,
    open_chain: Callable[[int], ChainClient] | None,
    cache_dir: str | Path | None,
    cache: bool,
    clock: Callable[[], int],
    allow_stale: bool,
    allow_private: bool,
    transport: httpx.AsyncBaseTransport | None,
    timeout: float,  # noqa: ASYNC109 - of each file, passed on to the source
    rng: Random,
) -> OpenRegistry:
    """Open source, trust and cache; see `RegistryClient` for the arguments.

    Raises:
        ConfigError: one of them is wrong.
    """
    if anchor not in ANCHOR_POLICIES:
        raise ConfigError(f"anchor is {anchor!r}; use one of {', '.join(ANCHOR_POLICIES)}")
    known = await asyncio.to_thread(parse_trust, trust, trust_threshold)
    if isinstance(source, bytes) and not isinstance(known, PinnedRoot):
        raise ConfigError(
            "a registry given as bytes has no root.json beside it; "
            "pass the root.json as trust (path or bytes)"
        )

    def open_given() -> list[Source]:
        return [
            open_source(one, transport=transport, timeout=timeout) for one in (source, *mirrors)
        ]

    given = await asyncio.to_thread(open_given)
    primary = given[0]

    def open_mirror(url: str) -> Source:
        from cocoon_sdk.registry.http import HttpSource  # httpx costs start-up time

        return HttpSource(
            mirror_url(url),
            transport=transport,
            timeout=timeout,
            rules=AddressRules(allow_private=allow_private, allow_loopback=primary.on_this_machine),
        )

    remote = isinstance(source, str) and "://" in source
    places = Places(given, open_mirror=open_mirror if remote else None, rng=rng)
    base = (Path(cache_dir) if cache_dir else default_cache_dir() / "registry") if cache else None
    store = RegistryCache(base, known.id)
    updater = Updater(
        places,
        trust=known,
        cache=store,
        clock=clock,
        network=network,
        allow_stale=allow_stale,
        anchor=AnchorCheck(anchor, open_chain),
    )
    views = Views(
        ShardShelf(places.in_order, clock),
        updater.seqs,
        rng,
        folder_of=store.folder,
        on_this_machine=primary.on_this_machine,
    )
    return OpenRegistry(updater, views, None if base is None else base / EVIDENCE_FOLDER)
