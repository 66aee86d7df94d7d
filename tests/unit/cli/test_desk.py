"""What a wallet command opens, where its settings come from, and which channel or provider a text means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from registry_world import DAY, descriptor_of

from cocoon_sdk.cli import desk as module
from cocoon_sdk.cli.desk import Desk, master_key_path, open_desk, wallet_key_path
from cocoon_sdk.cli.wallet_options import Call
from cocoon_sdk.errors import ConfigError, RegistrySignatureError
from cocoon_sdk.keys import Ed25519Key, format_public_key, save_key
from cocoon_sdk.operator import operations
from cocoon_sdk.operator.folder import OperatorFolder
from cocoon_sdk.payments import ledger
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus
from cocoon_sdk.registry.descriptor import encode_entry, sign_descriptor
from cocoon_sdk.settings import state_dir
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import DEVNET_NETWORK, MAINNET, TESTNET
from tests.unit.payments.ledger_kit import STATE

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000
PROVIDERS = [Ed25519Key(bytes([number]) * 32) for number in (1, 2)]
IDS = [key.public_key.hex() for key in PROVIDERS]
CHAIN = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REGISTRY", "TRUST", "CHAIN", "CHAIN_KEY", "NETWORK", "STATE", "VOUCHER_KEY"):
        monkeypatch.delenv(f"COCOON_{name}", raising=False)
    monkeypatch.setattr("time.time", lambda: float(NOW))
    save_key(Ed25519Key(bytes([3]) * 32), wallet_key_path())


@pytest.fixture
def registry(tmp_path: Path) -> tuple[str, list[str]]:
    folder = OperatorFolder(tmp_path / "operator")
    root = operations.init(folder.path, network="devnet/test", now=NOW)
    for key in PROVIDERS:
        descriptor = descriptor_of(key, issued=NOW, expires=NOW + DAY)
        operations.add(folder, encode_entry(sign_descriptor(key, descriptor)), now=NOW)
    operations.sign(folder, now=NOW)
    return str(folder.path), list(root.root.keys)


def opening(**options: object):
    return open_desk(Call(**{"chain": CHAIN, **options}))


async def add(desk: Desk, number: int, **changes: object) -> ChannelState:
    state = replace(STATE, address=Address(0, bytes([number]) * 32), **changes)
    identity = await desk.database.run(lambda c: ledger.add_channel(c, state))
    return replace(state, id=identity)


async def test_the_network_is_the_options_then_the_environments_then_the_registrys(
    registry: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, trust = registry
    async with opening() as desk:
        assert (desk.chain.network, desk.snapshot) == (MAINNET, None)
    async with opening(registry=source, trust=trust) as desk:
        assert desk.chain.network == DEVNET_NETWORK
    monkeypatch.setenv("COCOON_NETWORK", str(TESTNET))
    async with opening() as desk:
        assert desk.chain.network == TESTNET
    with pytest.raises(ConfigError, match="of network -217, not -3"):
        async with opening(registry=source, trust=trust):
            pass
    async with opening(network=DEVNET_NETWORK, registry=source, trust=trust) as desk:
        assert desk.chain.network == DEVNET_NETWORK
    monkeypatch.setenv("COCOON_NETWORK", "mainnet")
    with pytest.raises(ConfigError, match="COCOON_NETWORK is 'mainnet'"):
        async with opening():
            pass


async def test_settings_come_from_the_environment_too(
    registry: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source, trust = registry
    monkeypatch.setenv("COCOON_REGISTRY", source)
    with pytest.raises(ConfigError, match="COCOON_TRUST"):
        async with opening():
            pass
    monkeypatch.setenv("COCOON_TRUST", ",".join(trust))
    monkeypatch.setenv("COCOON_STATE", f"sqlite:///{tmp_path / 'elsewhere.sqlite'}")
    async with opening() as desk:
        assert desk.snapshot is not None
        await desk.channels()
    assert (tmp_path / "elsewhere.sqlite").exists()
    monkeypatch.setenv("COCOON_TRUST", str(Path(source) / "root.json"))  # a pinned root
    async with opening() as desk:
        assert desk.snapshot is not None
    stranger = format_public_key(PROVIDERS[0].public_key)
    with pytest.raises(RegistrySignatureError):
        async with opening(trust=[stranger]):  # before the environment
            pass


async def test_the_wallet_is_the_same_every_time() -> None:
    async with opening() as desk:
        first = desk.wallet.address
    async with opening() as desk:
        assert desk.wallet.address == first
    async with opening(network=TESTNET) as desk:
        assert desk.wallet.address != first  # a V5 wallet belongs to one network


async def test_a_wallet_is_not_made_by_the_way() -> None:
    wallet_key_path().unlink()
    with pytest.raises(ConfigError, match=f"no wallet at {wallet_key_path()}.*wallet new"):
        async with opening():
            pass
    assert not wallet_key_path().exists()
    async with open_desk(Call(chain=CHAIN), make_wallet=True) as desk:
        made = desk.wallet.address
    async with opening() as desk:
        assert desk.wallet.address == made


def test_the_master_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert master_key_path() == state_dir() / "voucher.key"
    monkeypatch.setenv("COCOON_VOUCHER_KEY", "~/v.key")
    assert master_key_path() == Path.home() / "v.key"


async def test_channels_of_other_networks_are_not_shown() -> None:
    async with opening(network=DEVNET_NETWORK) as desk:
        mine = await add(desk, 1)
        await add(desk, 2, network=MAINNET)
        assert await desk.channels() == [mine]


async def test_which_channel_a_text_means() -> None:
    async with opening(network=DEVNET_NETWORK) as desk:
        one = await add(desk, 0x11, provider_key=bytes.fromhex(IDS[0]))
        two = await add(desk, 0x12, provider_key=bytes.fromhex(IDS[1]))
        for text in (one.address.raw, one.address.friendly(), "1111", "0:11", IDS[0][:12].upper()):
            assert await desk.channel(text) == one
        assert await desk.channel("12") == two
        for text, count in (("1", 2), ("ff", 0), (f"0:{'99' * 32}", 0)):
            with pytest.raises(ConfigError, match=f"{count} channels match"):
                await desk.channel(text)


async def test_closed_channels_are_past_and_an_empty_text_means_nothing() -> None:
    """A shell variable that is not set must not close the only channel there is."""
    async with opening(network=DEVNET_NETWORK) as desk:
        await add(desk, 1, status=ChannelStatus.CLOSED)
        alive = await add(desk, 2, status=ChannelStatus.CLOSING)
        assert await desk.channel("0:") == alive
        with pytest.raises(ConfigError, match="name one by its address"):
            await desk.channel("")
        with pytest.raises(ConfigError, match="0 channels"):
            await desk.channel(Address(0, b"\x01" * 32).raw)
        past = await desk.channel(Address(0, b"\x01" * 32).raw, closed=True)
        assert past.status is ChannelStatus.CLOSED


async def test_which_provider_a_text_means(
    registry: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, trust = registry
    async with opening(registry=source, trust=trust) as desk:
        assert desk.provider(IDS[0]).id == IDS[0]
        assert desk.provider(IDS[1][:9].upper()).id == IDS[1]
        for text in ("", "zz"):
            with pytest.raises(ConfigError, match="more digits"):
                desk.provider(text)
        monkeypatch.setattr(module.time, "time", lambda: float(NOW + DAY))
        with pytest.raises(Exception, match="expired"):
            desk.provider(IDS[0])
    async with opening() as desk:
        with pytest.raises(ConfigError, match="COCOON_REGISTRY"):
            desk.provider(IDS[0])
