"""One verified registry as routing sees it. Providers' own signatures are checked when one is chosen.

Checking every signature of a large registry would cost seconds at start-up, and a client dials a
handful of providers (registry.md: "verified lazily, for candidates only").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from cocoon_sdk.errors import RegistryError
from cocoon_sdk.registry.descriptor import check_descriptor, read_descriptor
from cocoon_sdk.registry.model import Descriptor, Entry
from cocoon_sdk.registry.network import parse_network, registry_id
from cocoon_sdk.registry.verify import VerifiedRegistry
from cocoon_sdk.ton.chain import DEVNET_NETWORK


class SeenSequences:
    """The highest sequence number seen for each provider: an older descriptor is never used again."""

    __slots__ = ("_seqs", "changed")

    def __init__(self, seqs: dict[str, int] | None = None) -> None:
        self._seqs = dict(seqs or {})
        self.changed = False

    def floor(self, provider: str) -> int:
        """The lowest acceptable sequence number."""
        return self._seqs.get(provider, 0)

    def raise_to(self, provider: str, seq: int) -> None:
        """Remember `seq` if it is the highest so far."""
        if seq > self.floor(provider):
            self._seqs[provider] = seq
            self.changed = True

    def merge(self, seqs: dict[str, int]) -> None:
        """Take over what another process has seen."""
        for provider, seq in seqs.items():
            if seq > self.floor(provider):
                self._seqs[provider] = seq

    def as_dict(self) -> dict[str, int]:
        """A copy: provider id to sequence number."""
        return dict(self._seqs)


@dataclass(frozen=True)
class ListedProvider:
    """One entry. `id` and `models` are what the registry's signers let pass; call `verify` to dial."""

    id: str
    models: tuple[str, ...]
    entry: Entry
    network: str
    revoked: bool
    min_seq: int
    _seen: SeenSequences = field(repr=False, compare=False)

    @property
    def public_key(self) -> bytes:
        """The 32-byte identity key."""
        return bytes.fromhex(self.id)

    @cached_property
    def _descriptor(self) -> Descriptor:
        return read_descriptor(self.entry)

    def verify(self, now: int) -> Descriptor:
        """The descriptor, after all of its checks at `now` (unix seconds).

        The signature is verified once, the times every time.

        Raises:
            RegistryError: the subclass says why; see `check_descriptor` and `read_descriptor`.
        """
        descriptor = self._descriptor
        floor = max(self.min_seq, self._seen.floor(self.id))
        check_descriptor(
            descriptor, network=self.network, now=now, min_seq=floor, revoked=self.revoked
        )
        self._seen.raise_to(self.id, descriptor.seq)
        return descriptor

    def problem(self, now: int) -> str | None:
        """Why this provider cannot be used at `now`, or None: the text for a rejection list."""
        try:
            self.verify(now)
        except RegistryError as error:
            return str(error)
        return None


@dataclass(frozen=True)
class Snapshot:
    """A verified registry and its providers.

    `network` is the chain's global id, `registry` the whole network text. `unreadable` counts entries
    that name no provider. `stale` says that the file is past its expiry and was accepted because
    the caller allowed it. `allow_loopback` is true for a devnet registry of this machine, whose
    providers may be on loopback.
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
    allow_loopback: bool = False

    @property
    def registry_id(self) -> bytes:
        """The 32 bytes that name this registry in CLIENT_AUTH."""
        return registry_id(self.registry)

    @cached_property
    def _by_id(self) -> dict[str, ListedProvider]:
        return {provider.id: provider for provider in self.providers}

    def get(self, provider: str) -> ListedProvider | None:
        """The provider with this id (hex), or None."""
        return self._by_id.get(provider)

    def for_model(self, model: str) -> tuple[ListedProvider, ...]:
        """Those that list `model`, in the registry's order."""
        return tuple(provider for provider in self.providers if model in provider.models)


def make_snapshot(
    registry: VerifiedRegistry,
    seen: SeenSequences | None = None,
    *,
    stale: bool = False,
    on_this_machine: bool = False,
) -> Snapshot:
    """Open a verified registry. `on_this_machine`: it came from a path, bytes or loopback."""
    payload, seqs = registry.payload, seen or SeenSequences()
    chain = parse_network(payload.network)[0]
    revoked = frozenset(payload.revoked)
    return Snapshot(
        network=chain,
        registry=payload.network,
        version=payload.version,
        root_version=payload.root_version,
        digest=registry.digest,
        issued=payload.issued,
        fresh_until=payload.fresh_until,
        expires=payload.expires,
        providers=tuple(
            ListedProvider(
                id=listed.id,
                models=listed.models,
                entry=listed.entry,
                network=payload.network,
                revoked=listed.id in revoked,
                min_seq=payload.min_seq.get(listed.id, 0),
                _seen=seqs,
            )
            for listed in registry.listing.entries
        ),
        unreadable=registry.listing.unreadable,
        stale=stale,
        allow_loopback=on_this_machine and chain == DEVNET_NETWORK,
    )
