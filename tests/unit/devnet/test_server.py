"""Starting and stopping: loopback only, one clear error, and signals that end it cleanly."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from pathlib import Path

import httpx
import pytest

from cocoon_sdk.devnet.server import HOST, serve
from cocoon_sdk.errors import ConfigError, StoreError
from cocoon_sdk.ton.chain import DEVNET_NETWORK, MAINNET, TESTNET

pytestmark = pytest.mark.anyio


def never(url: str) -> None:
    pytest.fail(f"{url} was announced")


@pytest.mark.parametrize("network", [MAINNET, TESTNET])
async def test_public_networks_are_not_imitated(network: int) -> None:
    with pytest.raises(ConfigError, match="public network"):
        await serve(network=network, port=0, file=None, on_ready=never)


async def test_a_port_that_cannot_be_had() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        for wrong in (port, 65_536):
            with pytest.raises(ConfigError, match=f"port {wrong} .*--port 0"):
                await serve(network=DEVNET_NETWORK, port=wrong, file=None, on_ready=never)


async def test_an_unusable_file_frees_the_port(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(StoreError):
        await serve(network=DEVNET_NETWORK, port=port, file=tmp_path, on_ready=never)
    with socket.create_server((HOST, port)):
        pass


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need the main thread"
)
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_ready_when_it_answers_and_gone_after_a_signal(
    sign: signal.Signals, tmp_path: Path
) -> None:
    before = signal.getsignal(sign)
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    file = tmp_path / "devnet.sqlite"
    running = asyncio.create_task(
        serve(network=DEVNET_NETWORK, port=0, file=file, on_ready=ready.set_result)
    )
    url = await asyncio.wait_for(ready, 10)
    assert url.startswith("http://127.0.0.1:")
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{url}/devnet/status")).json()["network"] == DEVNET_NETWORK
    os.kill(os.getpid(), sign)
    await asyncio.wait_for(running, 10)
    assert signal.getsignal(sign) is before
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/devnet/status")
