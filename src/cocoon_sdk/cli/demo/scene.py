"""Everything the demo needs around one answer: model, devnet, provider, registry, wallets, channel."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from shlex import quote

from cocoon_sdk.cli.demo.processes import Children, DemoError
from cocoon_sdk.cli.demo.report import Balances
from cocoon_sdk.cli.faucet import ask_faucet
from cocoon_sdk.cli.output import run_async
from cocoon_sdk.client import AsyncCocoon
from cocoon_sdk.errors import ReceiptMismatchError, RegistryError
from cocoon_sdk.keys import load_or_create_key
from cocoon_sdk.operator import operations
from cocoon_sdk.operator.folder import OperatorFolder
from cocoon_sdk.payments.amounts import format_amount
from cocoon_sdk.payments.channels import open_channel
from cocoon_sdk.payments.ledger import CLIENT_MIGRATIONS, stored_receipts
from cocoon_sdk.payments.receipt import verify_receipt
from cocoon_sdk.registry.fetch import RegistryClient
from cocoon_sdk.settings import cache_dir
from cocoon_sdk.store.database import Database
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import DEVNET_NETWORK
from cocoon_sdk.ton.toncenter import ToncenterClient
from cocoon_sdk.ton.wallet import Wallet
from cocoon_sdk.types.events import Event

COIN = 10**9
CLIENT_FUNDS = 5 * COIN
PROVIDER_FUNDS = 1 * COIN
DEPOSIT = COIN // 2
NETWORK_TEXT = "devnet/demo"

Say = Callable[[str], None]


class Scene:
    """Builds the demo's world in `home`. Chain access is only ever through the toncenter client."""

    def __init__(self, home: Path, model: str) -> None:
        self.home = home
        self.model = model
        environment = {
            **os.environ,
            "COCOON_HOME": str(home),
            "COCOON_CACHE": str(cache_dir()),  # models are converted once, not once a run
        }
        self._children = Children(environment, home)
        self._chain_url = ""
        self._provider_id = ""
        self._trust: list[str] = []
        self._registry = home / "registry"
        self._channel_address: Address | None = None

    def build(self, say: Say) -> None:
        """Pull the model, start devnet and provider, publish the registry.

        Raises:
            DemoError: a part did not come up.
        """
        say(f"model {self.model}: pull and convert, unless that was done before")
        self._children.run("cocoon_provider.cli", ["pull", self.model], show_progress=True)
        devnet = self._children.start(
            "devnet",
            "cocoon_sdk.cli",
            ["devnet", "run", "--port", "0", "--file", str(self.home / "devnet.db")],
        )
        self._chain_url = str(devnet["url"])
        say(f"devnet at {self._chain_url}: the real transaction executor behind toncenter's API")
        self._children.run("cocoon_provider.cli", self._init_arguments())
        run_async(self._fund(self._address_of("provider/wallet.key"), PROVIDER_FUNDS))
        say("the provider starts and loads the model")
        provider = self._children.start("provider", "cocoon_provider.cli", ["serve", "--port", "0"])
        self._provider_id = str(provider["id"])
        say(f"provider {self._provider_id[:16]}… at {provider['url']}, a process of its own")
        self._publish(Path(str(provider["descriptor"])))
        say(f"registry {NETWORK_TEXT} signed and published in {self._registry}")

    async def fund(self, say: Say) -> Balances:
        """Give the client coins from the faucet; the balances that the demo starts with."""
        await self._fund(self._wallet().address, CLIENT_FUNDS)
        balances = await self.balances()
        say(
            f"wallets funded: client {format_amount(balances.client)}, "
            f"provider {format_amount(balances.provider)} coins"
        )
        return balances

    async def open_channel(self, say: Say) -> None:
        """Open the payment channel with the provider that the registry lists."""
        registry = self._registry_client()
        listed = (await registry.snapshot()).get(self._provider_id)
        await registry.aclose()
        if listed is None:
            raise DemoError("the registry does not list the provider that was just added")
        descriptor = listed.verify(int(time.time()))
        chain = self._chain()
        try:
            with Database(self._database_url(), migrations=CLIENT_MIGRATIONS) as database:
                channel = await open_channel(
                    chain=chain,
                    wallet=self._wallet(),
                    database=database,
                    master=load_or_create_key(self.home / "voucher.key"),
                    provider_key=descriptor.public_key,
                    payout=Address.parse(descriptor.payout),
                    close_delay=descriptor.close_delay,
                    deposit=DEPOSIT,
                )
        finally:
            await chain.aclose()
        self._channel_address = channel.address
        say(f"channel {channel.address.raw[:18]}… open with {format_amount(DEPOSIT)} coins")

    def client(self, on_event: Callable[[Event], None]) -> AsyncCocoon:
        """A client as any app would make it."""
        return AsyncCocoon(
            registry=self._registry,
            trust=self._trust,
            assurance="operator",
            voucher_key=self.home / "voucher.key",
            state=self._database_url(),
            on_event=on_event,
        )

    async def balances(self) -> Balances:
        """What the three accounts hold now."""
        chain = self._chain()
        try:
            channel = self._channel_address
            return Balances(
                client=(await chain.get_account(self._wallet().address)).balance,
                provider=(await chain.get_account(self._address_of("provider/wallet.key"))).balance,
                channel=0 if channel is None else (await chain.get_account(channel)).balance,
            )
        finally:
            await chain.aclose()

    def redeem(self) -> int:
        """Have the provider redeem what it earned; nano that the contract paid out."""
        line = self._children.run("cocoon_provider.cli", ["redeem", "--json"]).splitlines()[-1]
        return int(json.loads(line)["redeemed_nano"])

    async def receipt_is_stored(self, raw: bytes) -> bool:
        """Whether the ledger holds this receipt and the provider's signature on it is good."""
        with Database(self._database_url(), migrations=CLIENT_MIGRATIONS) as database:
            stored = await database.run(stored_receipts)
        try:
            verify_receipt(raw, bytes.fromhex(self._provider_id))
        except ReceiptMismatchError:
            return False
        return raw in stored

    async def registry_verifies(self) -> bool:
        """Whether the published files pass every check of a client that starts from nothing."""
        registry = RegistryClient(self._registry, trust=self._trust, cache=False)
        try:
            listed = (await registry.snapshot()).get(self._provider_id)
            return listed is not None and listed.problem(int(time.time())) is None
        except RegistryError:
            return False
        finally:
            await registry.aclose()

    def shell_lines(self) -> list[str]:
        """What to type in another terminal to talk to this provider."""
        return [
            f"export COCOON_HOME={quote(str(self.home))}",
            f"export COCOON_CACHE={quote(str(cache_dir()))}",
            f"export COCOON_REGISTRY={quote(str(self._registry))}",
            f"export COCOON_TRUST={','.join(self._trust)}",
            f"export COCOON_CHAIN={self._chain_url}",
            "export COCOON_ASSURANCE=operator",
            f"{program()} chat 'Write a haiku about the sea.'",
            f"{program()} wallet show",
        ]

    def close(self) -> None:
        """End the children."""
        self._children.stop()

    def _init_arguments(self) -> list[str]:
        return [
            "init", "--network", NETWORK_TEXT, "--chain", self._chain_url, "--model", self.model,
            "--price-prompt", "20", "--price-cached", "2", "--price-completion", "100",
        ]  # fmt: skip

    def _publish(self, entry: Path) -> None:
        now = int(time.time())
        folder = OperatorFolder(self.home / "operator")
        root = operations.init(
            folder.path,
            network=NETWORK_TEXT,
            now=now,
        )
        operations.add(folder, entry.read_bytes(), now=now)
        operations.sign(folder, now=now)
        operations.publish(folder, self._registry, now=now)
        self._trust = list(root.root.keys)

    def _registry_client(self) -> RegistryClient:
        return RegistryClient(
            self._registry, trust=self._trust, cache_dir=self.home / "cache" / "registry"
        )

    async def _fund(self, address: Address, nano: int) -> None:
        await ask_faucet(self._chain_url, address, nano)

    def _wallet(self) -> Wallet:
        return Wallet(load_or_create_key(self.home / "wallet.key"), DEVNET_NETWORK)

    def _address_of(self, key_file: str) -> Address:
        return Wallet(load_or_create_key(self.home / key_file), DEVNET_NETWORK).address

    def _chain(self) -> ToncenterClient:
        return ToncenterClient(self._chain_url, network=DEVNET_NETWORK)

    def _database_url(self) -> str:
        return f"sqlite:///{self.home / 'client.sqlite'}"


def program() -> str:
    """How to call `cocoon` from here: the script beside this interpreter, relative where that is shorter."""
    script = Path(sys.executable).parent / "cocoon"
    try:
        return quote(str(script.relative_to(Path.cwd())))
    except ValueError:
        return quote(str(script))
