"""A provider in this process on loopback, a chain without a network, and a client by hand.

`FakeChain` answers with states that a test writes; what a real network does with our messages is
tested against the devnet.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect

from cocoon_provider.backends.base import Backend
from cocoon_provider.backends.echo import EchoBackend
from cocoon_provider.config import Config, Listen, parse_config
from cocoon_provider.provider import Books, Provider
from cocoon_sdk.errors import ChainUnavailableError
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.payments.meter import Counts, Price, cost, window_cost
from cocoon_sdk.payments.receipt import Receipt, verify_receipt
from cocoon_sdk.payments.voucher import Voucher, sign_voucher
from cocoon_sdk.protocol import messages
from cocoon_sdk.protocol.constants import SUBPROTOCOL
from cocoon_sdk.protocol.events import HandshakeCompleted, MessageReceived, PeerClosed
from cocoon_sdk.protocol.session import ChannelId, ClientSession
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import cell_to_boc
from cocoon_sdk.ton.chain import DEVNET_NETWORK, AccountState, TransactionInfo
from cocoon_sdk.ton.contract.channel import (
    CODE_HASH,
    ChannelData,
    ChannelTerms,
    channel_address,
    data_cell,
)

PRICE = Price(20_000_000_000, 2_000_000_000, 100_000_000_000)  # 20, 2 and 100 coins a million
EPOCH = 7_000_000


class FakeChain:
    """A ChainClient whose accounts a test sets; `down` makes every call fail."""

    network = DEVNET_NETWORK

    def __init__(self) -> None:
        self.accounts: dict[Address, AccountState] = {}
        self.down = False
        self.reads = 0

    async def get_account(self, address: Address) -> AccountState:
        self.reads += 1
        if self.down:
            raise ChainUnavailableError("the fake chain is down")
        known = self.accounts.get(address)
        now = int(time.time())
        if known is None:
            return AccountState(address, 0, "nonexist", None, None, 0, 1, now)
        return known if known.block_time else replace(known, block_time=now)

    async def send_boc(self, boc: bytes) -> bytes:
        raise ChainUnavailableError("the fake chain takes no messages")

    async def wait_message(
        self, msg_hash: bytes, *, timeout: float = 60.0
    ) -> tuple[TransactionInfo, ...]:
        raise ChainUnavailableError("the fake chain knows no messages")

    async def time(self) -> int:
        return int(time.time())

    async def aclose(self) -> None:
        return None


@dataclass
class FakeChannel:
    """An open channel as the fake chain shows it, with the client's side of its accounting."""

    data: ChannelData
    key: Ed25519Key
    balance: int
    signed: int = 0
    spent: int = 0
    state: dict[str, object] = field(default_factory=dict)

    @property
    def address(self) -> Address:
        return channel_address(self.data.terms, self.data.client, self.data.provider)

    def account(self) -> AccountState:
        return AccountState(
            self.address,
            self.balance,
            "active",
            CODE_HASH,
            cell_to_boc(data_cell(self.data)),
            1,
            1,
            0,
        )

    def put(self, chain: FakeChain) -> None:
        chain.accounts[self.address] = self.account()

    def voucher(
        self,
        cumulative: int,
        *,
        acked: int = 0,
        key: Ed25519Key | None = None,
        epoch: int | None = None,
    ) -> messages.Voucher:
        """Sign a voucher, whatever the amount."""
        at = self.data.epoch if epoch is None else epoch
        fields = Voucher(DEVNET_NETWORK, self.address, at, cumulative)
        return messages.Voucher(at, cumulative, sign_voucher(key or self.key, fields), acked)


def make_channel(
    chain: FakeChain,
    identity: bytes,
    payout: Address,
    *,
    balance: int = 500_000_000,
    close_delay: int = 86_400,
    epoch: int = EPOCH,
) -> FakeChannel:
    """A channel that satisfies every check, on the fake chain."""
    key = Ed25519Key.generate()
    terms = ChannelTerms(key.public_key, identity, close_delay, secrets.randbits(63))
    data = ChannelData(epoch, 0, 0, Address(0, secrets.token_bytes(32)), payout, terms)
    channel = FakeChannel(data, key, balance)
    channel.put(chain)
    return channel


