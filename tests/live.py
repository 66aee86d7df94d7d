"""The whole system as real processes on loopback: devnet, providers, a signed registry, funded wallets.

with live_system(folder) as system:
    async with system.client() as client: ...

`LiveSystem.open_channel` opens a fresh channel for a fresh client state, so that tests do not share accounts.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cocoon_provider.book import MIGRATIONS
from cocoon_provider.config import LEDGER_NAME
from cocoon_provider.earnings import read_earnings
from cocoon_provider.operations.init import InitChoices, init_provider
from cocoon_sdk.client import AsyncCocoon
from cocoon_sdk.keys import Ed25519Key, load_or_create_key
from cocoon_sdk.operator import operations
from cocoon_sdk.operator.folder import OperatorFolder
from cocoon_sdk.payments.accounting import ChannelState
from cocoon_sdk.payments.channels import list_channels, open_channel
from cocoon_sdk.payments.ledger import CLIENT_MIGRATIONS, stored_receipts
from cocoon_sdk.store.database import Database
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import DEVNET_NETWORK
from cocoon_sdk.ton.toncenter import ToncenterClient
from cocoon_sdk.ton.wallet import Wallet
from cocoon_sdk.types.events import Event

COIN = 10**9
NETWORK = "devnet/live"
READY_SECONDS = 60
PRICES = ("20", "2", "100")  # coins per million prompt, cached and completion tokens
FREE = ("0", "0", "0")


@dataclass
class Child:
    """A child process with its readiness line; standard error goes to a file."""

    process: subprocess.Popen[str]
    ready: dict[str, Any]
    log: Path

    def kill(self) -> None:
        """SIGKILL: no word of goodbye."""
        self.process.kill()
        self.process.wait()
        self.stop()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL where that does not help."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        if self.process.stdout is not None:
            self.process.stdout.close()


def start(module: str, *arguments: str, env: dict[str, str], log: Path) -> Child:
    """Start `python -m module arguments…` and wait for its readiness line."""
    with log.open("a") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=env,
        )
    assert process.stdout is not None
    watchdog = threading.Timer(READY_SECONDS, process.kill)
    watchdog.start()
    line = process.stdout.readline()
    watchdog.cancel()
    if not line:
        process.wait()
        raise AssertionError(f"{module} {arguments} did not start:\n{log.read_text()[-3000:]}")
    return Child(process, json.loads(line), log)


@dataclass
class LiveProvider:
    """A provider of its own home folder; `start` again after `kill` keeps keys, books and port."""

    name: str
    home: Path
    env: dict[str, str]
    arguments: tuple[str, ...] = ()
    port: int = 0
    child: Child | None = None

    @property
    def id(self) -> str:
        return load_or_create_key(self.home / "provider" / "identity.key").public_key.hex()

    @property
    def wallet(self) -> Address:
        key = load_or_create_key(self.home / "provider" / "wallet.key")
        return Wallet(key, DEVNET_NETWORK).address

    @property
    def log(self) -> str:
        return (self.home / "provider.log").read_text()

    def start(self) -> None:
        self.child = start(
            "tests.live_provider",
            *self.arguments,
            "--port",
            str(self.port),
            env=self.env,
            log=self.home / "provider.log",
        )
        self.port = int(self.child.ready["url"].rsplit(":", 1)[1])

    def kill(self) -> None:
        assert self.child is not None
        self.child.kill()

    def command(self, *arguments: str) -> dict[str, Any]:
        """Run `cocoon-provider …` on this home and parse the JSON line that it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "cocoon_provider.cli", *arguments],
            capture_output=True,
            text=True,
            env=self.env,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    async def earned(self) -> int:
        """The sum of the receipts in the provider's books, in nano."""
        url = f"sqlite:///{self.home / 'provider' / LEDGER_NAME}"
        with Database(url, migrations=MIGRATIONS) as database:
            earnings = await database.run(lambda c: read_earnings(c, now=int(time.time())))
        return earnings.earned_nano

    def close(self) -> None:
        if self.child is not None:
            self.child.stop()


