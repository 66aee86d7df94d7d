"""From settings to a serving provider and back: the order of things, signals, failures."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from cocoon_provider.operations.home import Home
from cocoon_provider.operations.init import InitChoices, init_provider
from cocoon_provider.operations.serve import _url_host, serve
from cocoon_provider.provider import Books, Provider
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.registry.descriptor import decode_entry, read_descriptor

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.name != "posix", reason="signals"),
]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    choices = InitChoices(
        model="echo", network="devnet/demo", chain_urls=("http://127.0.0.1:9",), backend="echo",
        prompt="0", cached="0", completion="0",
    )  # fmt: skip
    init_provider(tmp_path / "p", choices)
    config = tmp_path / "p" / "config.toml"
    config.write_text(re.sub(r"(?m)^port = .*$", "port = 0", config.read_text("utf-8")), "utf-8")
    return Home.at(tmp_path / "p")


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was shut down, in order."""
    done: list[str] = []

    def watch(owner: Any, name: str) -> None:
        real: Callable[[Any], Awaitable[None]] = getattr(owner, name)

        async def watched(self: Any) -> None:
            done.append(f"{owner.__name__}.{name}")
            await real(self)

        monkeypatch.setattr(owner, name, watched)

    watch(Provider, "stop")
    watch(Books, "aclose")
    return done


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_announces_once_it_serves_and_stops_on_a_signal(
    home: Home, closed: list[str], number: int
) -> None:
    said: list[dict[str, str]] = []
    serving = asyncio.create_task(serve(home, home.config(), said.append))
    async with asyncio.timeout(10):
        while not said:
            await asyncio.sleep(0.01)
        [line] = said
        entry = read_descriptor(decode_entry(Path(line["descriptor"]).read_bytes()))
        assert (entry.id, entry.endpoints) == (line["id"], [line["url"]])
        async with httpx.AsyncClient(trust_env=False) as web:
            health = await web.get(line["url"].replace("ws:", "http:") + "/healthz")
        assert health.status_code == 200
        assert closed == []
        os.kill(os.getpid(), number)
        await serving
    assert closed == ["Provider.stop", "Books.aclose"]


async def test_a_second_signal_ends_the_draining(
    home: Home, closed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real_stop, draining = Provider.stop, []

    async def endless(self: Provider) -> None:
        draining.append(self)
        await asyncio.Event().wait()

    monkeypatch.setattr(Provider, "stop", endless)
    said: list[dict[str, str]] = []
    serving = asyncio.create_task(serve(home, home.config(), said.append))
    async with asyncio.timeout(10):
        while not said:
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.05)
        assert not serving.done()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(asyncio.CancelledError):
            await serving
    assert closed == ["Books.aclose"]
    await real_stop(*draining)


async def test_a_port_in_use_is_an_error_and_everything_is_closed(
    home: Home, closed: list[str]
) -> None:
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    home.config_path.write_text(
        home.config_path.read_text("utf-8").replace("port = 0", f"port = {port}"), "utf-8"
    )
    async with taken:
        with pytest.raises(ConfigError, match="cannot listen"):
            await serve(home, home.config(), lambda _: pytest.fail("announced"))
    assert closed == ["Provider.stop", "Books.aclose"]
    assert not home.entry_path.exists()


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("::1", "[::1]"),
        ("gpu.local", "gpu.local"),
    ],
)
async def test_the_url_is_one_that_can_be_dialled(host: str, shown: str) -> None:
    assert _url_host(host) == shown
