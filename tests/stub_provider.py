"""A provider in this process that says what a test wants, and a client whose registry lists it.

It speaks the real protocol on a real websocket, through `ServerSession`. `answer` is a coroutine function
that gets the `Talk` of each REQUEST; `honest` is one that plays by the rules, with dials to turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response

from cocoon_provider.backends.echo import echo_bundle
from cocoon_sdk.client import AsyncCocoon
from cocoon_sdk.keys import Ed25519Key, derive_channel_key, save_key
from cocoon_sdk.operator import operations
from cocoon_sdk.operator.folder import OperatorFolder
from cocoon_sdk.payments import ledger
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus
from cocoon_sdk.payments.ledger import CLIENT_MIGRATIONS, stored_receipts
from cocoon_sdk.payments.meter import Counts, Price, cost, window_cost
from cocoon_sdk.payments.receipt import (
    FinishReason,
    Receipt,
    ResponseHash,
    request_hash,
    sign_receipt,
)
from cocoon_sdk.protocol import messages
from cocoon_sdk.protocol.constants import SUBPROTOCOL
from cocoon_sdk.protocol.errors import ProtocolError
from cocoon_sdk.protocol.events import HandshakeCompleted, MessageReceived
from cocoon_sdk.protocol.messages import Channel, Delta, Result, encode_body, frame_type
from cocoon_sdk.protocol.session import ServerSession
from cocoon_sdk.registry.descriptor import encode_entry, sign_descriptor
from cocoon_sdk.registry.model import Descriptor, ModelOffer, ModelPrice, PromptOverhead
from cocoon_sdk.store.database import Database
from cocoon_sdk.tokens.tokenizer import Tokenizer
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import DEVNET_NETWORK
from cocoon_sdk.ton.contract.channel import CODE_HASH
from cocoon_sdk.types.events import Event

NETWORK = "devnet/stub"
PRICE = Price(20_000_000_000, 2_000_000_000, 100_000_000_000)
MODEL_HASH = b"m" * 32
BALANCE = 2_000_000_000
BUNDLE = echo_bundle()
WORDS = "The quick brown fox jumps over the lazy dog. "

Answer = Callable[["Talk"], Awaitable[None]]


@dataclass
class Books:
    """What the stub remembers of its one channel."""

    spent: int = 0
    seq: int = 0
    signed: int = 0
    receipts: dict[int, bytes] = field(default_factory=dict)
    voucher: messages.Voucher | None = None


class Stopped(Exception):
    """The client cancelled."""


class Talk:
    """One REQUEST and the stub's side of its stream."""

    def __init__(self, line: Line, event: MessageReceived) -> None:
        assert isinstance(event.message, messages.Request)
        self.line = line
        self.stub = line.stub
        self.stream = event.stream
        self.request = event.message
        self.hash = ResponseHash()
        self.request_hash = request_hash(event.body)
        self.seq = 0
        self.counts = Counts()
        self.prompt = line.stub.prompt_tokens(self.request)
        self.inbox: asyncio.Queue[messages.Voucher] = asyncio.Queue()
        self.cancelled = asyncio.Event()
        self.due = self.window = 0
        self.ended = False

    async def send(self, message: messages.Message, *, end: bool = False) -> None:
        await self.line.send(self.stream, message, end=end)

    async def prefill(self) -> None:
        """The whole prompt, METERed; waits for its voucher."""
        self.counts = self.counts._replace(prompt=self.prompt)
        await self.meter()
        await self.paid()

    async def meter(self, **changes: Any) -> None:
        self.due = cost(self.counts, PRICE)
        self.window = window_cost(PRICE, self.counts, prompt_total=self.prompt, max_tokens=10_000)
        wanted = self.stub.owed() + sum(talk.window for talk in self.stub.running())
        right = messages.Meter(
            self.counts.prompt, self.counts.cached, self.counts.completion, self.hash.digest(),
            self.due, wanted,
        )  # fmt: skip
        await self.send(replace(right, **changes))

    async def paid(self) -> messages.Voucher:
        """The next voucher.

        Raises:
            Stopped: CANCEL came instead.
        """
        waiting = {
            asyncio.ensure_future(self.inbox.get()),
            asyncio.ensure_future(self.cancelled.wait()),
        }
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        if self.cancelled.is_set():
            raise Stopped
        (voucher,) = (one.result() for one in waiting if one.done() and not one.cancelled())
        return voucher

    async def say(self, text: str, *, ids: list[int] | None = None, choice: int = 0) -> None:
        """Text in DELTAs of 16 bytes; the stub's tokens are bytes."""
        for start in range(0, len(text), 16):
            piece = text[start : start + 16]
            tokens = list(piece.encode()) if ids is None else ids
            await self.deliver(Delta(self.seq, choice, Channel.CONTENT, piece, tokens))

    async def deliver(self, frame: Delta | Result) -> None:
        self.hash.update(frame_type(frame), encode_body(frame))
        self.seq += 1
        if isinstance(frame, Delta):
            done = self.counts.completion + len(frame.ids)
            self.counts = self.counts._replace(completion=done)
        await self.send(frame)

    async def finish(self) -> None:
        await self.deliver(Result(self.seq, 0, 1, "finish", {"choice": 0, "reason": "stop"}))

    def make_receipt(self, **changes: Any) -> Receipt:
        """What an honest receipt says, but for the changes. The books follow the honest one."""
        books, client = self.stub.books, self.line.client
        self.ended = True
        counts = changes.pop("counts", self.counts)
        price = cost(counts, PRICE)
        books.spent += price
        books.seq += 1
        fields = {
            "finish": FinishReason.STOP,
            "provider": self.stub.identity.public_key,
            "client": client.client_key or bytes(32),
            "network": DEVNET_NETWORK,
            "channel": client.channel.hash if client.channel else bytes(32),
            "epoch": self.stub.epoch,
            "session_id": client.session_id,
            "request_id": self.request.id,
            "request_hash": self.request_hash,
            "response_hash": self.hash.digest(),
            "model_hash": self.request.model_hash,
            "counts": counts,
            "price": price,
            "spent": books.spent,
            "seq": books.seq,
            "time_ms": int(time.time() * 1000),
        }
        return Receipt(**(fields | changes))

    async def receipt(self, *, signer: Ed25519Key | None = None, **changes: Any) -> bytes:
        """Sign and send it as the last frame."""
        raw = sign_receipt(signer or self.stub.identity, self.make_receipt(**changes))
        self.stub.books.receipts[self.stub.books.seq] = raw
        await self.send(messages.Receipt(raw), end=True)
        return raw


