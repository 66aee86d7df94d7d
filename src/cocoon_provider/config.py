"""The provider's settings: one TOML file, every error names the setting and the file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from cocoon_sdk.errors import ConfigError, RegistryFormatError
from cocoon_sdk.payments.amounts import parse_amount
from cocoon_sdk.payments.meter import WINDOW_TOKENS, Price
from cocoon_sdk.registry.network import parse_network
from cocoon_sdk.registry.sources import open_source
from cocoon_sdk.settings import state_dir
from cocoon_sdk.ton.chain import MAINNET
from cocoon_sdk.ton.contract.channel import MAX_CLOSE_DELAY

CONFIG_NAME = "config.toml"
IDENTITY_NAME = "identity.key"
WALLET_NAME = "wallet.key"
ENTRY_NAME = "entry.json"
BUNDLE_NAME = "attestation.bin"
LEDGER_NAME = "ledger.sqlite"

Amount = str | int
Positive = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Seconds = Annotated[float, Meta(gt=0, le=366 * 86_400)]  # TOML has an infinity, timers have not


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; an unknown setting is an error, not a surprise."""


class Listen(_Section, frozen=True):
    """Where the server listens. Port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: Port = 10_080


class Chain(_Section, frozen=True):
    """Access to TON. Without URLs the default API of the network is used.

    `network` is the chain's global id, alone or with the name of a registry: `-239`, `-239/main`,
    `devnet/demo`.
    """

    network: str | int = MAINNET
    urls: list[str] = field(default_factory=list)
    api_key: str | None = None


class ModelPrices(_Section, frozen=True):
    """Price per million tokens: decimal strings of coins, or integers of nano. Zero means free.

    `file` is a local GGUF file or wheel; without it the model's name is one of the catalogue.
    """

    prompt: Amount
    completion: Amount
    cached: Amount | None = None  # as `prompt` unless given
    file: str = ""

    def price(self) -> Price:
        """The price in nano.

        Raises:
            ConfigError: not an amount, or cached tokens dearer than others.
        """
        cached = self.prompt if self.cached is None else self.cached
        return Price(
            parse_amount(self.prompt), parse_amount(cached), parse_amount(self.completion)
        ).validate()


class ChannelTermsPolicy(_Section, frozen=True):
    """Which channels are taken. Deposit in coins or nano, times in seconds."""

    min_deposit: Amount = "0.05"
    min_close_delay: Annotated[int, Meta(ge=60, le=MAX_CLOSE_DELAY)] = 3_600
    window: Annotated[int, Meta(ge=16, le=4_096)] = WINDOW_TOKENS
    mirror_ttl: Seconds = 60.0
    max_state_age: Positive = 120


class SettlementPolicy(_Section, frozen=True):
    """When vouchers are redeemed: from `threshold` unredeemed, never below `cost`."""

    threshold: Amount = "0.25"
    cost: Amount = "0.0015"
    interval: Seconds = 60.0


class Limits(_Section, frozen=True):
    """Bounds on work: `requests` run at once (0: as many as the engine has rows), `waiting` stand in line.

    `connections_per_address` and the hellos count clients by address; behind a proxy that is the proxy's
    own, unless `trusted_proxy_header` names the header in which it tells the client's.
    """

    requests: Annotated[int, Meta(ge=0)] = 0
    waiting: Annotated[int, Meta(ge=0)] = 64
    connections: Positive = 1_024
    connections_per_address: Positive = 128
    handshakes: Positive = 256
    hellos_per_second: Seconds = 5.0
    hello_burst: Positive = 40
    trusted_proxy_header: str = ""
    drain_seconds: Seconds = 60.0


class EngineSettings(_Section, frozen=True):
    """How models run; see `backends.onnx`. `rows` is how many requests of a model run at once."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    allow_cpu: bool = False
    threads: Positive | None = None
    rows: Positive = 4
    quantization: Literal["int8", "f16", "f32"] = "int8"


class Overhead(_Section, frozen=True):
    """Tokens that the chat template may add, for clients that cannot count themselves."""

    base: Annotated[int, Meta(ge=0)] = 64
    per_message: Annotated[int, Meta(ge=0)] = 16


