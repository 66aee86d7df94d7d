"""Running the devnet: one thread for the network, one event loop for HTTP, loopback only."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvicorn

from cocoon_sdk.devnet.app import make_app
from cocoon_sdk.devnet.blockchain_config import blockchain_config
from cocoon_sdk.devnet.executor import Executor
from cocoon_sdk.devnet.network import DevNetwork
from cocoon_sdk.devnet.storage import Storage
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.ton.chain import MAINNET, TESTNET

HOST = "127.0.0.1"  # anyone who reaches the devnet can print money on it
DRAIN_SECONDS = 5
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def serve(
    *, network: int, port: int, file: Path | None, on_ready: Callable[[str], None]
) -> None:
    """Serve until SIGTERM or SIGINT; `on_ready` gets the URL once requests are answered.

    Raises:
        ConfigError: the port is taken, no executor for this platform, or a public network's id.
        StoreError: the file cannot be used.
    """
    if network in {MAINNET, TESTNET}:
        raise ConfigError(f"{network} is a public network; a devnet has an id of its own")
    worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="devnet")
    loop = asyncio.get_running_loop()

    def start() -> DevNetwork:
        executor = Executor(blockchain_config(network))
        return DevNetwork(network, Storage(file), executor)

    listener = _listen(port)
    try:
        chain = await loop.run_in_executor(worker, start)
        try:
            config = uvicorn.Config(
                make_app(chain, worker),
                log_level="warning",
                lifespan="off",
                access_log=False,
                timeout_graceful_shutdown=DRAIN_SECONDS,
            )
            server = _Server(config, lambda: on_ready(f"http://{HOST}:{_port(listener)}"))
            await server.serve(sockets=[listener])
        finally:
            await loop.run_in_executor(worker, chain.close)
    finally:
        listener.close()
        worker.shutdown()


class _Server(uvicorn.Server):
    """A server that says when it is ready."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on the first signal; uvicorn's own version ends the process with it afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {sign: signal.signal(sign, self.handle_exit) for sign in STOP_SIGNALS}
        try:
            yield
        finally:
            for sign, handler in before.items():
                signal.signal(sign, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigError(f"port {port} on {HOST} cannot be used: {error}; try --port 0") from error
    return listener


def _port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])
