"""Nothing that is private shows up in any log, event or error text, on either side, at any level."""

from __future__ import annotations

import asyncio
import logging

import pytest

from cocoon_sdk.errors import CocoonError
from cocoon_sdk.keys import derive_channel_key, load_key
from cocoon_sdk.transport.core import Timeouts
from tests.live import LiveSystem

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.xdist_group("live")]

PROMPT = "canary-7c1f-prompt tell nobody"
SYSTEM = "canary-22ab-system be quiet"


async def test_prompts_answers_and_keys_never_reach_a_log(
    live: LiveSystem, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    account, provider = live.account(), live.providers["slow"]
    await account.open(provider)
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}]
    said: list[str] = []

    def request(text: str) -> dict[str, object]:
        return {"model": "slow", "messages": [*messages, {"role": "user", "content": text}]}

    async with account.client() as client:
        reply = await client.chat.completions.create(**request(PROMPT))
        assert reply.text == PROMPT
        async for _ in await client.chat.completions.create(**request("9 " + PROMPT), stream=True):
            break
        hasty = client.with_options(timeouts=Timeouts(total=0.4))
        for wrong in ({"temperature": PROMPT}, {"stop": [PROMPT, ""]}, {"model": "none"}, {}):
            with pytest.raises(CocoonError) as caught:
                await hasty.chat.completions.create(**(request("9 " + PROMPT) | wrong))
            said.append(f"{caught.value} {caught.value!r}")
        await asyncio.sleep(0.2)
    state = await account.channel()
    master = load_key(account.home / "voucher.key")
    voucher = derive_channel_key(
        master.seed, network=state.network, provider_key=state.provider_key, salt=state.salt
    )
    secrets = {
        "master": master.seed.hex(),
        "voucher": voucher.seed.hex(),
        "wallet": load_key(account.home / "wallet.key").seed.hex(),
        "identity": load_key(provider.home / "provider" / "identity.key").seed.hex(),
        "payout": load_key(provider.home / "provider" / "wallet.key").seed.hex(),
        "prompt": "canary-7c1f",
        "system": "canary-22ab",
    }
    out, err = capfd.readouterr()
    places = {
        "client log": caplog.text,
        "client output": out + err,
        "provider log": provider.log,
        "devnet log": (live.folder / "devnet.log").read_text(),
        "events": repr(account.events),
    }
    assert caplog.text  # the client did log
    found = [
        (what, where)
        for what, secret in secrets.items()
        for where, text in places.items()
        if secret in text.lower()
    ]
    assert found == []
    # Errors may name a wrong value that the caller passed, but never messages or answers.
    assert "canary-7c1f" not in " ".join(said[2:])
