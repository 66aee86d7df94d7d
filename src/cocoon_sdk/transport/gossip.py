"""Hints of providers that the registry is forked: fetched aside, judged by the client's own root (wire.md).

A hint costs its provider nothing and is worth nothing before the file behind it was judged. So the client
bounds what one can cause, and neither a request nor a provider's standing depends on it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from cocoon_sdk.errors import CocoonError, RegistryEquivocationError
from cocoon_sdk.protocol.messages import Error
from cocoon_sdk.registry.gossip import ForkHint, read_claim, read_hint
from cocoon_sdk.registry.listed import Origin
from cocoon_sdk.registry.verify import MAX_REGISTRY_BYTES
from cocoon_sdk.transport.page import PageError, get_page
from cocoon_sdk.transport.reach import Site

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("cocoon_sdk.transport")

# A victim of a fork is likely to hold the smaller file, so its own size alone is no measure. Operators cut
# lists into shards long before they are this large.
ALWAYS_FETCHED = 16 * 1024 * 1024
OWN_SIZES = 2  # beyond that, this many times the size of the client's own file
FETCH_SECONDS = 60.0  # for one file, however many pieces
PIECE_PAUSE = 0.2  # seconds; a provider counts GETs per address
REST_SECONDS = 3_600.0  # in which a provider is not listened to again
MAX_WAITING = 8
MAX_REMEMBERED = 1_024

Listener = Callable[[Error], None]


class Judge(Protocol):
    """The part of a registry that hints concern."""

    async def confront(self, envelope: bytes) -> bool:
        """See `RegistryClient.confront`."""
        ...


class HintBox:
    """The first hint of a session, for whoever listens first. Others are dropped."""

    def __init__(self) -> None:
        self._hint: Error | None = None
        self._listener: Listener | None = None

    def deliver(self, hint: Error) -> None:
        """A hint has come."""
        if self._hint is None:
            self._hint = hint
            if self._listener is not None:
                self._listener(hint)

    def listen(self, listener: Listener) -> None:
        """Have it told, also where it came before."""
        if self._listener is None:
            self._listener = listener
            if self._hint is not None:
                listener(self._hint)


class Gossip:
    """Follows hints, one at a time, in the background.

    Args:
        judge: Decides what a file proves, and remembers a fork.
        clock: Monotonic seconds.
        transport: Replaces the network, in tests.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        clock: Callable[[], float] = time.monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._judge = judge
        self._clock = clock
        self._transport = transport
        self._rests: OrderedDict[str, float] = OrderedDict()
        self._tried: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    def listen(self, hints: HintBox, site: Site, provider: str, origin: Origin) -> None:
        """Follow what a session hints at.

        Args:
            hints: The session's.
            site: Where the provider is met.
            provider: Its id, hex.
            origin: The registry that the session named to it.
        """
        hints.listen(partial(self._heed, site, provider, origin))

    async def aclose(self) -> None:
        """Give up what is still being fetched."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _heed(self, site: Site, provider: str, origin: Origin, frame: Error) -> None:
        hint = read_hint(frame)
        if hint is None or (hint.registry_id, hint.version) != (origin.registry_id, origin.version):
            return
        limit = min(MAX_REGISTRY_BYTES, max(ALWAYS_FETCHED, OWN_SIZES * origin.size))
        if hint.digest == origin.digest or hint.size > limit:
            return
        now, mark = self._clock(), (provider, hint.digest)
        if mark in self._tried or now < self._rests.get(provider, now):
            return
        if len(self._tasks) >= MAX_WAITING:
            return
        self._tried[mark] = None
        self._rests[provider] = now + REST_SECONDS
        for remembered in (self._tried, self._rests):
            while len(remembered) > MAX_REMEMBERED:
                remembered.popitem(last=False)
        task = asyncio.get_running_loop().create_task(
            self._follow(site, provider, hint), name="cocoon-gossip"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, site: Site, provider: str, hint: ForkHint) -> None:
        try:
            async with self._turn:
                raw = await self._fetched(site, hint)
                claim = await asyncio.to_thread(read_claim, raw)
                if claim != hint[:3]:
                    logger.info("provider %s hints at one registry and shows another", provider)
                    return
                await self._judge.confront(raw)
        except RegistryEquivocationError as error:
            logger.error("provider %s showed that the registry is forked: %s", provider, error)
        except (PageError, TimeoutError, CocoonError) as error:
            logger.info(
                "a hint of provider %s at another registry says nothing: %s", provider, error
            )
        except Exception as error:  # noqa: BLE001 - nobody waits for this task
            logger.error("following a hint failed: %s", type(error).__name__)

    async def _fetched(self, site: Site, hint: ForkHint) -> bytes:
        content = bytearray()
        async with asyncio.timeout(FETCH_SECONDS):
            for path, size in hint.pages:
                if content:
                    await asyncio.sleep(PIECE_PAUSE)
                piece = await get_page(site, path, limit=size, transport=self._transport)
                if len(piece) != size:
                    raise PageError(f"{path} has {len(piece)} bytes, not {size}", passing=False)
                content += piece
        return bytes(content)
