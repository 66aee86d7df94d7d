"""Several registries as one: whoever is listed by one of them can be chosen (threats.md, "Registry signers").

No operator can keep a provider from a client that reads another operator's registry too. A registry that
is down, expired or forked is left out and told in `errors`; what it revokes is not reached through it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from cocoon_sdk.errors import CocoonError, ConfigError, RegistryError, RegistryUnavailableError
from cocoon_sdk.registry.fetch import RETRY_AFTER, RegistryClient, unix_time
from cocoon_sdk.registry.listed import ListedProvider
from cocoon_sdk.registry.model import Descriptor
from cocoon_sdk.registry.snapshot import Snapshot

GRACE = 2.0  # seconds that a slower registry has left once another answered

_REMEMBERED_UNIONS = 64


class SharedProvider:
    """One provider that several registries list. The valid descriptor with the highest `seq` counts."""

    __slots__ = ("id", "listings", "models")

    def __init__(self, listings: Sequence[ListedProvider]) -> None:
        self.id: str = listings[0].id
        self.listings = tuple(listings)
        self.models = tuple(dict.fromkeys(name for one in listings for name in one.models))

    @property
    def public_key(self) -> bytes:
        """The 32-byte identity key."""
        return bytes.fromhex(self.id)

    @property
    def registries(self) -> tuple[str, ...]:
        """The registries that list this provider, by network text."""
        return tuple(one.origin.registry for one in self.listings)

    def chosen(self, now: int) -> ListedProvider:
        """The listing that counts at `now`: of those that pass every check the one of the highest `seq`.

        Raises:
            RegistryError: none passes; the first registry's reason.
        """
        best: tuple[int, ListedProvider] | None = None
        failure: RegistryError | None = None
        for listed in self.listings:
            try:
                seq = listed.verify(now).seq
            except RegistryError as error:
                failure = failure or error
                continue
            if best is None or seq > best[0]:
                best = seq, listed
        if best is not None:
            return best[1]
        assert failure is not None  # noqa: S101 - there is at least one listing
        raise failure

    def verify(self, now: int) -> Descriptor:
        """The descriptor that counts at `now` (unix seconds).

        Raises:
            RegistryError: see `chosen`.
        """
        return self.chosen(now).verify(now)

    def problem(self, now: int) -> str | None:
        """Why this provider cannot be used at `now`, or None."""
        try:
            self.chosen(now)
        except RegistryError as error:
            return str(error)
        return None


@dataclass(frozen=True)
class UnionSnapshot:
    """What several registries list together.

    `network` is the chain's global id, the same for all. `failures` are registries that are left out, by
    their address.
    """

    network: int
    parts: tuple[Snapshot, ...]
    failures: Mapping[str, CocoonError] = field(default_factory=dict)

    @cached_property
    def _by_id(self) -> dict[str, ListedProvider | SharedProvider]:
        found: dict[str, list[ListedProvider]] = {}
        for part in self.parts:
            for one in part.providers:
                found.setdefault(one.id, []).append(one)
        return {
            name: listings[0] if len(listings) == 1 else SharedProvider(listings)
            for name, listings in found.items()
        }

    @cached_property
    def providers(self) -> tuple[ListedProvider | SharedProvider, ...]:
        """Each provider once."""
        return tuple(self._by_id.values())

    @cached_property
    def models(self) -> Mapping[str, int]:
        """How often the registries list each model."""
        counts: Counter[str] = Counter()
        for part in self.parts:
            counts.update(part.models)
        return counts

    @property
    def errors(self) -> tuple[CocoonError, ...]:
        """Registries that are left out, and what is wrong with the others though they serve."""
        return (*self.failures.values(), *(error for part in self.parts for error in part.errors))

    def get(self, provider: str) -> ListedProvider | SharedProvider | None:
        """The provider with this id (hex), or None."""
        return self._by_id.get(provider)

    def for_model(self, model: str) -> tuple[ListedProvider | SharedProvider, ...]:
        """Those that some registry lists for `model`."""
        return tuple(one for one in self.providers if model in one.models)


class _Member:
    """One registry of several, and how it did last."""

    def __init__(self, client: RegistryClient) -> None:
        self.client = client
        self.task: asyncio.Task[Snapshot] | None = None
        self.error: CocoonError | None = None
        self.retry_at = 0

    def settle(self, now: int) -> Snapshot | None:
        """The outcome of what was asked, if it is there; a failure is remembered for a while."""
        task = self.task
        if task is None or not task.done():
            return None
        self.task = None
        try:
            snapshot = task.result()
        except CocoonError as error:
            self.error, self.retry_at = error, now + RETRY_AFTER
            return None
        self.error = None
        return snapshot


class RegistryUnion:
    """Several registries of one chain, read side by side; the same calls as `RegistryClient`.

    The first in the list that answers decides which chain it is.
    """

    def __init__(self, clients: Sequence[RegistryClient]) -> None:
        self._members = [_Member(client) for client in clients]
        self._network: int | None = None
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
        found = [await member.client.confront(envelope) for member in self._members]
        return any(found)

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
        for member in self._members:
            snapshot = found.get(member)
            if snapshot is None:
                failures[member.client.name] = member.error or RegistryUnavailableError(
                    f"{member.client.name} has not answered yet"
                )
                continue
            if self._network is None:
                self._network = snapshot.network
            if snapshot.network != self._network:
                failures[member.client.name] = ConfigError(
                    f"{member.client.name} is a registry of chain {snapshot.network}, the others are "
                    f"of {self._network}; use one chain at a time"
                )
                continue
            parts.append(snapshot)
        if not parts or self._network is None:
            raise next(iter(failures.values()))
        key = (*map(id, parts), *map(str, failures.values()))
        union = self._unions.get(key)
        if union is None or any(a is not b for a, b in zip(union.parts, parts, strict=True)):
            if len(self._unions) >= _REMEMBERED_UNIONS:
                self._unions.clear()
            union = UnionSnapshot(self._network, tuple(parts), failures)
            self._unions[key] = union
        return union


AnyProvider = ListedProvider | SharedProvider
AnySnapshot = Snapshot | UnionSnapshot
Registry = RegistryClient | RegistryUnion
