"""Settings: what is read, and errors that name the setting and the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cocoon_provider.config import load_config, parse_config
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.payments.meter import Price

GOOD: dict[str, Any] = {"models": {"m": {"prompt": "0.02", "completion": 100}}}


def test_a_short_file_gets_defaults(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[models.m]\nprompt = "0.02"\ncached = 5\ncompletion = "1"\n')
    config = load_config(path)
    assert config.prices() == {"m": Price(20_000_000, 5, 10**9)}
    assert (config.network, config.listen.host, config.channels.window) == (-239, "127.0.0.1", 64)
    assert config.concurrency == 4


def test_cached_tokens_cost_like_others_unless_said_otherwise() -> None:
    assert parse_config(GOOD, source="x").prices()["m"] == Price(20_000_000, 20_000_000, 100)


@pytest.mark.parametrize(
    ("text", "network"), [("-239/main", -239), ("devnet/demo", -217), (-3, -3), ("-3", -3)]
)
def test_the_network_may_name_a_registry(text: object, network: int) -> None:
    assert parse_config(GOOD | {"chain": {"network": text}}, source="x").network == network


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"models": {}}, "models"),
        ({"models": {"m": {"prompt": 0.5, "completion": 1}}}, "models.m: "),
        (
            {"models": {"m": {"prompt": "0.5"}}},
            "models.m: Object missing required field `completion`",
        ),
        ({"models": {"m": 3}}, "models.m: "),
        ({"models": 3}, "models"),
        ({"models": {"m": {"prompt": -1, "completion": 1}}}, "models.m"),
        ({"models": {"m": {"prompt": 1, "cached": 2, "completion": 1}}}, "models.m"),
        ({"models": {"m": {"prompt": "1.0000000001", "completion": 1}}}, "models.m"),
        ({"prize": 1}, "prize"),
        ({"listen": {"port": 70_000}}, "listen.port"),
        ({"listen": {"port": "80"}}, "listen.port"),
        ({"channels": {"min_deposit": "lots"}}, "channels.min_deposit"),
        ({"channels": {"min_close_delay": 8 * 86_400}}, "channels.min_close_delay"),
        ({"channels": {"window": 8}}, "channels.window"),
        ({"settlement": {"threshold": -1}}, "settlement.threshold"),
        ({"settlement": {"cost": "x"}}, "settlement.cost"),
        ({"chain": {"network": "mars"}}, "chain.network"),
        ({"backend": "magic"}, "backend"),
        ({"endpoint": "https://example.org"}, "endpoint"),
        ({"engine": {"device": "tpu"}}, "engine.device"),
        ({"attestation": {"fresh": "tsm"}}, "attestation.fresh"),
        ({"attestation": {"bundle": "x", "fresh": "magic"}}, "attestation.fresh"),
        ({"settlement": {"interval": float("inf")}}, "settlement.interval"),
        ({"settlement": {"interval": float("nan")}}, "settlement.interval"),
    ],
)
def test_errors_name_the_setting_and_the_file(change: dict[str, object], names: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(GOOD | change, source="/etc/p.toml")
    assert "/etc/p.toml" in str(caught.value)
    assert names in str(caught.value)


def test_a_missing_or_broken_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cocoon-provider init"):
        load_config(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("models = [")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(broken)
    for beyond in ("a = " + "[" * 5_000, "a = " + "1" * 5_000):
        broken.write_text(beyond)
        with pytest.raises(ConfigError, match="not valid TOML"):
            load_config(broken)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not text in UTF-8"):
        load_config(binary)
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        load_config(tmp_path)
