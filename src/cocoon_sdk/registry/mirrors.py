"""The places of one registry: the user's own, and those that its root names (registry.md, "Fetch").

Two are asked at once, so that one which is dead, slow or stale is noticed by the other. What they say is
signed, so it does not matter whom a client believes, only that somebody answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from random import Random
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit, urlunsplit

from cocoon_sdk.errors import CocoonError, RegistryEquivocationError, RegistryFormatError
from cocoon_sdk.registry.sources import REGISTRY_FILE, Source

AT_ONCE = 2
PAIRS_PER_REFRESH = 3
GRACE = 2.0  # seconds that a slower place has left once another gave a valid file

T = TypeVar("T")

_log = logging.getLogger(__name__)


def mirror_url(url: str) -> str:
    """The registry file of a mirror: a URL that ends with a slash names the folder.

    Raises:
        RegistryFormatError: not a URL.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise RegistryFormatError(f"{url[:120]!a} is not a URL: {error}") from None
    if not parts.path.endswith("/") and parts.path:
        return url
    path = f"{parts.path.rstrip('/')}/{REGISTRY_FILE}"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


class Places:
    """Where one registry may be asked for.

    Args:
        given: what the user named; the first is the registry's own address.
        open_mirror: opens a place that the root names; None where the root's mirrors are not asked,
            as for a file on this machine.
        rng: draws the second place of each pair.
    """

    def __init__(
        self,
        given: Sequence[Source],
        *,
        open_mirror: Callable[[str], Source] | None = None,
        rng: Random,
    ) -> None:
        self.given = tuple(given)
        self._open_mirror = open_mirror
        self._rng = rng
        self._named: tuple[str, ...] = ()
        self._mirrors: tuple[Source, ...] = ()

    @property
    def primary(self) -> Source:
        """The registry's own address."""
        return self.given[0]

    def follow(self, urls: Sequence[str]) -> None:
        """Ask the mirrors of a new root too; one that is malformed is left out."""
        if self._open_mirror is None or tuple(urls) == self._named:
            return
        self._named = tuple(urls)
        known = {source.locator for source in self.given}
        mirrors: dict[str, Source] = {}
        for url in urls:
            try:
                source = self._open_mirror(url)
            except RegistryFormatError as error:
                _log.warning("a mirror of the registry is left out: %s", error)
                continue
            if source.locator not in known:
                mirrors[source.locator] = source
        self._mirrors = tuple(mirrors.values())

    def pairs(self) -> Iterator[tuple[Source, ...]]:
        """Whom to ask: the own address with a random other, then two random others, and so on."""
        others = [*self.given[1:], *self._mirrors]
        self._rng.shuffle(others)
        order = [self.primary, *others]
        for start in range(0, min(len(order), AT_ONCE * PAIRS_PER_REFRESH), AT_ONCE):
            yield tuple(order[start : start + AT_ONCE])

    def in_order(self) -> list[Source]:
        """All of them, the own address first."""
        return [source for pair in self.pairs() for source in pair]


class Race(Generic[T]):
    """What came of asking several places at once: answers, and each failure with its place."""

    def __init__(self) -> None:
        self.answers: list[tuple[Source, T]] = []
        self.errors: list[tuple[Source, CocoonError]] = []

    async def run(
        self, sources: Sequence[Source], ask: Callable[[Source], Coroutine[Any, Any, T]]
    ) -> None:
        """Ask all; after the first answer the others have `GRACE` seconds.

        Raises:
            RegistryEquivocationError: at once; the other answers do not matter then.
        """
        tasks = {asyncio.create_task(ask(source)): source for source in sources}
        pending: set[asyncio.Task[T]] = set(tasks)
        loop = asyncio.get_running_loop()
        give_up: float | None = None
        try:
            while pending and (give_up is None or loop.time() < give_up):
                left = None if give_up is None else give_up - loop.time()
                done, pending = await asyncio.wait(
                    pending, timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    self._take(tasks[task], task)
                if self.answers and give_up is None:
                    give_up = loop.time() + GRACE
            for task in pending:
                _log.info("the registry at %s is too slow, others answered", tasks[task].locator)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def error_of(self, primary: Source) -> CocoonError:
        """The failure to tell of: the own address's, else the first."""
        own = (error for source, error in self.errors if source is primary)
        return next(own, self.errors[0][1])

    def _take(self, source: Source, task: asyncio.Task[T]) -> None:
        try:
            self.answers.append((source, task.result()))
        except RegistryEquivocationError:
            raise
        except CocoonError as error:
            self.errors.append((source, error))