def make_config(**changes: object) -> Config:
    """Settings for an echo provider with a paid and a free model."""
    prices = {"prompt": PRICE.prompt, "cached": PRICE.cached, "completion": PRICE.completion}
    raw: dict[str, object] = {
        "backend": "echo",
        "models": {"echo": prices, "free": {"prompt": 0, "completion": 0}},
        "chain": {"network": "devnet"},
        "limits": {"hello_burst": 1000},
    }
    return parse_config(raw | changes, source="test")


@dataclass
class World:
    """A running provider and what it runs on."""

    provider: Provider
    books: Books
    chain: FakeChain
    identity: Ed25519Key
    backend: Backend
    config: Config
    folder: Path
    port: int = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def channel(self, **terms: int) -> FakeChannel:
        return make_channel(
            self.chain, self.identity.public_key, self.books.wallet.address, **terms
        )


def build_world(
    folder: Path,
    *,
    config: Config | None = None,
    backend: Backend | None = None,
    chain: FakeChain | None = None,
    identity: Ed25519Key | None = None,
    wallet: Ed25519Key | None = None,
) -> World:
    """Everything in place, nothing started."""
    config = config or make_config()
    config = _with_port(config)
    chain = chain or FakeChain()
    identity = identity or Ed25519Key(b"\x11" * 32)
    backend = backend or EchoBackend(tuple(config.models))
    books = Books(
        config,
        identity=identity,
        wallet_key=wallet or Ed25519Key(b"\x22" * 32),
        chain=chain,
        database_url=f"sqlite:///{folder / 'ledger.sqlite'}",
    )
    provider = Provider(config, identity=identity, books=books, backend=backend)
    return World(provider, books, chain, identity, backend, config, folder)


def _with_port(config: Config) -> Config:
    from msgspec.structs import replace as change

    return change(config, listen=Listen(port=0))


@contextlib.asynccontextmanager
async def running(world: World) -> AsyncIterator[World]:
    """Start the provider; drain and stop it at the end."""
    try:
        world.port = await world.provider.start()
        yield world
    finally:
        await world.provider.stop()
        await world.books.aclose()


class RawClient:
    """A client that speaks the wire and does no accounting: tests say what it sends."""

    def __init__(self, socket: ClientConnection, session: ClientSession) -> None:
        self.socket = socket
        self.session = session
        self.inbox: dict[int, list[MessageReceived]] = {}
        self.events: list[object] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def dial(
        cls, world: World, channel: FakeChannel | None = None, *, key: Ed25519Key | None = None
    ) -> AsyncIterator[RawClient]:
        """Connect and finish the handshake."""
        where = None if channel is None else ChannelId(0, channel.address.hash)
        session = ClientSession(
            provider_id=world.identity.public_key,
            signer=key or (channel.key if channel else None),
            channel=where,
            registry=None,
            random=secrets.token_bytes,
            clock=time.monotonic,
        )
        async with connect(
            world.url, subprotocols=[SUBPROTOCOL], compression=None, max_size=65_620
        ) as socket:
            client = cls(socket, session)
            session.start()
            await client.flush()
            while not any(isinstance(event, HandshakeCompleted) for event in client.events):
                await client.pull()
            yield client

    async def flush(self) -> None:
        for message in self.session.outgoing():
            await self.socket.send(message)

    async def pull(self) -> None:
        """Read one websocket message."""
        async with asyncio.timeout(15):
            raw = await self.socket.recv()
        assert isinstance(raw, bytes)
        for event in self.session.receive(raw):
            self.events.append(event)
            if isinstance(event, MessageReceived):
                self.inbox.setdefault(event.stream, []).append(event)
        await self.flush()

    async def send(self, stream: int, message: messages.Message, *, end: bool = False) -> None:
        self.session.send(stream, message, end=end)
        await self.flush()

    async def open(self, message: messages.Message, *, end: bool = False) -> int:
        stream = self.session.open_stream()
        await self.send(stream, message, end=end)
        return stream

    async def next(self, stream: int) -> MessageReceived:
        """The next message of a stream."""
        while not self.inbox.get(stream):
            await self.pull()
        return self.inbox[stream].pop(0)

    async def ask(self, message: messages.Message) -> messages.Message:
        """One question, one answer."""
        stream = await self.open(message, end=True)
        answer = await self.next(stream)
        assert answer.end
        return answer.message

    @property
    def closed(self) -> PeerClosed | None:
        return next((e for e in self.events if isinstance(e, PeerClosed)), None)


