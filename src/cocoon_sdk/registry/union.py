"""Several registries as one: whoever is listed by one of them can be chosen (threats.md, "Registry signers").

No operator can keep a provider from a client that reads another operator's registry too. A registry that
is down, expired or forked is left out and told in `errors`; what it revokes is not reached through it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence

from cocoon_sdk.errors import (
    CocoonError,
    ConfigError,
    RegistryEquivocationError,
    RegistryUnavailableError,
)
from cocoon_sdk.registry.fetch import RETRY_AFTER, RegistryClient, unix_time
from cocoon_sdk.registry.shared import UnionSnapshot
from cocoon_sdk.registry.snapshot import Snapshot

GRACE = 2.0  # seconds that a slower registry has left once another answered

_REMEMBERED_UNIONS = 64

_log = logging.getLogger(__name__)


class _Member:
    """One registry of several, and how it did last."""

    def __init__(self, client: RegistryClient) -> None:
        self.client = client
        self.task: asyncio.Task[Snapshot] | None = None
        self.error: CocoonError | None = None
        self.retry_at = 0
        self.network: int | None = None  # the chain, once it answered

    def settle(self, now: int) -> Snapshot | None:
        """The outcome of what was asked, if it is there; a failure is remembered for a while."""
        task = self.task
        if task is None or not task.done():
            return None
        self.task = None
        try:
            snapshot = task.result()
        except CocoonError as error:
            if str(self.error) != str(error):  # once, not at each request while it lasts
                _log.warning("the registry %s is left out for now: %s", self.client.name, error)
            self.error, self.retry_at = error, now + RETRY_AFTER
            return None
        self.error, self.network = None, snapshot.network
        return snapshot


class RegistryUnion:
    """Several registries of one chain, read side by side; the same calls as `RegistryClient`.

    The first in the list that ever answered decides which chain it is: one that is quick must not be
    able to put those before it on another chain.
    """

    def __init__(self, clients: Sequence[RegistryClient]) -> None:
        self._members = [_Member(client) for client in clients]
        self._unions: dict[tuple[object, ...], UnionSnapshot] = {}

    async def snapshot(
        self,
        model: str | None = None,
        providers: Collection[str] = (),
        *,
        only: Collection[str] = (),
        everything: bool = False,
    ) -> UnionSnapshot:
        """What the registries list now; for the arguments see `RegistryClient.snapshot`.

        Once one registry answered, a slower one is waited for a moment and then left out.

        Raises:
            RegistryError: none of them is usable; the first one's reason.
        """
        now = unix_time()
        waiting: dict[asyncio.Task[Snapshot], _Member] = {}
        resting: list[_Member] = []
        for member in self._members:
            member.settle(now)  # what an earlier call did not wait for
            if member.task is None and now >= member.retry_at:
                waiting[self._ask(member, model, providers, only, everything)] = member
            else:
                resting.append(member)
        parts = await self._gather(waiting)
        if not parts:  # nothing is left to lose by asking the others again
            again = {
                member.task or self._ask(member, model, providers, only, everything): member
                for member in resting
            }
            parts = await self._gather(again)
        return self._union(parts)

    async def refresh(self) -> UnionSnapshot:
        """Fetch all now, whatever is held.

        Raises:
            RegistryError: none of them was accepted.
        """
        for member in self._members:
            try:
                await member.client.refresh()
            except CocoonError as error:
                member.error, member.retry_at = error, unix_time() + RETRY_AFTER
        return await self.snapshot()

    async def confront(self, envelope: bytes) -> bool:
        """Judge a registry that a provider uses, by each of these; see `RegistryClient.confront`.

        Raises:
            RegistryEquivocationError: it proves that one of them is forked.
        """
        found = await asyncio.gather(
            *(member.client.confront(envelope) for member in self._members), return_exceptions=True
        )
        for failure in found:
            # One that cannot be opened says nothing about what the others hold.
            forked = isinstance(failure, RegistryEquivocationError)
            if isinstance(failure, BaseException) and (
                forked or not isinstance(failure, CocoonError)
            ):
                raise failure
        return any(one is True for one in found)

    async def aclose(self) -> None:
        """Close all registries."""
        for member in self._members:
            if member.task is not None:
                member.task.cancel()
                await asyncio.gather(member.task, return_exceptions=True)
            await member.client.aclose()

    def _ask(
        self,
        member: _Member,
        model: str | None,
        providers: Collection[str],
        only: Collection[str],
        everything: bool,
    ) -> asyncio.Task[Snapshot]:
        member.task = asyncio.create_task(
            member.client.snapshot(model, providers, only=only, everything=everything)
        )
        return member.task

    async def _gather(
        self, waiting: Mapping[asyncio.Task[Snapshot], _Member]
    ) -> dict[_Member, Snapshot]:
        """The answers, in no order. Who is too slow goes on in the background."""
        parts: dict[_Member, Snapshot] = {}
        pending, loop = set(waiting), asyncio.get_running_loop()
        give_up: float | None = None
        while pending and (give_up is None or loop.time() < give_up):
            done, pending = await asyncio.wait(
                pending,
                timeout=None if give_up is None else give_up - loop.time(),
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                member = waiting[task]
                snapshot = member.settle(unix_time())
                if snapshot is not None:
                    parts[member] = snapshot
            if parts and give_up is None:
                give_up = loop.time() + GRACE
        return parts

    def _union(self, found: Mapping[_Member, Snapshot]) -> UnionSnapshot:
        parts: list[Snapshot] = []
        failures: dict[str, CocoonError] = {}
        chains = (member.network for member in self._members if member.network is not None)
        network = next(chains, None)
        for member in self._members:
            snapshot = found.get(member)
            if snapshot is None:
                failures[member.client.name] = member.error or RegistryUnavailableError(
                    f"{member.client.name} has not answered yet"
                )
                continue
            if snapshot.network != network:
                failures[member.client.name] = ConfigError(
                    f"{member.client.name} is a registry of chain {snapshot.network}, the others are "
                    f"of {network}; use one chain at a time"
                )
                continue
            parts.append(snapshot)
        if not parts or network is None:
            raise next(iter(failures.values()))
        key = (*map(id, parts), *map(str, failures.values()))
        union = self._unions.get(key)
        if union is None or any(a is not b for a, b in zip(union.parts, parts, strict=True)):
            if len(self._unions) >= _REMEMBERED_UNIONS:
                self._unions.clear()
            union = UnionSnapshot(network, tuple(parts), failures)
            self._unions[key] = union
        return union


Registry = RegistryClient | RegistryUnion