def honest(
    text: str = WORDS,
    *,
    meter: dict[str, Any] | Callable[[Talk], dict[str, Any]] | None = None,
    receipt: dict[str, Any] | Callable[[Talk], dict[str, Any]] | None = None,
    ids: list[int] | None = None,
) -> Answer:
    """An answer by the rules, but for what the dials change in its second METER and in its receipt."""

    async def answer(talk: Talk) -> None:
        await talk.prefill()
        await talk.say(text, ids=ids)
        await talk.meter(**(meter(talk) if callable(meter) else meter or {}))
        await talk.paid()
        await talk.finish()
        await talk.receipt(**(receipt(talk) if callable(receipt) else receipt or {}))

    return answer


class Line:
    """One connection of the stub."""

    def __init__(self, stub: StubProvider, socket: ServerConnection) -> None:
        self.stub = stub
        self.socket = socket
        self.session = ServerSession(
            identity=stub.session_key, random=secrets.token_bytes, clock=time.monotonic
        )
        self.talks: dict[int, Talk] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self._client: HandshakeCompleted | None = None

    @property
    def client(self) -> HandshakeCompleted:
        assert self._client is not None
        return self._client

    async def run(self) -> None:
        try:
            async for message in self.socket:
                assert isinstance(message, bytes)
                for event in self.session.receive(message):
                    self.take(event)
                await self.flush()
        except (ConnectionClosed, ProtocolError):
            pass
        finally:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

    def take(self, event: object) -> None:
        match event:
            case HandshakeCompleted():
                self._client = event
                for hint in self.stub.hints:
                    self.session.send(0, hint)
            case MessageReceived(message=messages.Request(voucher=voucher)):
                talk = self.talks[event.stream] = Talk(self, event)
                self.stub.talks.append(talk)
                self.note(voucher)
                self.spawn(self.answer(talk))
            case MessageReceived(message=messages.Voucher() as voucher, stream=stream):
                self.note(voucher)
                self.talks[stream].inbox.put_nowait(voucher)
            case MessageReceived(message=messages.Cancel(), stream=stream):
                self.talks[stream].cancelled.set()
            case MessageReceived(message=messages.AttestChallenge()):
                self.stub.questions.append(event.message)
                answer = self.stub.attest(self)
                if answer is not None:
                    self.spawn(self.send(0, answer))
            case MessageReceived(message=messages.StateGet(), stream=stream):
                self.stub.questions.append(event.message)
                state = self.stub.state()
                if state is not None:
                    self.spawn(self.send(stream, state, end=True))
            case MessageReceived(message=messages.ReceiptGet(seq=seq), stream=stream):
                self.stub.questions.append(event.message)
                raw = self.stub.books.receipts.get(seq or 0)
                answer = messages.Receipt(raw) if raw else messages.Error("not_found", "no")
                self.spawn(self.send(stream, answer, end=True))

    def note(self, voucher: messages.Voucher | None) -> None:
        if voucher is not None and voucher.cumulative > self.stub.books.signed:
            self.stub.books.signed, self.stub.books.voucher = voucher.cumulative, voucher

    def spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def answer(self, talk: Talk) -> None:
        with contextlib.suppress(ConnectionClosed, ProtocolError):
            try:
                await self.stub.answer(talk)
            except Stopped:
                await talk.receipt(finish=FinishReason.CANCELLED)

    async def send(self, stream: int, message: messages.Message, *, end: bool = False) -> None:
        self.session.send(stream, message, end=end)
        await self.flush()

    async def flush(self) -> None:
        for record in self.session.outgoing():
            await self.socket.send(record)


