"""From a verified registry to the snapshot that one request needs: shards loaded, providers sampled."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

from cocoon_sdk.errors import CocoonError
from cocoon_sdk.registry.listed import SeenSequences
from cocoon_sdk.registry.model import Shard
from cocoon_sdk.registry.shards import shards_of_model
from cocoon_sdk.registry.shelf import ShardShelf
from cocoon_sdk.registry.snapshot import LoadedShard, Snapshot, make_snapshot
from cocoon_sdk.registry.verified import VerifiedRegistry

SHARDS_PER_MODEL = 4
CANDIDATES_PER_MODEL = 64
ROUNDS = 3  # of asking for other shards where some could not be had

_REMEMBERED_VIEWS = 256


class Views:
    """The snapshots of one registry in one process.

    Args:
        shelf: holds the shards.
        seqs: the sequence numbers seen so far.
        rng: draws shards and providers.
        folder_of: where things of a network are kept; None keeps none.
        on_this_machine: the registry comes from a path, bytes or loopback.
    """

    def __init__(
        self,
        shelf: ShardShelf,
        seqs: SeenSequences,
        rng: Random,
        *,
        folder_of: Callable[[str], Path | None],
        on_this_machine: bool,
    ) -> None:
        self._shelf = shelf
        self._seqs = seqs
        self._rng = rng
        self._folder_of = folder_of
        self._on_this_machine = on_this_machine
        self._turned_to: tuple[bytes, bool, tuple[CocoonError, ...]] | None = None
        self._index: Snapshot | None = None
        self._shards: dict[str, Shard] = {}
        self._orders: dict[str, list[Shard]] = {}  # by model, drawn once for each index
        self._parts: dict[str, LoadedShard] = {}
        self._whole: Snapshot | None = None
        self._changes = 0  # of the shelf, when `_whole` was made
        self._views: dict[tuple[str, bool, tuple[str, ...]], Snapshot] = {}

    async def show(
        self,
        registry: VerifiedRegistry,
        *,
        stale: bool,
        model: str | None,
        providers: Collection[str],
        only: Collection[str],
        everything: bool,
        problems: tuple[CocoonError, ...] = (),
    ) -> Snapshot:
        """The snapshot of `registry`; the same object as long as nothing about it changed.

        Args:
            registry: the file, or the index of one in shards.
            stale: whether it is past its expiry.
            model: what the request is for; None shows all that is loaded.
            providers: ids, or at least their first two digits, that must be looked at.
            only: ids; where there are any, no others are drawn for the model.
            everything: load every shard.
            problems: what else is to be told of the registry.
        """
        if self._turned_to != (registry.digest, stale, problems):
            await self._turn_to(registry, stale=stale, problems=problems)
        if self._shards:
            await self._load(None if only else model, [*providers, *only], everything=everything)
        whole = self._all_loaded()
        if model is None or len(whole.for_model(model)) <= CANDIDATES_PER_MODEL:
            return whole
        key = (model, bool(only), tuple(only or providers))
        view = self._views.get(key)
        if view is None:
            limit = 0 if only else CANDIDATES_PER_MODEL
            view = whole.sampled(model, only or providers, limit, self._rng)
            if len(self._views) >= _REMEMBERED_VIEWS:
                self._views.clear()
            self._views[key] = view
        return view

    async def aclose(self) -> None:
        """Stop loading shards."""
        await self._shelf.aclose()

    async def _turn_to(
        self, registry: VerifiedRegistry, *, stale: bool, problems: tuple[CocoonError, ...]
    ) -> None:
        index, self._whole = self._index, None
        self._turned_to = (registry.digest, stale, problems)
        if index is not None and index.digest == registry.digest:
            self._index = replace(index, stale=stale, problems=problems)
            return
        shards = registry.payload.shards or ()
        self._index = make_snapshot(
            registry,
            self._seqs,
            stale=stale,
            on_this_machine=self._on_this_machine,
            problems=problems,
        )
        self._shards = {shard.name: shard for shard in shards}
        self._orders, self._parts = {}, {}
        self._shelf.use(shards, self._folder_of(registry.payload.network))
        await self._shelf.prune()

    async def _load(
        self, model: str | None, providers: Collection[str], *, everything: bool
    ) -> None:
        for _ in range(ROUNDS):
            names = self._shards.keys() if everything else {name[:2] for name in providers}
            wanted = [self._shards[name] for name in names if name in self._shards]
            missing = [
                shard
                for shard in (*wanted, *self._chosen(model))
                if not (self._shelf.holds(shard) or self._shelf.lacks(shard))
            ]
            if not missing:
                return
            await self._shelf.bring(missing)

    def _chosen(self, model: str | None) -> list[Shard]:
        """The shards to look at for a model: the first few of its order that can be had."""
        if model is None:
            return []
        order = self._orders.get(model)
        if order is None:
            order = shards_of_model(list(self._shards.values()), model, self._rng)
            if order:
                self._orders[model] = order
        able = [shard for shard in order if not self._shelf.lacks(shard)]
        return able[:SHARDS_PER_MODEL]

    def _all_loaded(self) -> Snapshot:
        index = self._index
        assert index is not None  # noqa: S101 - a registry was turned to before
        if self._whole is None or self._changes != self._shelf.changes:
            self._whole, self._views = index, {}
            if self._shards:
                self._whole = index.with_shards(self._loaded(index), self._shelf.broken)
            self._changes = self._shelf.changes
        return self._whole

    def _loaded(self, index: Snapshot) -> Iterator[LoadedShard]:
        """The shards on the shelf as providers, which remember the signatures checked before."""
        for name, listing in self._shelf.loaded.items():
            part = self._parts.get(name)
            if part is None:
                part = LoadedShard(index.origin.providers(listing), listing.unreadable)
                self._parts[name] = part
            yield part
