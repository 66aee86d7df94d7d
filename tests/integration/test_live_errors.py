"""What goes wrong and what the user is told: the same causes through the client and the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from attestation_world import policy, policy_file

from cocoon_sdk import errors
from cocoon_sdk.types.events import SessionReady
from tests.live import COIN, Account, LiveSystem, other_key

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.xdist_group("live")]


@dataclass(frozen=True)
class Case:
    """One cause. `options` and `env` bring it about on the command line, `client` and `asks` in code."""

    kind: type[errors.CocoonError]
    says: str
    channel: str | None = "echo"
    asks: dict[str, Any] | None = None
    client: Callable[[LiveSystem], dict[str, Any]] = lambda live: {}
    options: tuple[str, ...] = ()
    env: Callable[[LiveSystem], dict[str, str]] = lambda live: {}


CASES = {
    "wrong model": Case(
        errors.ModelNotFoundError,
        "it lists: .*echo",
        asks={"model": "gpt-17"},
        options=("--model", "gpt-17"),
    ),
    "no channel": Case(
        errors.NoProviderError, "no channel: cocoon wallet open [0-9a-f]{64}", channel=None
    ),
    "insufficient funds": Case(
        errors.InsufficientFundsError,
        "cocoon wallet topup [0-9a-f]{16} 5",
        asks={"max_tokens": 60_000},
        options=("--max-tokens", "60000"),
    ),
    "wrong root key": Case(
        errors.RegistrySignatureError,
        "trust|sign",
        client=lambda live: {"trust": [other_key()]},
        env=lambda live: {"COCOON_TRUST": other_key()},
    ),
    "no registry file": Case(
        errors.RegistryUnavailableError,
        "registry",
        client=lambda live: {"registry": live.folder / "nowhere"},
        env=lambda live: {"COCOON_REGISTRY": str(live.folder / "nowhere")},
    ),
    "bad parameter": Case(
        errors.InvalidRequestError,
        "max_tokens is 0",
        asks={"max_tokens": 0},
        options=("--max-tokens", "0"),
    ),
    "no assurance": Case(
        errors.ConfigError,
        "assurance",
        client=lambda live: {"assurance": "blind faith"},
        env=lambda live: {"COCOON_ASSURANCE": "blind faith"},
    ),
    "attestation demanded": Case(
        errors.NoProviderError,
        "attestation",
        client=lambda live: {"assurance": "attested", "attestation": policy()},
        env=lambda live: {
            "COCOON_ASSURANCE": "attested",
            "COCOON_ATTESTATION": str(policy_file(live.folder)),
        },
    ),
    "attestation without a policy": Case(
        errors.ConfigError,
        "COCOON_ATTESTATION",
        client=lambda live: {"assurance": "attested"},
        env=lambda live: {"COCOON_ASSURANCE": "attested"},
    ),
}


async def account_for(case: Case, live: LiveSystem) -> Account:
    account = live.account()
    if case.channel is not None:
        await account.open(live.providers[case.channel])
    return account


@pytest.mark.parametrize("name", CASES)
async def test_each_cause_has_a_type_and_a_way_out(name: str, live: LiveSystem) -> None:
    case = CASES[name]
    account = await account_for(case, live)
    request = {"model": "echo", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10}
    with pytest.raises(case.kind, match=case.says) as caught:
        async with account.client(**case.client(live)) as client:
            await client.chat.completions.create(**(request | (case.asks or {})))
    assert type(caught.value) is case.kind
    assert not [event for event in account.events if isinstance(event, SessionReady)]

    options = case.options if "--model" in case.options else ("--model", "echo", *case.options)
    done = await asyncio.to_thread(
        account.cocoon, "chat", "hi", *options, "--json", **case.env(live)
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["error"]["code"] == case.kind.code
    assert done.stderr.startswith("error: ")
    if case.channel is not None:
        assert (await account.channel()).signed == 0


async def test_a_provider_that_is_down_is_named_with_its_address(live: LiveSystem) -> None:
    provider = live.add_provider("gone")
    live.publish()
    account = live.account()
    await account.open(provider)
    provider.kill()
    async with account.client() as client:
        with pytest.raises(
            errors.ConnectError, match=f"cannot reach ws://127.0.0.1:{provider.port}"
        ):
            await client.chat.completions.create(
                model="gone", messages=[{"role": "user", "content": "hi"}]
            )
    done = await asyncio.to_thread(account.cocoon, "chat", "hi", "--model", "gone")
    assert (done.returncode, done.stdout.strip()) == (1, "")
    assert "cannot reach" in done.stderr
    assert "Traceback" not in done.stderr
    channel = await account.channel()
    assert (channel.signed, channel.streams) == (0, ())


async def test_chat_prints_the_answer_and_its_cost(live: LiveSystem) -> None:
    account = live.account()
    await account.open(live.providers["echo"], COIN // 5)
    plain = await asyncio.to_thread(account.cocoon, "chat", "hello \x1b[31mred", "--model", "echo")
    assert plain.returncode == 0
    assert plain.stdout == "hello \\x1b[31mred\n"
    assert "coins" in plain.stderr
    told = await asyncio.to_thread(account.cocoon, "chat", "hi", "--model", "echo", "--json")
    reply = json.loads(told.stdout)
    assert reply["choices"][0]["message"]["content"] == "hi"
    assert reply["receipt"]["verified"] is True
    assert reply["usage"]["cost_nano"] == reply["receipt"]["cost_nano"] > 0
