"""`init`: two keys and a commented configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cocoon_provider.config import CONFIG_NAME, IDENTITY_NAME, WALLET_NAME, load_config
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import Ed25519Key, save_key
from cocoon_sdk.registry.network import parse_network
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.wallet import Wallet

_TEMPLATE = """\
# Settings of this provider. Amounts: a string counts whole coins ("0.2"), an integer counts nano.

backend = {backend}             # "onnx", or "echo" for tests
endpoint = {endpoint}           # the public wss:// URL; empty: the listening address (loopback only)
region = ""                     # two letters, if you want to be found by it
registries = []                 # URLs of registries that list you; clients are told of forks

[listen]
host = "127.0.0.1"
port = 10080                    # 0 takes a free port

[chain]
network = {network}             # "-239" mainnet, "-3" testnet; with the registry's name: "-239/main"
urls = {urls}                   # toncenter-like APIs; empty: the network's public one

[channels]
min_deposit = "0.05"            # smaller channels are refused
min_close_delay = 3600          # seconds that a client must wait before it can close alone

[settlement]
threshold = "0.25"              # redeem a channel from here on

# Prices in coins per million tokens; "0" for all three makes the model free.
[models.{model}]
prompt = {prompt}
cached = {cached}
completion = {completion}
"""


@dataclass(frozen=True, slots=True)
class InitChoices:
    """What the operator chose. Prices are texts of coins per million tokens."""

    model: str
    network: str
    chain_urls: tuple[str, ...]
    prompt: str
    cached: str
    completion: str
    backend: str = "onnx"
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class NewProvider:
    """What `init` made."""

    folder: Path
    identity: bytes
    wallet: Address


def init_provider(folder: Path, choices: InitChoices) -> NewProvider:
    """Make keys and configuration in `folder`; what exists already is never overwritten.

    Raises:
        ConfigError: the folder holds a provider already, or a choice is not valid.
    """
    network, _ = parse_network(choices.network, name_required=False)
    config_path = folder / CONFIG_NAME
    for path in (config_path, folder / IDENTITY_NAME, folder / WALLET_NAME):
        if path.exists():
            raise ConfigError(
                f"{path} exists already; this folder holds a provider, nothing was done. "
                "Another one can be made elsewhere: cocoon-provider init --home FOLDER"
            )
    folder.mkdir(parents=True, exist_ok=True)
    config_path.write_text(_render(choices), "utf-8")
    try:
        load_config(config_path)
    except ConfigError:
        config_path.unlink()
        raise
    identity, wallet_key = Ed25519Key.generate(), Ed25519Key.generate()
    save_key(identity, folder / IDENTITY_NAME)
    save_key(wallet_key, folder / WALLET_NAME)
    return NewProvider(folder, identity.public_key, Wallet(wallet_key, network).address)


def _render(choices: InitChoices) -> str:
    return _TEMPLATE.format(
        backend=_quote(choices.backend),
        endpoint=_quote(choices.endpoint),
        network=_quote(choices.network),
        urls="[" + ", ".join(_quote(url) for url in choices.chain_urls) + "]",
        model=_quote(choices.model),
        prompt=_quote(choices.prompt),
        cached=_quote(choices.cached),
        completion=_quote(choices.completion),
    )


def _quote(text: str) -> str:
    """A basic string of TOML."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    if not escaped.isprintable():
        raise ConfigError(f"control characters are not allowed in a setting: {escaped!r}")
    return f'"{escaped}"'
