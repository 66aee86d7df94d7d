"""The payloads of root.json and registry.json, and the descriptor a provider signs (registry.md).

Prices are integers in nano per million tokens, times are unix seconds, digests and ids are lower-case
hex. Root and registry refuse unknown fields; a descriptor may carry fields of later versions.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from cocoon_sdk.keys import is_valid_public_key

ROOT_TYPE = "application/vnd.cocoon.root.v1+json"
REGISTRY_TYPE = "application/vnd.cocoon.registry.v1+json"
PROVIDER_TYPE = "application/vnd.cocoon.provider.v1+json"

MAX_ROLE_KEYS = 32
MAX_DESCRIPTOR_BYTES = 8 * 1024
MAX_SHARD_BYTES = 16 * 1024 * 1024
MAX_SHARDS = 256  # one for each first byte of an id

Hex32 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
KeyText = Annotated[str, Meta(pattern=r"\Aed25519:[0-9a-f]{64}\Z")]
RawAddress = Annotated[str, Meta(pattern=r"\A(?:0|-?[1-9][0-9]{0,9}):[0-9a-f]{64}\Z")]
Time = Annotated[int, Meta(ge=0, le=2**48)]
Version = Annotated[int, Meta(ge=1, le=2**53 - 1)]  # JSON's exact integers
RootVersion = Annotated[int, Meta(ge=1, le=2**32 - 1)]  # uint32 in the anchor contract
Nano = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Floor = Annotated[int, Meta(ge=0, le=2**53 - 1)]  # a sequence number, or none
Name = Annotated[str, Meta(min_length=1, max_length=200)]

_SHARD = re.compile(r"[0-9a-f]{66}")


class Role(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many of which keys must sign. A key listed twice would count twice, so it is refused."""

    threshold: Annotated[int, Meta(ge=1, le=MAX_ROLE_KEYS)]
    keys: Annotated[list[KeyText], Meta(min_length=1, max_length=MAX_ROLE_KEYS)]

    def __post_init__(self) -> None:
        if len(set(self.keys)) != len(self.keys):
            raise ValueError("a role lists the same key twice")
        if self.threshold > len(self.keys):
            raise ValueError(f"a role of {len(self.keys)} keys cannot reach {self.threshold}")
        for key in self.public_keys:
            if not is_valid_public_key(key):
                raise ValueError(f"ed25519:{key.hex()} is not a valid Ed25519 point")

    @property
    def public_keys(self) -> tuple[bytes, ...]:
        """The 32-byte keys."""
        return tuple(bytes.fromhex(key.removeprefix("ed25519:")) for key in self.keys)


class Anchor(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The account whose data holds the newest version and digest on chain."""

    contract: RawAddress


class RootPayload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which keys speak for the registry, signed by the offline keys."""

    network: Name
    version: RootVersion
    expires: Time
    root: Role
    registry: Role
    mirrors: Annotated[list[str], Meta(max_length=16)] = field(default_factory=list)
    anchor: Anchor | None = None


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One provider: the very text it signed and its signature (base64)."""

    d: str
    s: str


class Shard(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One slice of a large registry: the providers whose id begins with `name`.

    The file is bound by `length` (bytes) and `sha256`. `n` counts its entries, `models` the entries
    that list each model.
    """

    name: str
    length: Annotated[int, Meta(ge=2, le=MAX_SHARD_BYTES)]
    sha256: str
    n: Count
    models: dict[Name, Annotated[int, Meta(ge=1, le=2**32 - 1)]]

    def __post_init__(self) -> None:
        # In an index of 256 of these msgspec's own patterns would take most of the time.
        if len(self.name) != 2 or _SHARD.fullmatch(self.name + self.sha256) is None:
            raise ValueError("a shard's name is two hex digits, its sha256 64")
        if max(self.models.values(), default=0) > self.n:
            raise ValueError(f"shard {self.name} lists a model more often than it has entries")


class RegistryPayload(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The listed providers, signed by the online keys. Holds `entries` or `shards`, never both."""

    network: Name
    version: Version
    root_version: RootVersion
    issued: Time
    fresh_until: Time
    expires: Time
    prev: Hex32 | None = None  # None in the first version only
    entries: list[Entry] | None = None
    shards: Annotated[list[Shard], Meta(max_length=MAX_SHARDS)] | None = None
    revoked: list[Hex32] = field(default_factory=list)
    min_seq: dict[Hex32, Floor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.issued <= self.fresh_until <= self.expires:
            raise ValueError("issued, fresh_until and expires are out of order")
        if (self.entries is None) == (self.shards is None):
            raise ValueError("a registry holds either entries or shards")
        if len({shard.name for shard in self.shards or ()}) != len(self.shards or ()):
            raise ValueError("the index names a shard twice")
        if (self.prev is None) != (self.version == 1):
            raise ValueError("prev is the digest of the version before; only version 1 has none")


class ModelPrice(Struct, frozen=True, kw_only=True):
    """Nano per million tokens. `cached` may not exceed `prompt`: budgets reserve at `prompt`."""

    prompt: Nano
    cached: Nano
    completion: Nano

    def __post_init__(self) -> None:
        if self.cached > self.prompt:
            raise ValueError("the price of cached tokens exceeds the price of prompt tokens")


class PromptOverhead(Struct, frozen=True, kw_only=True):
    """The tokens that the chat template adds: once, and for each message."""

    base: Count = 0
    per_message: Count = 0


class ModelOffer(Struct, frozen=True, kw_only=True):
    """One model at one provider. `hash` is the manifest's, `tokens` that of the token bundle."""

    id: Name
    hash: Hex32
    ctx: Annotated[int, Meta(ge=1, le=2**32 - 1)]
    price: ModelPrice
    tokenizer: Hex32
    tokens: Hex32
    quantization: str = ""
    features: list[str] = field(default_factory=list)


class Descriptor(Struct, frozen=True, kw_only=True):
    """What a provider says about itself, signed by its identity key `id`.

    `window` is K, the completion tokens of one payment window; `close_delay` is in seconds and
    `min_deposit` in nano; `payout` is a raw address and `code_hash` that of the channel contract.
    """

    v: Literal[1] = 1
    id: Hex32
    network: Name
    seq: Annotated[int, Meta(ge=1, le=2**53 - 1)]
    issued: Time
    expires: Time
    endpoints: Annotated[list[str], Meta(min_length=1, max_length=8)]
    suites: Annotated[list[Annotated[int, Meta(ge=1, le=63)]], Meta(min_length=1, max_length=8)]
    payout: RawAddress
    code_hash: Hex32
    min_deposit: Nano
    close_delay: Count
    window: Annotated[int, Meta(ge=1, le=2**16)]
    models: Annotated[list[ModelOffer], Meta(min_length=1, max_length=64)]
    att: Hex32 | None = None
    region: Annotated[str, Meta(max_length=64)] = ""
    limits: dict[str, Count] = field(default_factory=dict)
    prompt_overhead: PromptOverhead = field(default_factory=PromptOverhead)

    def __post_init__(self) -> None:
        if self.issued >= self.expires:
            raise ValueError("the descriptor expires before it was issued")
        if len({offer.id for offer in self.models}) != len(self.models):
            raise ValueError("the descriptor offers the same model twice")

    @property
    def public_key(self) -> bytes:
        """The 32-byte identity key."""
        return bytes.fromhex(self.id)

    def offer(self, model: str) -> ModelOffer | None:
        """The offer for `model`, or None."""
        return next((offer for offer in self.models if offer.id == model), None)
