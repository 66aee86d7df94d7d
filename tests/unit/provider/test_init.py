"""`init` and what lies in the provider's folder afterwards; the entry that a registry takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cocoon_provider.backends.echo import EchoBackend
from cocoon_provider.config import parse_config
from cocoon_provider.operations.home import Home
from cocoon_provider.operations.init import InitChoices, init_provider
from cocoon_provider.operations.register import describe, write_entry
from cocoon_sdk.errors import ConfigError, RegistryFormatError
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.payments.meter import Price
from cocoon_sdk.registry.descriptor import check_descriptor, decode_entry, read_descriptor
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.contract.channel import CODE_HASH
from tests.provider_world import make_config

CHOICES = InitChoices(
    model="smollm2-135m-instruct",
    network="devnet/demo",
    chain_urls=("http://127.0.0.1:1", "http://127.0.0.1:2"),
    prompt="20",
    cached="2",
    completion="100",
)
NOW = 1_800_000_000


def test_what_init_writes_is_read_back(tmp_path: Path) -> None:
    made = init_provider(tmp_path / "p", CHOICES)
    home = Home.at(tmp_path / "p")
    config = home.config()
    assert config.prices() == {"smollm2-135m-instruct": Price(20 * 10**9, 2 * 10**9, 100 * 10**9)}
    assert (config.network, config.chain.urls) == (-217, list(CHOICES.chain_urls))
    assert home.identity().public_key == made.identity
    assert home.books(config).wallet.address == made.wallet
    for name in ("identity.key", "wallet.key"):
        assert (tmp_path / "p" / name).stat().st_mode & 0o077 == 0


def test_a_folder_with_a_provider_is_left_alone(tmp_path: Path) -> None:
    init_provider(tmp_path, CHOICES)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match=r"already.*init --home FOLDER"):
        init_provider(tmp_path, CHOICES)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "cheap"},
        {"cached": "21"},
        {"model": "a\nb"},
        {"backend": "magic"},
        {"network": "x"},
    ],
)
def test_wrong_choices_leave_nothing_behind(tmp_path: Path, change: dict[str, str]) -> None:
    from dataclasses import replace

    with pytest.raises((ConfigError, RegistryFormatError)):
        init_provider(tmp_path, replace(CHOICES, **change))
    assert not list(tmp_path.iterdir())


def test_odd_names_are_quoted(tmp_path: Path) -> None:
    from dataclasses import replace

    name = 'we"ird\\model.v1'
    init_provider(tmp_path, replace(CHOICES, model=name))
    assert list(Home.at(tmp_path).config().models) == [name]


def test_the_entry_is_one_that_a_registry_accepts(tmp_path: Path) -> None:
    identity, payout = Ed25519Key.generate(), Address(0, b"\x05" * 32)
    config = make_config(chain={"network": "devnet/demo"}, region="eu")
    backend = EchoBackend(("echo", "free"))
    made = describe(
        config,
        identity=identity,
        payout=payout,
        endpoint="ws://127.0.0.1:5",
        models=backend.models.values(),
        now=NOW,
    )
    path = tmp_path / "deep" / "entry.json"
    write_entry(path, identity, made)
    write_entry(path, identity, made)
    assert [p.name for p in path.parent.iterdir()] == ["entry.json"]
    assert set(json.loads(path.read_bytes())) == {"d", "s"}
    found = read_descriptor(decode_entry(path.read_bytes()))
    check_descriptor(found, network="devnet/demo", now=NOW + 7 * 86_400 - 1)
    assert (found.payout, found.code_hash, found.window) == (payout.raw, CODE_HASH.hex(), 64)
    assert (found.close_delay, found.region, found.min_deposit) == (86_400, "eu", 50_000_000)
    offer = found.offer("echo")
    assert offer is not None
    assert offer.hash == backend.models["echo"].hash.hex()
    assert tuple(offer.price.prompt for offer in found.models) == (20_000_000_000, 0)


def test_a_descriptor_asks_for_at_least_its_own_minimum_close_delay() -> None:
    config = parse_config(
        {
            "models": {"echo": {"prompt": 1, "completion": 1}},
            "channels": {"min_close_delay": 172_800},
        },
        source="x",
    )
    backend = EchoBackend(("echo",))
    made = describe(
        config,
        identity=Ed25519Key.generate(),
        payout=Address(0, bytes(32)),
        endpoint="wss://a.example",
        models=backend.models.values(),
        now=NOW,
    )
    assert made.close_delay == 172_800
