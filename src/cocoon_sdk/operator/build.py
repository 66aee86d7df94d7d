"""Making root and registry files: pure functions from keys and entries to signed bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import Signer, format_public_key
from cocoon_sdk.registry.dsse import decode_envelope, sign_envelope, signing_keys
from cocoon_sdk.registry.model import (
    REGISTRY_TYPE,
    ROOT_TYPE,
    Entry,
    RegistryPayload,
    Role,
    RootPayload,
)
from cocoon_sdk.registry.network import parse_network
from cocoon_sdk.registry.trust import MAX_ROOT_BYTES
from cocoon_sdk.registry.verify import MAX_REGISTRY_BYTES

HOUR = 3600
DAY = 24 * HOUR

ROOT_LIFETIME = 365 * DAY
FRESH_FOR = 3 * HOUR  # then clients refresh
REGISTRY_LIFETIME = DAY  # then they refuse


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


def make_root(
    *,
    network: str,
    version: int,
    expires: int,
    root: Role,
    registry: Role,
    signers: Iterable[Signer],
    mirrors: Sequence[str] = (),
) -> bytes:
    """A signed root.json. `signers` must reach the threshold of `root`; `expires` is unix seconds.

    Raises:
        RegistryFormatError: `network` is not a chain id with a registry name.
        ConfigError: too few signers, or one key in both roles.
    """
    parse_network(network)
    if set(root.keys) & set(registry.keys):
        raise ConfigError(
            "one key is in both roles; root keys stay offline, registry keys sign hourly"
        )
    payload = RootPayload(
        network=network,
        version=version,
        expires=expires,
        root=root,
        registry=registry,
        mirrors=list(mirrors),
    )
    raw = sign_envelope(msgspec.json.encode(payload), ROOT_TYPE, signers)
    _require(raw, root, "root.json", MAX_ROOT_BYTES)
    return raw


def make_registry(
    *,
    root: RootPayload,
    version: int,
    prev: bytes | None,
    issued: int,
    entries: Sequence[Entry],
    signers: Iterable[Signer],
    revoked: Sequence[str] = (),
    min_seq: Mapping[str, int] | None = None,
    fresh_for: int = FRESH_FOR,
    lifetime: int = REGISTRY_LIFETIME,
) -> bytes:
    """A signed registry.json under `root`.

    Args:
        root: whose registry role must be met by `signers`.
        version: one above the version before.
        prev: SHA-256 of the payload before, None for version 1.
        issued: unix seconds.
        entries: as the providers signed them.
        signers: hold registry keys.
        revoked: provider ids (hex) whose keys must not be used.
        min_seq: lowest acceptable sequence number by provider id.
        fresh_for: seconds until clients should refresh.
        lifetime: seconds until they refuse.

    Raises:
        ConfigError: too few signers.
    """
    payload = RegistryPayload(
        network=root.network,
        version=version,
        root_version=root.version,
        issued=issued,
        fresh_until=issued + fresh_for,
        expires=issued + lifetime,
        prev=None if prev is None else prev.hex(),
        entries=list(entries),
        revoked=list(revoked),
        min_seq=dict(min_seq or {}),
    )
    raw = sign_envelope(msgspec.json.encode(payload), REGISTRY_TYPE, signers)
    _require(raw, root.registry, "registry.json", MAX_REGISTRY_BYTES)
    return raw


def _require(raw: bytes, role: Role, what: str, limit: int) -> None:
    signed = signing_keys(decode_envelope(raw, what=what, limit=limit), role.public_keys)
    if len(signed) < role.threshold:
        raise ConfigError(
            f"{what} needs {role.threshold} of {len(role.keys)} keys, {len(signed)} of them are here"
        )
