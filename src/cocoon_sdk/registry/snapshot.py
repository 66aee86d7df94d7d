"""One verified registry as routing sees it: its version, its models, and the providers to choose from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random
from typing import NamedTuple

from cocoon_sdk.errors import CocoonError, RegistryError
from cocoon_sdk.registry.listed import ListedProvider, Origin, SeenSequences, origin_of
from cocoon_sdk.registry.model import Shard
from cocoon_sdk.registry.verified import VerifiedRegistry

_REMEMBERED_MODELS = 1024  # names come from requests, so they are not remembered without end


class LoadedShard(NamedTuple):
    """A shard as providers; `unreadable` counts entries that name none."""

    providers: tuple[ListedProvider, ...]
    unreadable: int


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A verified registry and its providers.

    `network` is the chain's global id, `registry` the whole network text. Of a registry in shards,
    `providers` are those of the shards that were needed so far; `broken` are shards that could not be
    had, by name, each with the reason. `unreadable` counts entries that name no provider. `stale`
    says that the file is past its expiry and was accepted because the caller allowed it.
    """

    network: int
    registry: str
    version: int
    root_version: int
    digest: bytes
    issued: int
    fresh_until: int
    expires: int
    providers: tuple[ListedProvider, ...]
    unreadable: int = 0
    stale: bool = False
    origin: Origin = field(repr=False)
    broken: Mapping[str, RegistryError] = field(default_factory=dict)
    problems: tuple[CocoonError, ...] = ()
    _index: Sequence[Shard] = field(default=(), repr=False)
    _unsampled: tuple[ListedProvider, ...] | None = field(default=None, repr=False)

    @cached_property
    def models(self) -> Mapping[str, int]:
        """How many providers the registry lists for each model, whatever shards were loaded."""
        counts: Counter[str] = Counter()
        for shard in self._index:
            counts.update(shard.models)
        if not self._index:
            counts.update(
                name for one in self._unsampled or self.providers for name in set(one.models)
            )
        return counts

    @property
    def errors(self) -> tuple[CocoonError, ...]:
        """What is wrong, though the registry serves: a failed refresh, the anchor, broken shards."""
        return (*self.problems, *self.broken.values())

    @cached_property
    def _by_id(self) -> dict[str, ListedProvider]:
        return {provider.id: provider for provider in self.providers}

    @cached_property
    def _by_model(self) -> dict[str, tuple[ListedProvider, ...]]:
        return {}

    def get(self, provider: str) -> ListedProvider | None:
        """The provider with this id (hex), or None."""
        return self._by_id.get(provider)

    def for_model(self, model: str) -> tuple[ListedProvider, ...]:
        """Those that list `model`, in the registry's order."""
        found = self._by_model.get(model)
        if found is None:
            found = tuple([provider for provider in self.providers if model in provider.models])
            if len(self._by_model) < _REMEMBERED_MODELS:
                self._by_model[model] = found
        return found

    def with_shards(
        self, shards: Iterable[LoadedShard], broken: Mapping[str, RegistryError]
    ) -> Snapshot:
        """This index with the providers of some of its shards."""
        loaded = tuple(shards)
        return replace(
            self,
            providers=tuple([one for shard in loaded for one in shard.providers]),
            unreadable=sum(shard.unreadable for shard in loaded),
            broken=dict(broken),
        )

    def sampled(self, model: str, named: Collection[str], limit: int, rng: Random) -> Snapshot:
        """This snapshot, with `limit` random providers of `model` (it lists more), and all of `named` ids.

        Every candidate costs a signature check, so a client does not look at thousands.
        """
        chosen = {one.id: one for one in rng.sample(self.for_model(model), limit)}
        chosen |= {name: one for name in named if (one := self.get(name)) is not None}
        return replace(self, providers=tuple(chosen.values()), _unsampled=self.providers)


def make_snapshot(
    registry: VerifiedRegistry,
    seen: SeenSequences | None = None,
    *,
    stale: bool = False,
    on_this_machine: bool = False,
    problems: tuple[CocoonError, ...] = (),
) -> Snapshot:
    """Open a verified registry; of one in shards, the index.

    `stale` says that it is past its expiry, `on_this_machine` that it came from a path, bytes or
    loopback; `problems` are told in `errors`.
    """
    payload = registry.payload
    origin = origin_of(registry, seen or SeenSequences(), on_this_machine=on_this_machine)
    return Snapshot(
        network=origin.network,
        registry=payload.network,
        version=payload.version,
        root_version=payload.root_version,
        digest=registry.digest,
        issued=payload.issued,
        fresh_until=payload.fresh_until,
        expires=payload.expires,
        providers=origin.providers(registry.listing),
        unreadable=registry.listing.unreadable,
        stale=stale,
        origin=origin,
        problems=problems,
        _index=payload.shards or (),
    )
