"""The client object: settings and where they come from, no I/O before use, closing, loops."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from attestation_world import policy

from cocoon_sdk.client import AsyncCocoon
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.routing.policy import Routing
from cocoon_sdk.transport.core import Timeouts
from tests.stub_provider import StubProvider, ask, make_customer

KEY = "ed25519:" + "ab" * 32
HEAVY = (
    "sqlalchemy", "alembic", "httpx", "websockets", "pytoniq_core", "nacl", "msgspec", "typer", "rich",
    "numpy", "onnxruntime", "tokenizers",
)  # fmt: skip


def make(**changes: Any) -> AsyncCocoon:
    settings: dict[str, Any] = {"registry": "/nowhere", "trust": [KEY], "assurance": "operator"}
    return AsyncCocoon(**(settings | changes))


def loaded(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after running `code`."""
    script = (
        f"{code}\nimport sys; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded("import cocoon_sdk") & set(HEAVY) == set()


def test_the_client_itself_never_loads_inference_libraries_or_the_command_line() -> None:
    found = loaded("from cocoon_sdk import AsyncCocoon, Budget, Routing, Timeouts")
    assert found & {"numpy", "onnxruntime", "onnx", "gguf", "typer", "rich", "tokenizers"} == set()


def test_a_constructor_touches_neither_disk_nor_network(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COCOON_HOME", str(home))
        make(voucher_key=home / "key", state=f"sqlite:///{home / 'db'}")
        make()
    assert not home.exists()


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("registry", "COCOON_REGISTRY"),
        ("trust", "COCOON_TRUST"),
        ("assurance", "there is no default"),
    ],
)
def test_a_missing_setting_is_named(
    missing: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REGISTRY", "TRUST", "ASSURANCE"):
        monkeypatch.delenv(f"COCOON_{name}", raising=False)
    with pytest.raises(ConfigError, match=said):
        make(**{missing: None})


def test_the_environment_fills_in_and_arguments_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COCOON_REGISTRY", "/somewhere")
    monkeypatch.setenv("COCOON_TRUST", f"{KEY}, {KEY}")
    monkeypatch.setenv("COCOON_ASSURANCE", "blind")
    with pytest.raises(ConfigError, match="COCOON_ASSURANCE is 'blind'"):
        AsyncCocoon()
    with pytest.raises(ConfigError, match="assurance= is 'deaf'"):
        AsyncCocoon(assurance="deaf")
    with pytest.raises(ConfigError, match="COCOON_ATTESTATION"):
        AsyncCocoon(assurance="attested")
    monkeypatch.setenv("COCOON_ATTESTATION", "/nowhere/policy.json")
    assert AsyncCocoon(assurance="attested").request_settings().assurance == "attested"
    monkeypatch.setenv("COCOON_ASSURANCE", "operator")
    assert AsyncCocoon().request_settings().assurance == "operator"


def test_attestation_is_demanded_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert make().request_settings().core.attestations is None
    attested = make(assurance="attested", attestation=policy())
    assert attested.request_settings().core.attestations is not None
    with pytest.raises(ConfigError, match="demands nothing"):
        make(attestation=policy())
    monkeypatch.setenv("COCOON_ATTESTATION", "/nowhere/policy.json")
    assert make().request_settings().core.attestations is None


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), True, "5", None])
def test_timeouts_are_positive_numbers(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="idle"):
        Timeouts(idle=wrong)
    assert Timeouts(total=None).total is None


def test_options_are_a_copy_that_shares_everything_else() -> None:
    client = make()
    other = client.with_options(timeouts=Timeouts(idle=1), routing=Routing(ignore=["x"]))
    mine, theirs = client.request_settings(), other.request_settings()
    assert theirs.core is mine.core
    assert (mine.timeouts.idle, theirs.timeouts.idle) == (15.0, 1)
    assert other.chat.completions is not client.chat.completions
    assert client.with_options().request_settings() == mine


@pytest.mark.anyio
async def test_a_client_works_once_closed_no_more_and_closes_twice(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        client = customer.client()
        assert [model.id for model in await client.models.list()] == ["stub"]
        copy = client.with_options(timeouts=Timeouts())
        await copy.close()  # a copy owns nothing
        await client.chat.completions.create(**ask())
        await client.close()
        await client.close()
        for use in (client, copy):
            with pytest.raises(ConfigError, match="closed"):
                await use.chat.completions.create(**ask())
        with pytest.raises(ConfigError, match="closed"):
            await client.models.list()


@pytest.mark.anyio
async def test_closing_an_unused_client_makes_no_files(tmp_path: Path) -> None:
    client = make(state=f"sqlite:///{tmp_path / 'db'}", voucher_key=tmp_path / "key")
    await client.close()
    assert list(tmp_path.iterdir()) == []


def test_two_event_loops_are_told_apart(tmp_path: Path) -> None:
    customer = make_customer(tmp_path)
    client = customer.client()
    with asyncio.Runner() as first:
        first.run(client.models.list())
        for use in (client.models.list, client.close):
            with pytest.raises(ConfigError, match="another event loop"):
                asyncio.run(use())
        first.run(client.close())


def test_an_unclosed_client_warns(tmp_path: Path) -> None:
    customer = make_customer(tmp_path)
    with asyncio.Runner() as runner:
        client = customer.client()
        runner.run(client.models.list())
        del client
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            gc.collect()
    assert [str(w.message) for w in seen if "AsyncCocoon was not closed" in str(w.message)]


def test_a_client_that_was_never_used_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make()
        gc.collect()


@pytest.mark.anyio
async def test_a_callback_that_fails_disturbs_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def on_event(event: object) -> None:
        raise RuntimeError(type(event).__name__)

    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client(on_event=on_event) as client:
            assert (await client.chat.completions.create(**ask())).text
    assert "the on_event callback failed" in caplog.text


@pytest.mark.anyio
async def test_a_stream_that_is_never_read_sends_nothing(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            stream = await client.chat.completions.create(**ask(), stream=True)
            await stream.close()
            async with client.chat.completions.stream(**ask()):
                pass
            with pytest.raises(Exception, match="closed before its receipt"):
                stream.completion()
        assert stub.handshakes == 0
