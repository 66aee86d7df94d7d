"""A devnet as a child process, for tests that need a chain."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import DEVNET_NETWORK


@dataclass
class Devnet:
    """A running devnet process."""

    process: subprocess.Popen[str]
    url: str

    def post(self, path: str, body: object) -> httpx.Response:
        return httpx.post(self.url + path, json=body, trust_env=False)

    def faucet(self, address: Address, amount: int) -> None:
        self.post(
            "/devnet/faucet", {"address": address.raw, "amount": str(amount)}
        ).raise_for_status()

    def status(self) -> dict[str, int]:
        status = httpx.get(f"{self.url}/devnet/status", trust_env=False).json()
        return {name: int(value) for name, value in status.items()}

    def assert_balanced(self) -> None:
        status = self.status()
        assert status["balances"] + status["fees"] == status["minted"]
        assert status["queued"] == 0


@contextmanager
def running(*arguments: str) -> Iterator[Devnet]:
    command = [sys.executable, "-m", "cocoon_sdk.cli", "devnet", "run", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, "the devnet ended before it was ready"
        ready = json.loads(line)
        assert ready == {"ready": "devnet", "url": ready["url"], "network": DEVNET_NETWORK}
        yield Devnet(process, ready["url"])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