@dataclass
class Account:
    """One client's state: its keys, its ledger, its wallet."""

    system: LiveSystem
    home: Path
    events: list[Event] = field(default_factory=list)

    @property
    def state_url(self) -> str:
        return f"sqlite:///{self.home / 'client.sqlite'}"

    @property
    def env(self) -> dict[str, str]:
        """What a shell would export for `cocoon …` on this account."""
        return self.system.env | {
            "COCOON_HOME": str(self.home),
            "COCOON_REGISTRY": str(self.system.registry),
            "COCOON_TRUST": ",".join(self.system.trust),
            "COCOON_CHAIN": self.system.chain_url,
            "COCOON_ASSURANCE": "operator",
        }

    def client(self, **changes: Any) -> AsyncCocoon:
        """A client on this account; its events are added to `events`."""
        settings: dict[str, Any] = {
            "registry": self.system.registry,
            "trust": self.system.trust,
            "assurance": "operator",
            "voucher_key": self.home / "voucher.key",
            "state": self.state_url,
            "on_event": self.events.append,
        }
        return AsyncCocoon(**(settings | changes))

    async def open(self, provider: LiveProvider, deposit: int = COIN // 2) -> Address:
        """Fund the wallet and open a channel."""
        wallet = Wallet(load_or_create_key(self.home / "wallet.key"), DEVNET_NETWORK)
        self.system.faucet(wallet.address, deposit + COIN // 5)
        chain = ToncenterClient(self.system.chain_url, network=DEVNET_NETWORK)
        try:
            with Database(self.state_url, migrations=CLIENT_MIGRATIONS) as database:
                channel = await open_channel(
                    chain=chain,
                    wallet=wallet,
                    database=database,
                    master=load_or_create_key(self.home / "voucher.key"),
                    provider_key=bytes.fromhex(provider.id),
                    payout=provider.wallet,
                    close_delay=86_400,
                    deposit=deposit,
                )
        finally:
            await chain.aclose()
        return channel.address

    async def channel(self) -> ChannelState:
        """The newest channel in the ledger."""
        with Database(self.state_url, migrations=CLIENT_MIGRATIONS) as database:
            return (await list_channels(database))[-1]

    async def receipts(self) -> list[bytes]:
        """The stored receipts, the newest first."""
        with Database(self.state_url, migrations=CLIENT_MIGRATIONS) as database:
            return list(await database.run(stored_receipts))

    def cocoon(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the `cocoon` command on this account."""
        return subprocess.run(
            [sys.executable, "-m", "cocoon_sdk.cli", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.env | env,
            check=False,
            timeout=60,
        )


@dataclass
class LiveSystem:
    """Everything that runs. Providers are added, then `publish` signs the registry."""

    folder: Path
    chain_url: str
    env: dict[str, str]
    providers: dict[str, LiveProvider] = field(default_factory=dict)
    trust: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def registry(self) -> Path:
        return self.folder / "registry"

    def faucet(self, address: Address, nano: int) -> None:
        body = {"address": address.raw, "amount": str(nano)}
        httpx.post(
            f"{self.chain_url}/devnet/faucet", json=body, trust_env=False, timeout=30
        ).raise_for_status()

    def add_provider(
        self, name: str, *arguments: str, prices: tuple[str, str, str] = PRICES
    ) -> LiveProvider:
        """Make the home of a provider that serves the model `name`, fund its wallet, start it."""
        home = self.folder / name
        home.mkdir()
        provider = LiveProvider(name, home, self.env | {"COCOON_HOME": str(home)}, arguments)
        prompt, cached, completion = prices
        choices = InitChoices(
            model=name,
            network=NETWORK,
            chain_urls=(self.chain_url,),
            prompt=prompt,
            cached=cached,
            completion=completion,
            backend="echo",
        )
        init_provider(home / "provider", choices)
        self.faucet(provider.wallet, COIN)
        provider.start()
        self.providers[name] = provider
        return provider

    def publish(self) -> None:
        """Sign a registry of all providers and put it where clients look."""
        now = int(time.time())
        folder = OperatorFolder(self.folder / "operator")
        if not self.trust:
            self.trust = list(operations.init(folder.path, network=NETWORK, now=now).root.keys)
        for provider in self.providers.values():
            entry = provider.home / "provider" / "entry.json"
            operations.add(folder, entry.read_bytes(), now=now)
        operations.sign(folder, now=now)
        operations.publish(folder, self.registry, now=now)

    def account(self) -> Account:
        """A client that has nothing yet."""
        home = self.folder / f"client-{next(self._numbers)}"
        home.mkdir()
        return Account(self, home)

    def close(self) -> None:
        for provider in self.providers.values():
            provider.close()


@contextlib.contextmanager
def live_system(folder: Path) -> Iterator[LiveSystem]:
    """A devnet, no providers yet. Everything started through it is reaped."""
    root = Path(__file__).parent.parent
    env = dict(os.environ) | {
        "COCOON_HOME": str(folder),
        "COCOON_CACHE": str(folder / "cache"),
        "PYTHONPATH": str(root),
        "PYTHONWARNINGS": "ignore",
    }
    arguments = ("devnet", "run", "--port", "0", "--file", str(folder / "devnet.db"))
    devnet = start("cocoon_sdk.cli", *arguments, env=env, log=folder / "devnet.log")
    system = LiveSystem(folder, str(devnet.ready["url"]), env)
    try:
        yield system
    finally:
        system.close()
        devnet.stop()


def other_key() -> str:
    """A root key that signed nothing here."""
    return f"ed25519:{Ed25519Key.generate().public_key.hex()}"