@dataclass
class Outcome:
    """What one request brought."""

    text: str = ""
    ids: list[int] = field(default_factory=list)
    frames: list[MessageReceived] = field(default_factory=list)
    meters: list[messages.Meter] = field(default_factory=list)
    error: messages.Error | None = None
    raw: bytes | None = None

    def receipt(self, world: World) -> Receipt:
        assert self.raw is not None
        return verify_receipt(self.raw, world.identity.public_key)


def request(
    world: World,
    prompt: str,
    *,
    model: str = "echo",
    price: Price | None = None,
    voucher: messages.Voucher | None = None,
    request_id: bytes | None = None,
    **body: object,
) -> messages.Request:
    """A chat REQUEST."""
    info = world.backend.models.get(model)
    return messages.Request(
        id=request_id or secrets.token_bytes(16),
        kind="chat",
        model=model,
        model_hash=info.hash if info else bytes(32),
        body={"messages": [{"role": "user", "content": prompt}], **body},
        seed=1,
        date="2026-01-01",
        salt=bytes(16),
        price=tuple(price if price is not None else world.config.prices().get(model, PRICE)),
        voucher=voucher,
    )


async def buy(
    client: RawClient,
    world: World,
    channel: FakeChannel,
    message: messages.Request,
    *,
    max_tokens: int = 4096,
    pay: bool = True,
) -> Outcome:
    """Run one paid request as an honest client would; `pay` False never answers a METER."""
    price = Price(*message.price)
    if message.voucher is None:
        channel.signed = max(
            channel.signed,
            channel.spent
            + window_cost(price, Counts(), prompt_total=100_000, max_tokens=max_tokens),
        )
        message = _with_voucher(message, channel.voucher(channel.signed))
    stream = await client.open(message)
    outcome = Outcome()
    while True:
        event = await client.next(stream)
        match event.message:
            case messages.Delta() as delta:
                outcome.text += delta.text
                outcome.ids += delta.ids
                outcome.frames.append(event)
            case messages.Result():
                outcome.frames.append(event)
            case messages.Meter() as meter:
                outcome.meters.append(meter)
                counts = Counts(meter.prompt, meter.cached, meter.completion)
                assert meter.due == cost(counts, price)
                window = window_cost(price, counts, prompt_total=100_000, max_tokens=max_tokens)
                if pay:
                    channel.signed = max(channel.signed, channel.spent + meter.due + window)
                    await client.send(stream, channel.voucher(channel.signed, acked=meter.due))
            case messages.Error() as error:
                outcome.error = error
                if event.end:
                    break
            case messages.Receipt(raw=raw):
                outcome.raw = raw
                break
            case _:
                pass
    if outcome.raw is not None:
        channel.spent = verify_receipt(outcome.raw, world.identity.public_key).spent
    await client.send(stream, messages.Ack(), end=True)
    return outcome


def _with_voucher(message: messages.Request, voucher: messages.Voucher) -> messages.Request:
    from msgspec.structs import replace as change

    return change(message, voucher=voucher)