class StubProvider:
    """Listens; `answer` may be changed between requests."""

    def __init__(self, answer: Answer | None = None, *, bundle: bool = True) -> None:
        self.answer: Answer = answer or honest()
        self.identity = Ed25519Key.generate()
        self.session_key = self.identity
        self.books = Books()
        self.epoch = 42
        self.port = 0
        self.bundle = bundle
        self.attestation: bytes | None = None
        self.hints: list[messages.Error] = []  # told to every session
        self.pages: list[str] = []
        self.talks: list[Talk] = []
        self.lines: list[Line] = []
        self.questions: list[messages.Message] = []
        self._tokenizer = Tokenizer(BUNDLE)

    @property
    def id(self) -> str:
        return self.identity.public_key.hex()

    @property
    def handshakes(self) -> int:
        return len(self.lines)

    def running(self) -> list[Talk]:
        """Those that have no receipt yet."""
        return [talk for talk in self.talks if not talk.ended]

    def owed(self) -> int:
        """Receipts and dues."""
        return self.books.spent + sum(talk.due for talk in self.running())

    def attest(self, line: Line) -> messages.Message | None:
        """The answer to ATTEST_CHALLENGE; None says nothing."""
        return messages.Error("not_found", "no confidential machine here")

    def prompt_tokens(self, request: messages.Request) -> int:
        return len(self._tokenizer.chat(request.body["messages"], date=request.date))

    def state(self) -> messages.State | None:
        """The answer to STATE_GET; None says nothing."""
        voucher = self.books.voucher
        signature = voucher.signature if voucher else bytes(64)
        books = self.books
        return messages.State(self.epoch, books.signed, signature, books.seq, books.spent)

    def descriptor(self, *, port: int | None = None, price: Price = PRICE) -> Descriptor:
        now = int(time.time())
        offer = ModelOffer(
            id="stub",
            hash=MODEL_HASH.hex(),
            ctx=65_536,
            price=ModelPrice(prompt=price.prompt, cached=price.cached, completion=price.completion),
            tokenizer=BUNDLE.tokenizer_hash.hex(),
            tokens=BUNDLE.hash.hex(),
        )
        return Descriptor(
            id=self.id,
            network=NETWORK,
            seq=now,
            issued=now - 1,
            expires=now + 86_400,
            endpoints=[f"ws://127.0.0.1:{self.port if port is None else port}"],
            suites=[1],
            payout=f"0:{'ab' * 32}",
            code_hash=CODE_HASH.hex(),
            min_deposit=0,
            close_delay=3_600,
            window=64,
            models=[offer],
            prompt_overhead=PromptOverhead(base=64, per_message=16),
        )

    async def handle(self, socket: ServerConnection) -> None:
        line = Line(self, socket)
        self.lines.append(line)
        await line.run()

    def page(self, socket: ServerConnection, request: Any) -> Response | None:
        self.pages.append(request.path)
        if request.path == f"/tokens/{BUNDLE.hash.hex()}" and self.bundle:
            return _page(socket, BUNDLE.raw)
        if request.path.startswith("/attestation/") and self.attestation is not None:
            return _page(socket, self.attestation)
        if request.path != "/":
            return socket.respond(HTTPStatus.NOT_FOUND, "")
        return None

    @contextlib.asynccontextmanager
    async def listening(self, **options: Any) -> AsyncIterator[StubProvider]:
        settings = {"subprotocols": [SUBPROTOCOL], "compression": None} | options
        async with serve(
            self.handle, "127.0.0.1", self.port, process_request=self.page, **settings
        ) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            yield self


