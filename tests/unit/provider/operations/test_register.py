"""The signed entry: what a registry and a client read in it, and how it is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from cocoon_provider.backends.echo import EchoBackend
from cocoon_provider.operations import register
from cocoon_provider.operations.home import Home
from cocoon_provider.operations.init import InitChoices, init_provider
from cocoon_provider.operations.register import LIFETIME, describe, register_provider, write_entry
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.protocol.kem import supported_suites
from cocoon_sdk.registry.descriptor import decode_entry, read_descriptor
from cocoon_sdk.registry.model import Descriptor, ModelPrice, PromptOverhead
from cocoon_sdk.ton.address import Address
from tests.provider_world import PRICE, make_config

pytestmark = pytest.mark.anyio

IDENTITY = Ed25519Key(b"\x01" * 32)
PAYOUT = Address(0, b"\x02" * 32)
NOW = 1_800_000_000


def described(**settings: object) -> Descriptor:
    config = make_config(**settings)
    return describe(
        config,
        identity=IDENTITY,
        payout=PAYOUT,
        endpoint="wss://p.example",
        models=EchoBackend(tuple(config.models), context=4_096).models.values(),
        now=NOW,
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    folder = tmp_path / "provider"
    choices = InitChoices(
        model="echo", network="devnet/demo", chain_urls=("http://127.0.0.1:9",), backend="echo",
        endpoint="wss://p.example", prompt="1", cached="1", completion="1",
    )  # fmt: skip
    init_provider(folder, choices)
    return Home.at(folder)


def test_every_setting_that_a_client_relies_on_is_in_it() -> None:
    found = described(
        region="eu",
        channels={"min_deposit": "0.3", "min_close_delay": 7_200, "window": 128},
        limits={"requests": 3, "waiting": 9},
        prompt_overhead={"base": 5, "per_message": 6},
    )
    assert (found.id, found.payout) == (IDENTITY.public_key.hex(), PAYOUT.raw)
    assert (found.seq, found.issued, found.expires) == (NOW, NOW, NOW + LIFETIME)
    assert (found.min_deposit, found.window, found.region) == (300_000_000, 128, "eu")
    assert found.limits == {"requests": 3, "waiting": 9}
    assert found.prompt_overhead == PromptOverhead(base=5, per_message=6)
    assert found.suites == list(supported_suites())
    [echo, free] = found.models
    assert (echo.id, echo.ctx, echo.quantization) == ("echo", 4_096, "none")
    assert echo.price == ModelPrice(
        prompt=PRICE.prompt, cached=PRICE.cached, completion=PRICE.completion
    )
    assert free.price == ModelPrice(prompt=0, cached=0, completion=0)
    info = EchoBackend().models["echo"]
    assert (echo.hash, echo.tokens, echo.tokenizer) == (
        info.hash.hex(), info.tokens_hash.hex(), info.tokenizer_hash.hex(),
    )  # fmt: skip


@pytest.mark.parametrize(("least", "asked"), [(3_600, 86_400), (172_800, 172_800)])
def test_a_day_to_close_is_asked_for_unless_more_is_needed(least: int, asked: int) -> None:
    assert described(channels={"min_close_delay": least}).close_delay == asked


def test_without_a_limit_the_engines_rows_are_told() -> None:
    found = described(limits={"hello_burst": 5}, engine={"rows": 6})
    assert found.limits["requests"] == 12  # two models


def test_an_entry_replaces_the_one_before_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "entry.json"
    for seq in (1, 2):
        write_entry(path, IDENTITY, replace(described(), seq=seq))
        assert read_descriptor(decode_entry(path.read_bytes())).seq == seq
    assert list(path.parent.iterdir()) == [path]


def test_the_entry_lists_what_this_installation_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register, "supported_suites", lambda: (1,))
    assert described().suites == [1]


@pytest.mark.parametrize(("before", "after", "warned"), [([1, 2], [1], True), ([1], [1, 2], False)])
def test_a_suite_that_is_gone_is_worth_a_warning(
    before: list[int],
    after: list[int],
    warned: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "entry.json"
    for suites in (before, after):
        write_entry(path, IDENTITY, replace(described(), suites=suites))
    assert read_descriptor(decode_entry(path.read_bytes())).suites == after
    assert ("suites [2]" in caplog.text) == warned


async def test_registering_signs_with_the_providers_own_keys(home: Home, tmp_path: Path) -> None:
    path = await register_provider(home, home.config(), tmp_path / "entry.json")
    found = read_descriptor(decode_entry(path.read_bytes()))
    assert found.id == home.identity().public_key.hex()
    assert found.payout == home.books(home.config()).wallet.address.raw
    assert found.endpoints == ["wss://p.example"]
    assert found.network == "devnet/demo"


async def test_without_an_endpoint_no_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register, "make_backend", lambda _: pytest.fail("loaded"))
    with pytest.raises(ConfigError, match="endpoint"):
        await register_provider(Home.at(tmp_path), make_config(), tmp_path / "entry.json")
    assert not (tmp_path / "entry.json").exists()


@pytest.mark.parametrize("failing", ["start", "describe"])
async def test_the_backend_is_freed_when_registering_fails(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    freed: list[bool] = []

    class Backend(EchoBackend):
        async def start(self) -> None:
            if failing == "start":
                raise ConfigError("no such device")

        async def aclose(self) -> None:
            freed.append(True)

    names = ("echo",) if failing == "start" else ("unpriced",)
    monkeypatch.setattr(register, "make_backend", lambda _: Backend(names))
    with pytest.raises((ConfigError, KeyError)):
        await register_provider(home, home.config(), tmp_path / "entry.json")
    assert freed == [True]
