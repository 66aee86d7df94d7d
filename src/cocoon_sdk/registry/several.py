"""How a user names registries: in code, on a command line, in the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.registry.anchor import ANCHOR_POLICIES, AnchorPolicy
from cocoon_sdk.registry.fetch import RegistryClient
from cocoon_sdk.registry.sources import SourceSpec
from cocoon_sdk.registry.trust import TrustSource
from cocoon_sdk.registry.union import RegistryUnion
from cocoon_sdk.ton.chain import ChainClient

SEPARATOR = ";"  # between registries; keys of one registry are separated by commas


@dataclass(frozen=True, slots=True)
class RegistrySource:
    """One registry and what it must prove; give a list of these to read several.

    Attributes:
        locator: https URL, path or bytes of the registry file.
        trust: root keys (`ed25519:<hex>`), or a pinned root.json (path or bytes).
        trust_threshold: how many of the keys must have signed the first root; a strict majority
            when None.
        mirrors: further places of the same files, besides those that its root names.
        network: the network text to insist on, such as "-239/main".
        anchor: `"off"`, `"warn"` or `"require"`: compare with the account on chain.
        allow_stale: use it after its expiry, while nothing newer can be had.
    """

    locator: SourceSpec
    trust: TrustSource
    trust_threshold: int | None = None
    mirrors: tuple[str | Path, ...] = ()
    network: str | None = None
    anchor: AnchorPolicy = "off"
    allow_stale: bool = False


RegistrySpec = SourceSpec | RegistrySource | Sequence[SourceSpec | RegistrySource]


def registry_sources(
    registry: RegistrySpec | None,
    trust: TrustSource | None = None,
    *,
    trust_threshold: int | None = None,
    anchor: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> tuple[RegistrySource, ...]:
    """The registries that arguments and environment name; arguments come first.

    A text names several with semicolons between them. `trust` then has as many groups, or one for all.

    Args:
        registry: as for `AsyncCocoon`; COCOON_REGISTRY when None.
        trust: for every registry that brings none of its own; COCOON_TRUST when None.
        trust_threshold: goes with `trust`.
        anchor: for every registry that brings no trust of its own; COCOON_ANCHOR when None.
        environ: the environment.

    Raises:
        ConfigError: no registry, no trust, or numbers that do not match.
    """
    given: Any = registry if registry is not None else environ.get("COCOON_REGISTRY", "")
    listed = [given] if isinstance(given, str | bytes | Path | RegistrySource) else list(given)
    found: list[SourceSpec | RegistrySource] = []
    for one in listed:
        if isinstance(one, str):
            found += [text.strip() for text in one.split(SEPARATOR) if text.strip()]
        else:
            found.append(one)
    if not found:
        raise ConfigError("no registry: pass registry= or set COCOON_REGISTRY")
    plain = [one for one in found if not isinstance(one, RegistrySource)]
    groups = iter(_groups(trust, len(plain), environ) if plain else ())
    policy = _anchor(anchor, environ)
    return tuple(
        one
        if isinstance(one, RegistrySource)
        else RegistrySource(one, next(groups), trust_threshold, anchor=policy)
        for one in found
    )


def open_registries(
    sources: Sequence[RegistrySource],
    *,
    cache_dir: str | Path | None = None,
    allow_private: bool = False,
    open_chain: Callable[[int], ChainClient] | None = None,
) -> RegistryClient | RegistryUnion:
    """The registries as one object; nothing is fetched yet. Arguments as for `RegistryClient`."""
    clients = [
        RegistryClient(
            source.locator,
            trust=source.trust,
            trust_threshold=source.trust_threshold,
            mirrors=source.mirrors,
            network=source.network,
            anchor=source.anchor,
            allow_stale=source.allow_stale,
            cache_dir=cache_dir,
            allow_private=allow_private,
            open_chain=open_chain,
        )
        for source in sources
    ]
    return clients[0] if len(clients) == 1 else RegistryUnion(clients)


def _groups(trust: TrustSource | None, count: int, environ: Mapping[str, str]) -> list[TrustSource]:
    """One trust for each of `count` registries."""
    if isinstance(trust, bytes | Path):
        return [trust] * count
    given: Any = trust if trust is not None else environ.get("COCOON_TRUST", "")
    text = given if isinstance(given, str) else ",".join(map(str, given))
    groups = [_group(part) for part in text.split(SEPARATOR) if part.strip(" ,")]
    if not groups:
        raise ConfigError(
            "no root of trust: pass trust= (root keys of the registry, or a pinned root.json) "
            "or set COCOON_TRUST"
        )
    if len(groups) == 1:
        return groups * count
    if len(groups) != count:
        raise ConfigError(
            f"{count} registries are named, but {len(groups)} groups of trusted keys; separate groups "
            f"with {SEPARATOR!r}, in the order of the registries, or give one for all"
        )
    return groups


def _group(text: str) -> TrustSource:
    """Keys, or the path of a root.json."""
    keys = [key.strip() for key in text.split(",") if key.strip()]
    return keys if keys[0].startswith("ed25519:") else Path(text.strip(" ,")).expanduser()


def _anchor(given: str | None, environ: Mapping[str, str]) -> AnchorPolicy:
    text = given if given is not None else environ.get("COCOON_ANCHOR") or "off"
    for policy in ANCHOR_POLICIES:
        if text == policy:
            return policy
    raise ConfigError(f"anchor is {text!r}; use one of {', '.join(ANCHOR_POLICIES)}")


def chain_from_environment(network: int) -> ChainClient:
    """The chain API that COCOON_CHAIN names (several separated by commas), else the public one.

    Raises:
        ConfigError: neither.
    """
    from cocoon_sdk.ton.toncenter import ToncenterClient  # httpx costs start-up time

    urls = [url for url in os.environ.get("COCOON_CHAIN", "").split(",") if url]
    return ToncenterClient(
        urls or None, network=network, api_key=os.environ.get("COCOON_CHAIN_KEY")
    )