def _page(socket: ServerConnection, body: bytes) -> Response:
    response = socket.respond(HTTPStatus.OK, "")
    response.body = body
    del response.headers["Content-Length"]
    response.headers["Content-Length"] = str(len(body))
    return response


@dataclass
class Customer:
    """A client's state: registry, keys and a ledger with one open channel per paid provider."""

    folder: Path
    trust: list[str]
    events: list[Event] = field(default_factory=list)

    @property
    def state_url(self) -> str:
        return f"sqlite:///{self.folder / 'client.sqlite'}"

    def client(self, **changes: Any) -> AsyncCocoon:
        settings: dict[str, Any] = {
            "registry": self.folder / "registry",
            "trust": self.trust,
            "assurance": "operator",
            "voucher_key": self.folder / "voucher.key",
            "state": self.state_url,
            "on_event": self.events.append,
        }
        return AsyncCocoon(**(settings | changes))

    async def channel(self, number: int = 0) -> ChannelState:
        with Database(self.state_url, migrations=CLIENT_MIGRATIONS) as database:
            return (await database.run(ledger.all_channels))[number]

    async def receipts(self) -> list[bytes]:
        with Database(self.state_url, migrations=CLIENT_MIGRATIONS) as database:
            return list(await database.run(stored_receipts))


def make_customer(
    folder: Path, *descriptors: tuple[StubProvider, Descriptor], balance: int = BALANCE
) -> Customer:
    """Publish a registry that lists these providers, and open a channel with each, without a chain."""
    now = int(time.time())
    operator = OperatorFolder(folder / "operator")
    root = operations.init(operator.path, network=NETWORK, now=now)
    master = Ed25519Key.generate()
    save_key(master, folder / "voucher.key")
    customer = Customer(folder, list(root.root.keys))
    with Database(customer.state_url, migrations=CLIENT_MIGRATIONS) as database:
        for number, (stub, descriptor) in enumerate(descriptors):
            entry = encode_entry(sign_descriptor(stub.identity, descriptor))
            operations.add(operator, entry, now=now)
            state = _channel(stub, master, number, balance)
            database.run_sync(lambda c, state=state: ledger.add_channel(c, state))
    operations.sign(operator, now=now)
    operations.publish(operator, folder / "registry", now=now)
    return customer


def _channel(stub: StubProvider, master: Ed25519Key, salt: int, balance: int) -> ChannelState:
    key = derive_channel_key(
        master.seed, network=DEVNET_NETWORK, provider_key=stub.identity.public_key, salt=salt
    )
    return ChannelState(
        id=0, network=DEVNET_NETWORK, address=Address(0, secrets.token_bytes(32)),
        epoch=stub.epoch, provider_key=stub.identity.public_key, client_key=key.public_key,
        salt=salt, close_delay=3_600, client=Address(0, b"w" * 32), payout=Address(0, b"p" * 32),
        status=ChannelStatus.OPEN, created_at=1, deposit=balance, balance=balance, redeemed=0,
        close_at=0, seen_at=1, signed=0, spent=0, seq=0,
    )  # fmt: skip


def ask(text: str = "hello") -> dict[str, Any]:
    """Arguments of a request."""
    return {
        "model": "stub",
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 400,
        "seed": 1,
    }