class AttestationSettings(_Section, frozen=True):
    """What is proved to clients. Empty: nothing, and clients know this provider as `operator`.

    `bundle` is the file to serve. `fresh` says where quotes for single sessions come from:
    `tsm` is the Linux kernel of a TDX machine.
    """

    bundle: str = ""
    fresh: Literal["", "tsm"] = ""


class Config(_Section, frozen=True):
    """The whole file.

    Attributes:
        endpoint: The public `wss://` URL; without it the listening address, for loopback use.
        models: Prices by model name; the models on offer.
        backend: `onnx`, or `echo` for tests and development.
        registries: URLs or paths of registries that list us; clients are told where theirs differs.
    """

    models: dict[str, ModelPrices]
    endpoint: str = ""
    region: str = ""
    backend: str = "onnx"
    registries: Annotated[list[str], Meta(max_length=16)] = field(default_factory=list)
    listen: Listen = field(default_factory=Listen)
    chain: Chain = field(default_factory=Chain)
    channels: ChannelTermsPolicy = field(default_factory=ChannelTermsPolicy)
    settlement: SettlementPolicy = field(default_factory=SettlementPolicy)
    limits: Limits = field(default_factory=Limits)
    engine: EngineSettings = field(default_factory=EngineSettings)
    prompt_overhead: Overhead = field(default_factory=Overhead)
    attestation: AttestationSettings = field(default_factory=AttestationSettings)
    database: str = ""
    instance: Annotated[str, Meta(min_length=1, max_length=64)] = "main"

    @property
    def concurrency(self) -> int:
        """How many requests are served at once."""
        return self.limits.requests or self.engine.rows * len(self.models)

    @property
    def network(self) -> int:
        """The chain's global id."""
        return parse_network(str(self.chain.network), name_required=False)[0]

    def prices(self) -> dict[str, Price]:
        """Prices by model, checked."""
        return {name: entry.price() for name, entry in self.models.items()}


def provider_dir() -> Path:
    """Where keys, configuration and books of the provider live by default."""
    return state_dir() / "provider"


def load_config(path: Path) -> Config:
    """Read and check the file.

    Raises:
        ConfigError: missing, not TOML, or a setting is wrong; the message names it.
    """
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no configuration at {path}; run: cocoon-provider init") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text in UTF-8") from error
    except (ValueError, RecursionError) as error:  # numbers and nesting beyond Python's own limits
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    return parse_config(raw, source=str(path))


def parse_config(raw: dict[str, Any], *, source: str) -> Config:
    """Check settings that were read from `source`.

    Raises:
        ConfigError: a setting is wrong; the message names it and the source.
    """
    models = raw.get("models")
    for name, entry in models.items() if isinstance(models, dict) else ():
        try:  # by itself, because in the whole file the error would not say which model it is
            msgspec.convert(entry, ModelPrices)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{source}: models.{name}: {error}") from error
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {error}") from error
    return check_config(config, source=source)


def check_config(config: Config, *, source: str) -> Config:
    """What the types alone cannot say.

    Raises:
        ConfigError: a setting is wrong; the message names it and the source.
    """
    if not config.models:
        raise ConfigError(f"{source}: no model under [models]; add at least one with its prices")
    for name, entry in config.models.items():
        _named(f"{source}: models.{name}", entry.price)
    _named(f"{source}: channels.min_deposit", lambda: parse_amount(config.channels.min_deposit))
    _named(f"{source}: settlement.threshold", lambda: parse_amount(config.settlement.threshold))
    _named(f"{source}: settlement.cost", lambda: parse_amount(config.settlement.cost))
    _named(f"{source}: chain.network", lambda: config.network)
    _named(f"{source}: registries", lambda: [open_source(one) for one in config.registries])
    if config.backend not in {"onnx", "echo"}:
        raise ConfigError(f"{source}: backend is {config.backend!r}; choose onnx or echo")
    if config.attestation.fresh and not config.attestation.bundle:
        raise ConfigError(
            f"{source}: attestation.fresh needs attestation.bundle, which holds the collateral"
        )
    if config.endpoint and not config.endpoint.startswith(("wss://", "ws://")):
        raise ConfigError(f"{source}: endpoint is {config.endpoint!r}; it must be a wss:// URL")
    return config


def _named(setting: str, check: Any) -> None:
    try:
        check()
    except (ConfigError, RegistryFormatError) as error:
        raise ConfigError(f"{setting}: {error}") from error
