"""A provider as a registry lists it. Its own signature is checked when it becomes a candidate.

Checking every signature of a large registry would cost seconds at start-up, and a client dials a
handful of providers (registry.md: "verified lazily, for candidates only").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from cocoon_sdk.errors import RegistryError
from cocoon_sdk.registry.descriptor import check_descriptor, read_descriptor
from cocoon_sdk.registry.listing import ListedEntry, Listing
from cocoon_sdk.registry.model import Descriptor, Entry
from cocoon_sdk.registry.network import parse_network, registry_id
from cocoon_sdk.registry.verified import VerifiedRegistry
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
class Origin:
    """The registry version through which a provider is listed, and what it says of ids.

    `registry` is the network text, `network` the chain's global id. `allow_loopback` is true for a
    devnet registry of this machine, whose providers may be on loopback. `size` is the file's, in bytes.
    """

    registry: str
    network: int
    version: int
    digest: bytes
    allow_loopback: bool = False
    size: int = 0
    revoked: frozenset[str] = frozenset()
    min_seq: Mapping[str, int] = field(default_factory=dict)
    seen: SeenSequences = field(default_factory=SeenSequences, repr=False, compare=False)

    @cached_property
    def registry_id(self) -> bytes:
        """The 32 bytes that name this registry in CLIENT_AUTH."""
        return registry_id(self.registry)

    def providers(self, listing: Listing) -> tuple[ListedProvider, ...]:
        """The entries of a listing, as providers of this registry."""
        return tuple([ListedProvider(one, self) for one in listing.entries])


class ListedProvider:
    """One entry. `id` and `models` are what the registry's signers let pass; call `verify` to dial."""

    __slots__ = ("_descriptor", "entry", "id", "models", "origin")

    def __init__(self, listed: ListedEntry, origin: Origin) -> None:
        self.id: str = listed.id
        self.models: tuple[str, ...] = listed.models
        self.entry: Entry = listed.entry
        self.origin = origin
        self._descriptor: Descriptor | None = None

    @property
    def public_key(self) -> bytes:
        """The 32-byte identity key."""
        return bytes.fromhex(self.id)

    @property
    def registries(self) -> tuple[str, ...]:
        """The registries that list this provider, by network text."""
        return (self.origin.registry,)

    def verify(self, now: int) -> Descriptor:
        """The descriptor, after all of its checks at `now` (unix seconds).

        The signature is verified once, the times every time.

        Raises:
            RegistryError: the subclass says why; see `check_descriptor` and `read_descriptor`.
        """
        descriptor = self._descriptor
        if descriptor is None:
            descriptor = read_descriptor(self.entry)
            self._descriptor = descriptor
        origin = self.origin
        floor = max(origin.min_seq.get(self.id, 0), origin.seen.floor(self.id))
        check_descriptor(
            descriptor,
            network=origin.registry,
            now=now,
            min_seq=floor,
            revoked=self.id in origin.revoked,
        )
        origin.seen.raise_to(self.id, descriptor.seq)
        return descriptor

    def chosen(self, now: int) -> ListedProvider:  # noqa: ARG002 - one entry leaves no choice
        """The entry that counts at `now`: this one."""
        return self

    def problem(self, now: int) -> str | None:
        """Why this provider cannot be used at `now`, or None: the text for a rejection list."""
        try:
            self.verify(now)
        except RegistryError as error:
            return str(error)
        return None


def origin_of(
    registry: VerifiedRegistry, seen: SeenSequences, *, on_this_machine: bool = False
) -> Origin:
    """What all providers of a registry share. `on_this_machine`: a path, bytes or loopback."""
    payload = registry.payload
    chain = parse_network(payload.network)[0]
    return Origin(
        registry=payload.network,
        network=chain,
        version=payload.version,
        digest=registry.digest,
        allow_loopback=on_this_machine and chain == DEVNET_NETWORK,
        size=len(registry.raw),
        revoked=frozenset(payload.revoked),
        min_seq=payload.min_seq,
        seen=seen,
    )
