"""An echo provider in a process of its own, which says how much memory it takes.

Run as a module. It prints one line of JSON when it listens, then answers each line on stdin with one line:
`memory` gives bytes, `streams` the number of requests being served, and an empty line ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from cocoon_provider.backends.echo import EchoBackend, EchoGeneration
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.protocol import messages
from tests.provider_world import World, build_world, make_config, running

LONG_ANSWER = "word " * 50_000  # to every question
IDENTITY = Ed25519Key(b"\x11" * 32)


class Talkative(EchoBackend):
    """Gives the same long answer to everybody, out of the same memory."""

    def submit(self, request: messages.Request, *, client_key: bytes | None) -> EchoGeneration:
        generation = super().submit(request, client_key=client_key)
        generation._text = LONG_ANSWER
        return generation


def memory() -> int:
    """Bytes of this process that lie in RAM."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def serve() -> None:
    """Until stdin says that it is enough."""
    limits: dict[str, Any] = {
        "connections": 4_000,
        "connections_per_address": 4_000,
        "handshakes": 1_000,
        "hello_burst": 10_000,
        "requests": 1_000,
    }
    backend = Talkative(("echo", "free"), context=1_000_000)
    with tempfile.TemporaryDirectory() as folder:
        world = build_world(
            Path(folder), config=make_config(limits=limits), backend=backend, identity=IDENTITY
        )
        async with running(world):
            print(json.dumps({"port": world.port}), flush=True)
            await _answer(world)
            os._exit(0)  # peers that do not read would hold up a clean end


async def _answer(world: World) -> None:
    server = world.provider._server
    assert server is not None
    loop = asyncio.get_running_loop()
    while question := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        running = sum(len(one._requests) for one in server._connections)
        value = memory() if question == "memory" else running
        print(value, flush=True)  # a process's answer


class Child:
    """The running process, seen from a test."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.port = port
        self.url = f"ws://127.0.0.1:{port}"
        self.identity = IDENTITY

    async def memory(self) -> int:
        """Bytes that it takes now."""
        return await self._ask("memory")

    async def streams(self) -> int:
        """Requests that are being served now."""
        return await self._ask("streams")

    async def _ask(self, what: str) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}\n".encode())
        return int(await self._process.stdout.readline())


@contextlib.asynccontextmanager
async def child_provider() -> AsyncIterator[Child]:
    """Start one; it is gone at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.child_provider",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=Path(__file__).parents[1],
    )
    try:
        assert process.stdout is not None
        yield Child(process, json.loads(await process.stdout.readline())["port"])
    finally:
        process.kill()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(serve())
