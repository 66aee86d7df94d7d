"""Where the provider's things lie, and what is made of its settings."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from reference.tiny import write_tiny_gguf

from cocoon_provider.backends.echo import EchoBackend
from cocoon_provider.config import Config, ModelPrices
from cocoon_provider.operations.home import Home, make_backend
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import Ed25519Key, save_key
from cocoon_sdk.ton.chain import DEVNET_NETWORK
from cocoon_sdk.ton.wallet import Wallet
from tests.provider_world import make_config


def test_without_a_word_it_is_under_cocoon_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COCOON_HOME", str(tmp_path))
    home = Home.at(None)
    assert home.folder == tmp_path / "provider"
    assert home.config_path == tmp_path / "provider" / "config.toml"


def test_a_configuration_file_brings_its_folder_unless_one_is_named(tmp_path: Path) -> None:
    config = tmp_path / "etc" / "gpu.toml"
    assert Home.at(None, config) == Home(tmp_path / "etc", config)
    assert Home.at(tmp_path / "state", config) == Home(tmp_path / "state", config)
    assert Home.at(tmp_path / "state").config_path == tmp_path / "state" / "config.toml"


def test_the_books_are_beside_the_keys_unless_configured(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    assert home.database_url(make_config()) == f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    assert home.database_url(make_config(database="postgresql://h/b")) == "postgresql://h/b"
    assert home.entry_path == tmp_path / "entry.json"


def test_identity_and_wallet_are_two_files(tmp_path: Path) -> None:
    home, identity, wallet = Home.at(tmp_path), Ed25519Key.generate(), Ed25519Key.generate()
    with pytest.raises(ConfigError):
        home.identity()
    save_key(identity, tmp_path / "identity.key")
    save_key(wallet, tmp_path / "wallet.key")
    assert home.identity().public_key == identity.public_key
    assert home.wallet_key().public_key == wallet.public_key
    books = home.books(make_config(chain={"network": "devnet", "urls": ["http://127.0.0.1:9"]}))
    assert books.chain.network == DEVNET_NETWORK
    assert books.wallet.address == Wallet(wallet, DEVNET_NETWORK).address
    assert books.mirror._policy.provider_key == identity.public_key
    assert books.mirror._policy.payout == books.wallet.address


def test_a_missing_configuration_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cocoon-provider init"):
        Home.at(tmp_path).config()


def test_the_echo_backend_offers_the_models_of_the_configuration() -> None:
    backend = make_backend(make_config())
    assert isinstance(backend, EchoBackend)
    assert list(backend.models) == ["echo", "free"]


def test_the_engine_is_made_as_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    ensured: list[tuple[str, ...]] = []

    def ensure(name: str, *, quantization: str, act: str, title: str) -> str:
        ensured.append((name, quantization, act, title))
        return f"folder of {title}"

    monkeypatch.setattr(
        "cocoon_provider.backends.onnx.OnnxBackend",
        lambda folders, **options: SimpleNamespace(folders=folders, options=options),
    )
    monkeypatch.setattr("cocoon_provider.models.store.ensure_model", ensure)
    monkeypatch.setattr("cocoon_provider.engine.device.choose_device", lambda device: device)
    monkeypatch.setattr(
        "cocoon_provider.engine.device.preferred_act", lambda device: f"act for {device}"
    )
    engine = {"device": "cuda", "rows": 7, "threads": 3, "allow_cpu": True, "quantization": "f16"}
    models = {
        "echo": {"prompt": 1, "completion": 1},
        "mine": {"prompt": 1, "completion": 1, "file": "/models/mine.gguf"},
    }
    made = make_backend(make_config(backend="onnx", engine=engine, models=models))
    assert ensured == [
        ("echo", "f16", "act for cuda", "echo"),
        ("/models/mine.gguf", "f16", "act for cuda", "mine"),
    ]
    assert vars(made) == {
        "folders": ["folder of echo", "folder of mine"],
        "options": {"device": "cuda", "threads": 3, "rows": 7, "allow_cpu": True},
    }


def config_of(name: str, file: Path) -> Config:
    prices = ModelPrices(prompt="1", completion="2", file=str(file))
    return Config(models={name: prices})


@pytest.mark.anyio
async def test_a_local_file_is_offered_under_the_name_of_its_table(tmp_path: Path) -> None:
    file = tmp_path / "Some File.gguf"
    write_tiny_gguf(file)
    backend = make_backend(config_of("my-model", file))
    await backend.start()
    try:
        assert list(backend.models) == ["my-model"]
    finally:
        await backend.aclose()


@pytest.mark.anyio
async def test_a_name_that_cannot_be_offered_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    write_tiny_gguf(file)
    with pytest.raises(ConfigError, match="My_Model"):
        make_backend(config_of("My_Model", file))
