"""Payloads of root and registry files, and envelopes around them: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import Signer, format_public_key
from cocoon_sdk.registry.dsse import Envelope, decode_envelope, sign_envelope, signing_keys
from cocoon_sdk.registry.model import (
    REGISTRY_TYPE,
    ROOT_TYPE,
    Entry,
    RegistryPayload,
    Role,
    RootPayload,
    Shard,
)
from cocoon_sdk.registry.network import parse_network
from cocoon_sdk.registry.trust import MAX_ROOT_BYTES
from cocoon_sdk.registry.verify import MAX_REGISTRY_BYTES
from cocoon_sdk.ton.address import Address

HOUR = 3600
DAY = 24 * HOUR

ROOT_LIFETIME = 365 * DAY
FRESH_FOR = 3 * HOUR  # then clients refresh
REGISTRY_LIFETIME = DAY  # then they refuse

T = TypeVar("T", RootPayload, RegistryPayload)


def make_role(keys: Sequence[bytes], threshold: int) -> Role:
    """A role of m of n keys.

    Raises:
        ConfigError: no keys, a repeated or malformed key, an impossible threshold.
    """
    # Built through the decoder, so that nothing is signed which clients would refuse to read.
    fields = {"threshold": threshold, "keys": [format_public_key(key) for key in keys]}
    try:
        return msgspec.convert(fields, Role)
    except msgspec.ValidationError as error:
        raise ConfigError(f"not a possible role: {error}") from None


def check_root(root: RootPayload) -> RootPayload:
    """The root, if it is one that clients would read and that keeps the roles apart.

    Raises:
        RegistryFormatError: `network` is not a chain id with a registry name.
        ConfigError: one key in both roles, an anchor that is no address, or a field out of bounds.
    """
    parse_network(root.network)
    if root.anchor is not None:
        Address.parse(root.anchor.contract)
    if set(root.root.keys) & set(root.registry.keys):
        raise ConfigError(
            "one key is in both roles; root keys stay offline, registry keys sign hourly"
        )
    return _checked(root, RootPayload)


def build_registry(
    *,
    root: RootPayload,
    version: int,
    prev: bytes | None,
    issued: int,
    entries: Sequence[Entry] | None = None,
    shards: Sequence[Shard] | None = None,
    revoked: Sequence[str] = (),
    min_seq: Mapping[str, int] | None = None,
) -> RegistryPayload:
    """The payload of registry.json under `root`.

    Args:
        root: whose registry role will sign.
        version: one above the version before.
        prev: SHA-256 of the payload before, None for version 1.
        issued: unix seconds.
        entries: as the providers signed them; None where `shards` hold them.
        shards: lines of the index.
        revoked: provider ids (hex) whose keys must not be used.
        min_seq: lowest acceptable sequence number by provider id.

    Raises:
        ConfigError: a field out of bounds.
    """
    payload = RegistryPayload(
        network=root.network,
        version=version,
        root_version=root.version,
        issued=issued,
        fresh_until=issued + FRESH_FOR,
        expires=issued + REGISTRY_LIFETIME,
        prev=None if prev is None else prev.hex(),
        entries=None if entries is None else list(entries),
        shards=None if shards is None else list(shards),
        revoked=list(revoked),
        min_seq=dict(min_seq or {}),
    )
    return _checked(payload, RegistryPayload)


def seal(payload: RootPayload | RegistryPayload, signers: Iterable[Signer]) -> bytes:
    """The envelope of a payload, signed by each signer; whether they are enough is not judged."""
    kind = ROOT_TYPE if isinstance(payload, RootPayload) else REGISTRY_TYPE
    return sign_envelope(msgspec.json.encode(payload), kind, signers)


def open_envelope(raw: bytes, *, what: str) -> Envelope:
    """An envelope of either kind, within the size that its kind may have; nothing is verified.

    Raises:
        RegistryFormatError: it is not an envelope, or too large.
    """
    envelope = decode_envelope(raw, what=what, limit=MAX_REGISTRY_BYTES)
    if envelope.payload_type == ROOT_TYPE:
        decode_envelope(raw, what=what, limit=MAX_ROOT_BYTES)
    return envelope


def shortfall(raw: bytes, roles: Mapping[str, Role], *, what: str) -> str | None:
    """What an envelope still lacks, in words; None once every role has reached its threshold."""
    envelope = open_envelope(raw, what=what)
    for name, role in roles.items():
        signed = signing_keys(envelope, role.public_keys)
        if len(signed) < role.threshold:
            return (
                f"{what} needs {role.threshold} of {len(role.keys)} {name} keys, "
                f"{len(signed)} of them signed"
            )
    return None


def _checked(payload: T, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(msgspec.json.encode(payload), type=kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"this cannot be signed, clients would not read it: {error}") from None
