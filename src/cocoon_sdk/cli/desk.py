"""What the wallet's commands work with: the chain, the wallet, the ledger, and the registry's providers."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import Ed25519Key, load_key, load_or_create_key
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus
from cocoon_sdk.payments.channels import list_channels
from cocoon_sdk.payments.tables import CLIENT_MIGRATIONS
from cocoon_sdk.registry.model import Descriptor
from cocoon_sdk.registry.several import chain_from_environment, open_registries, registry_sources
from cocoon_sdk.registry.shared import AnySnapshot
from cocoon_sdk.settings import cache_dir, state_dir
from cocoon_sdk.store.database import Database, default_url
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import MAINNET
from cocoon_sdk.ton.toncenter import ToncenterClient
from cocoon_sdk.ton.wallet import Wallet


@dataclass(frozen=True, slots=True)
class Desk:
    """Open resources of one command, on one network."""

    chain: ToncenterClient
    wallet: Wallet
    database: Database
    snapshot: AnySnapshot | None

    async def channels(self) -> list[ChannelState]:
        """The ledger's channels on this network."""
        found = await list_channels(self.database)
        return [state for state in found if state.network == self.chain.network]

    async def channel(self, text: str, *, closed: bool = False) -> ChannelState:
        """The channel that an address, its first digits, or a provider's first digits name.

        With `closed` a full address may also name one that is past.

        Raises:
            ConfigError: none or several.
        """
        known = await self.channels()
        alive = [one for one in known if one.status is not ChannelStatus.CLOSED]
        exact = _address(text)
        if exact is not None:
            found = [one for one in (known if closed else alive) if one.address == exact]
        else:
            names = ((one, one.address.hash.hex(), one.provider_key.hex()) for one in alive)
            digits = text.lower().removeprefix("0:")
            found = [one for one, *ids in names if any(name.startswith(digits) for name in ids)]
        if not text or len(found) != 1:
            names_found = "".join(f" {one.address.raw}" for one in found)
            raise ConfigError(
                f"{len(found)} channels match {text[:80]!r}{':' if found else ''}{names_found}; "
                "name one by its address: cocoon wallet show"
            )
        return found[0]

    def provider(self, text: str) -> Descriptor:
        """The verified descriptor of the provider with this id, or these first digits of it.

        Raises:
            ConfigError: no registry is configured, or none or several match.
            RegistryError: the descriptor is not valid now.
        """
        if self.snapshot is None:
            raise ConfigError("no registry: pass --registry or set COCOON_REGISTRY")
        digits = text.lower()
        found = [one for one in self.snapshot.providers if one.id.startswith(digits)]
        if not text or len(found) != 1:
            raise ConfigError(
                f"{len(found)} providers of the registry match {text[:64]!r}; give more digits of the id"
            )
        return found[0].verify(int(time.time()))


class Place(Protocol):
    """The options that say where a command works; None leaves it to the environment."""

    @property
    def chain(self) -> str | None:
        """URLs of the chain's API."""
        ...

    @property
    def network(self) -> int | None:
        """The chain's global id."""
        ...

    @property
    def registry(self) -> str | None:
        """URL or path."""
        ...

    @property
    def trust(self) -> list[str] | None:
        """Root keys."""
        ...


@asynccontextmanager
async def open_desk(
    place: Place, *, provider: str | None = None, make_wallet: bool = False
) -> AsyncIterator[Desk]:
    """Open what a command needs; options come before the environment.

    `provider` is the id, or its first digits, that the command will look for. The network is
    `--network`, else COCOON_NETWORK, else the registry's, else mainnet.

    Raises:
        ConfigError: a setting is wrong, or there is no wallet and it is not to be made.
    """
    key = _wallet_key(make=make_wallet)
    snapshot = await _snapshot(place.registry, place.trust, provider)
    number = chosen_network(place)
    if number is None:
        number = snapshot.network if snapshot is not None else MAINNET
    if snapshot is not None and snapshot.network != number:
        raise ConfigError(f"the registry is of network {snapshot.network}, not {number}")
    urls = [url for url in (place.chain or os.environ.get("COCOON_CHAIN", "")).split(",") if url]
    client = ToncenterClient(
        urls or None, network=number, api_key=os.environ.get("COCOON_CHAIN_KEY")
    )
    state_url = os.environ.get("COCOON_STATE") or default_url("client")
    try:
        with Database(state_url, migrations=CLIENT_MIGRATIONS) as database:
            yield Desk(client, Wallet(key, number), database, snapshot)
    finally:
        await client.aclose()


def chosen_network(place: Place) -> int | None:
    """The network that the options or the environment name."""
    return place.network if place.network is not None else _network_from_environment()


def wallet_key_path() -> Path:
    """The file of the wallet's key."""
    return state_dir() / "wallet.key"


def _wallet_key(*, make: bool) -> Ed25519Key:
    path = wallet_key_path()
    if make:
        return load_or_create_key(path)
    if not path.exists():
        raise ConfigError(
            f"there is no wallet at {path}; make one: cocoon wallet new, or bring yours: "
            "cocoon wallet import"
        )
    return load_key(path)


def master_key_path() -> Path:
    """The file of the key from which voucher keys are derived."""
    named = os.environ.get("COCOON_VOUCHER_KEY")
    return Path(named).expanduser() if named else state_dir() / "voucher.key"


def _network_from_environment() -> int | None:
    text = os.environ.get("COCOON_NETWORK")
    if not text:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise ConfigError(
            f"COCOON_NETWORK is {text[:20]!r}; expected a number like -239"
        ) from error


async def _snapshot(
    registry: str | None, trust: list[str] | None, provider: str | None
) -> AnySnapshot | None:
    if not (registry or os.environ.get("COCOON_REGISTRY")):
        return None
    client = open_registries(
        registry_sources(registry, trust or None),
        cache_dir=cache_dir() / "registry",
        open_chain=chain_from_environment,
    )
    try:
        return await client.snapshot(providers=[provider.lower()] if provider else [])
    finally:
        await client.aclose()


def _address(text: str) -> Address | None:
    try:
        return Address.parse(text)
    except ConfigError:
        return None
