"""What several registries list together: providers of any of them, each with all of its listings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from cocoon_sdk.errors import CocoonError, RegistryError
from cocoon_sdk.registry.listed import ListedProvider
from cocoon_sdk.registry.model import Descriptor
from cocoon_sdk.registry.snapshot import Snapshot


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


AnyProvider = ListedProvider | SharedProvider
AnySnapshot = Snapshot | UnionSnapshot
