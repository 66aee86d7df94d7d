"""`cocoon wallet` from an empty folder to a closed channel, against a devnet and a signed registry."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cocoon_sdk.cli.desk import master_key_path
from cocoon_sdk.cli.wallet import app
from cocoon_sdk.errors import ConfigError, InsufficientFundsError
from cocoon_sdk.keys import Ed25519Key, save_key
from cocoon_sdk.operator import operations
from cocoon_sdk.operator.folder import OperatorFolder
from cocoon_sdk.registry.descriptor import encode_entry, sign_descriptor
from cocoon_sdk.ton.contract.channel import CODE_HASH
from tests.integration.devnet_process import Devnet, running
from tests.registry_world import descriptor_of

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("devnet")]

PROVIDER = Ed25519Key(bytes([9]) * 32)
CLOSE_DELAY = 3600


@pytest.fixture(scope="module")
def devnet() -> Iterator[Devnet]:
    with running() as devnet:
        yield devnet


@pytest.fixture
def _environment(devnet: Devnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = int(time.time())
    folder = OperatorFolder(tmp_path / "operator")
    root = operations.init(folder.path, network="devnet/test", now=now)
    descriptor = descriptor_of(
        PROVIDER,
        network="devnet/test",
        issued=now,
        expires=now + 86400,
        close_delay=CLOSE_DELAY,
        min_deposit=50_000_000,
        code_hash=CODE_HASH.hex(),
    )
    operations.add(folder, encode_entry(sign_descriptor(PROVIDER, descriptor)), now=now)
    operations.sign(folder, now=now)
    operations.publish(folder, tmp_path / "registry", now=now)
    monkeypatch.setenv("COCOON_REGISTRY", str(tmp_path / "registry" / "registry.json"))
    monkeypatch.setenv("COCOON_TRUST", ",".join(root.root.keys))
    monkeypatch.setenv("COCOON_CHAIN", devnet.url)


def cocoon_wallet(*arguments: str) -> dict[str, Any]:
    outcome = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    answer: dict[str, Any] = json.loads(outcome.stdout)
    return answer


@pytest.mark.usefixtures("_environment")
def test_a_wallet_from_first_to_last(devnet: Devnet):
    with pytest.raises(ConfigError, match="cocoon wallet new"):
        cocoon_wallet("show")
    made = cocoon_wallet("new")
    shown = cocoon_wallet("show")
    assert (shown["network"], shown["balance_nano"], shown["channels"]) == (-217, 0, [])
    assert shown["address"] == made["addresses"]["-217"]["raw"]
    assert cocoon_wallet("fund", "1")["balance_nano"] == 1_000_000_000

    provider = PROVIDER.public_key.hex()
    with pytest.raises(ConfigError, match="too small"):
        cocoon_wallet("open", provider, "--deposit", "0.06", "--yes")
    with pytest.raises(ConfigError, match="accepts a close delay"):
        cocoon_wallet("open", provider, "--deposit", "0.2", "--close-delay", "60", "--yes")
    with pytest.raises(ConfigError, match="0 providers"):
        cocoon_wallet("open", "ffff", "--deposit", "0.2", "--yes")
    with pytest.raises(ConfigError, match="--yes"):
        cocoon_wallet("open", provider, "--deposit", "0.2")
    opened = cocoon_wallet("open", provider[:10], "--deposit", "0.2", "--yes")
    assert (opened["status"], opened["provider"]) == ("open", provider)
    assert 0.18e9 < opened["available_nano"] < opened["refundable_nano"] < 0.2e9

    address = opened["address"]
    topped = cocoon_wallet("topup", address, "0.1", "--yes")
    assert topped["deposit_nano"] == 300_000_000
    assert 0.299e9 < topped["balance_nano"] < 0.3e9

    closing = cocoon_wallet("close", address[2:12], "--yes")
    assert closing["status"] == "closing"
    assert closing["closing_until"]
    assert cocoon_wallet("cancel-close", address, "--yes")["status"] == "open"
    cocoon_wallet("close", address, "--yes")
    assert cocoon_wallet("close", address)["status"] == "closing"
    devnet.post("/devnet/clock", {"advance": CLOSE_DELAY}).raise_for_status()
    assert cocoon_wallet("close", address)["status"] == "closed"

    shown = cocoon_wallet("show")
    assert [one["status"] for one in shown["channels"]] == ["closed"]
    assert 0.985e9 < shown["balance_nano"] < 1e9
    devnet.assert_balanced()
    with pytest.raises(ConfigError, match="0 channels"):
        cocoon_wallet("close", address)


@pytest.mark.usefixtures("_environment")
def test_people_are_asked_before_money_moves():
    cocoon_wallet("fund", "1")
    provider = PROVIDER.public_key.hex()
    runner = CliRunner()
    declined = runner.invoke(app, ["open", provider, "--deposit", "0.2"], input="n\n")
    assert declined.exit_code == 1
    assert "Lock 0.2 coins" in declined.output
    assert cocoon_wallet("show")["channels"] == []
    accepted = runner.invoke(app, ["open", provider, "--deposit", "0.2"], input="y\n")
    assert accepted.exit_code == 0
    assert "Leaving alone takes 1 hour." in accepted.output
    assert "of the deposit are set aside for rent and fees" in accepted.output
    table = runner.invoke(app, ["show"]).output
    assert "open" in table
    assert provider[:12] in table


@pytest.mark.usefixtures("_environment")
def test_only_a_devnet_gives_coins(monkeypatch: pytest.MonkeyPatch, devnet: Devnet):
    with pytest.raises(ConfigError, match="status 404"):
        cocoon_wallet("fund", "1", "--chain", f"{devnet.url}/api/v2")
    monkeypatch.delenv("COCOON_CHAIN")
    with pytest.raises(ConfigError, match="COCOON_CHAIN"):
        cocoon_wallet("fund", "1")


@pytest.mark.usefixtures("_environment")
def test_a_second_channel_is_opened_only_on_purpose():
    cocoon_wallet("fund", "1")
    opening = ("open", PROVIDER.public_key.hex(), "--deposit", "0.2", "--yes")
    address = cocoon_wallet(*opening)["address"]
    with pytest.raises(ConfigError, match=f"already have the channel {address}.*topup {address}"):
        cocoon_wallet(*opening)
    cocoon_wallet("close", address, "--yes")
    with pytest.raises(ConfigError, match=f"is closing; .*cancel-close {address}"):
        cocoon_wallet(*opening)
    other = cocoon_wallet(*opening, "--another")["address"]
    assert {one["address"] for one in cocoon_wallet("show")["channels"]} == {address, other}
    with pytest.raises(ConfigError, match=f"2 channels match .*{other}"):
        cocoon_wallet("close", PROVIDER.public_key.hex(), "--yes")


@pytest.mark.usefixtures("_environment")
def test_a_wallet_that_holds_too_little_opens_nothing():
    cocoon_wallet("new")
    with pytest.raises(InsufficientFundsError, match=r"holds 0 coins.*cocoon devnet fund 0Q.* 1$"):
        cocoon_wallet("open", PROVIDER.public_key.hex(), "--deposit", "0.2", "--yes")
    assert cocoon_wallet("show")["channels"] == []


@pytest.mark.usefixtures("_environment")
def test_no_new_voucher_key_is_made_while_a_channel_needs_the_old_one():
    cocoon_wallet("fund", "1")
    opening = ("open", PROVIDER.public_key.hex(), "--deposit", "0.2", "--yes", "--another")
    address = cocoon_wallet(*opening)["address"]
    key = master_key_path()
    key.rename(key.with_suffix(".away"))
    with pytest.raises(ConfigError, match=f"no voucher key at .*{address}"):
        cocoon_wallet(*opening)
    assert not key.exists()
    save_key(Ed25519Key.generate(), key)
    with pytest.raises(ConfigError, match=f"is not the voucher key .*{address}"):
        cocoon_wallet(*opening)
    cocoon_wallet("close", address, "--yes")  # the wallet's key is enough
