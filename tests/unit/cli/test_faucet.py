"""Asking a devnet for coins: what is sent, and what is said when the other end is no devnet."""

from __future__ import annotations

import json

import httpx
import pytest
import respx

from cocoon_sdk.cli.faucet import ask_faucet
from cocoon_sdk.errors import ChainUnavailableError, ConfigError
from cocoon_sdk.ton.address import Address

pytestmark = pytest.mark.anyio

ADDRESS = Address(0, b"\x01" * 32)
URL = "http://127.0.0.1:9"


@respx.mock
@pytest.mark.parametrize("chain", [URL, f"{URL}/", f"{URL},http://other"])
async def test_exact_nano_as_text(chain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    route = respx.post(f"{URL}/devnet/faucet").respond(json={})
    await ask_faucet(chain, ADDRESS, 2**60 + 1)
    monkeypatch.setenv("COCOON_CHAIN", chain)
    await ask_faucet(None, ADDRESS, 2**60 + 1)
    assert [json.loads(call.request.content) for call in route.calls] == [
        {"address": ADDRESS.raw, "amount": str(2**60 + 1)}
    ] * 2


async def test_without_an_address_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COCOON_CHAIN", raising=False)
    with pytest.raises(ConfigError, match="COCOON_CHAIN"):
        await ask_faucet(None, ADDRESS, 1)


@respx.mock
async def test_a_service_that_is_no_devnet_or_is_down() -> None:
    route = respx.post(f"{URL}/devnet/faucet")
    route.respond(404)
    with pytest.raises(ConfigError, match=r"status 404.*only a devnet"):
        await ask_faucet(URL, ADDRESS, 1)
    route.mock(side_effect=httpx.ConnectError("down"))
    with pytest.raises(ChainUnavailableError, match="is it running"):
        await ask_faucet(URL, ADDRESS, 1)
