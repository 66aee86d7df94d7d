"""The provider's folder: keys, configuration, books, and the pieces made from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cocoon_provider.backends.base import Backend
from cocoon_provider.config import (
    BUNDLE_NAME,
    CONFIG_NAME,
    ENTRY_NAME,
    IDENTITY_NAME,
    LEDGER_NAME,
    WALLET_NAME,
    Config,
    load_config,
    provider_dir,
)
from cocoon_provider.provider import Books
from cocoon_sdk.keys import Ed25519Key, load_key
from cocoon_sdk.ton.toncenter import ToncenterClient


@dataclass(frozen=True, slots=True)
class Home:
    """Where everything lies; nothing is read before it is asked for."""

    folder: Path
    config_path: Path

    @classmethod
    def at(cls, folder: Path | None, config: Path | None = None) -> Home:
        """The given folder, or `$COCOON_HOME/provider`."""
        place = folder or (config.parent if config is not None else provider_dir())
        return cls(place, config or place / CONFIG_NAME)

    def config(self) -> Config:
        """The settings.

        Raises:
            ConfigError: missing or wrong.
        """
        return load_config(self.config_path)

    def identity(self) -> Ed25519Key:
        """The key that the registry lists."""
        return load_key(self.folder / IDENTITY_NAME)

    def wallet_key(self) -> Ed25519Key:
        """The key of the wallet that is paid."""
        return load_key(self.folder / WALLET_NAME)

    @property
    def entry_path(self) -> Path:
        """The signed entry for `cocoon registry add`."""
        return self.folder / ENTRY_NAME

    @property
    def bundle_path(self) -> Path:
        """Where `attest` writes."""
        return self.folder / BUNDLE_NAME

    def database_url(self, config: Config) -> str:
        """The books: as configured, or a file in the folder."""
        return config.database or f"sqlite:///{self.folder / LEDGER_NAME}"

    def books(self, config: Config) -> Books:
        """Ledger, chain access and settlement."""
        chain = ToncenterClient(
            config.chain.urls or None, network=config.network, api_key=config.chain.api_key
        )
        return Books(
            config,
            identity=self.identity(),
            wallet_key=self.wallet_key(),
            chain=chain,
            database_url=self.database_url(config),
        )


def make_backend(config: Config) -> Backend:
    """The backend that the configuration names, not started yet."""
    if config.backend == "echo":
        from cocoon_provider.backends.echo import EchoBackend

        return EchoBackend(tuple(config.models))
    from cocoon_provider.backends.onnx import OnnxBackend
    from cocoon_provider.engine.device import choose_device, preferred_act
    from cocoon_provider.models.store import ensure_model

    engine = config.engine
    act = preferred_act(choose_device(engine.device))
    return OnnxBackend(
        [
            ensure_model(entry.file or name, quantization=engine.quantization, act=act, title=name)
            for name, entry in config.models.items()
        ],
        device=engine.device,
        threads=engine.threads,
        rows=engine.rows,
        allow_cpu=engine.allow_cpu,
    )
