"""Two sessions in memory, a clock that only tests move, and hands that forge records."""

from __future__ import annotations

import hashlib
from typing import Any

from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.protocol.events import Event
from cocoon_sdk.protocol.frames import FLAG_END, FRAME_HEADER
from cocoon_sdk.protocol.framing import TAG_FINAL, TAG_MESSAGE, TAG_REKEY
from cocoon_sdk.protocol.messages import FrameType, Request
from cocoon_sdk.protocol.padding import bucket
from cocoon_sdk.protocol.params import ChannelId, RegistryRef
from cocoon_sdk.protocol.session import ClientSession, ServerSession

PROVIDER = Ed25519Key(hashlib.sha256(b"provider").digest())
OTHER_PROVIDER = Ed25519Key(hashlib.sha256(b"other provider").digest())
VOUCHER_KEY = Ed25519Key(hashlib.sha256(b"voucher key").digest())
CHANNEL = ChannelId(-1, bytes(range(32)))
REGISTRY = RegistryRef(b"registry", 7, bytes(reversed(range(32))))


class Clock:
    """Monotonic seconds under a test's control."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Seeded:
    """Reproducible bytes: a counter through SHAKE-256."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._count = 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(f"{self._seed}/{self._count}".encode()).digest(size)


def make_client(clock: Clock | None = None, seed: str = "client", **options: Any) -> ClientSession:
    """A client of PROVIDER with a channel, whose descriptor lists suite 1, unless told otherwise."""
    options = {
        "provider_id": PROVIDER.public_key,
        "signer": VOUCHER_KEY,
        "channel": CHANNEL,
        "registry": REGISTRY,
        "suites": (1,),
    } | options
    return ClientSession(random=Seeded(seed), clock=clock or Clock(), **options)


def make_server(clock: Clock | None = None, seed: str = "server", **options: Any) -> ServerSession:
    """PROVIDER's end, unless told otherwise."""
    options = {"identity": PROVIDER} | options
    return ServerSession(random=Seeded(seed), clock=clock or Clock(), **options)


class Pair:
    """A client and a server with a lossless wire between them."""

    def __init__(
        self,
        *,
        client: ClientSession | None = None,
        server: ServerSession | None = None,
        handshake: bool = True,
        seed: str = "",
        **options: Any,
    ) -> None:
        self.clock = Clock()
        self.client = client or make_client(self.clock, "client" + seed, **options)
        self.server = server or make_server(self.clock, "server" + seed, **options)
        self.client_events: list[Event] = []
        self.server_events: list[Event] = []
        if handshake:
            self.client.start()
            self.exchange()

    def to_server(self) -> list[Event]:
        """Carry what the client queued; the events it caused."""
        events = [e for message in self.client.outgoing() for e in self.server.receive(message)]
        self.server_events += events
        return events

    def to_client(self) -> list[Event]:
        """Carry what the server queued; the events it caused."""
        events = [e for message in self.server.outgoing() for e in self.client.receive(message)]
        self.client_events += events
        return events

    def exchange(self) -> None:
        """Carry both ways until nothing is queued."""
        while True:
            before = self.client.bytes_received + self.server.bytes_received
            self.to_server()
            self.to_client()
            if self.client.bytes_received + self.server.bytes_received == before:
                return

    def open_request(self, **fields: Any) -> int:
        """A stream with a REQUEST that has arrived at the server."""
        stream = self.client.open_stream()
        self.client.send(stream, request(**fields))
        self.exchange()
        return stream


def request(**fields: Any) -> Request:
    """A small valid REQUEST."""
    return Request(
        **{
            "id": b"i" * 16,
            "kind": "chat",
            "model": "m",
            "model_hash": b"h" * 32,
            "body": {"messages": [{"role": "user", "content": "hello"}]},
            "seed": 2**64 - 1,
            "date": "2025-01-01",
            "salt": b"s" * 16,
            "price": (1, 2, 3),
        }
        | fields
    )


def default_tag(ftype: int, flags: int) -> int:
    """The tag that an honest sender uses."""
    if ftype == FrameType.CLOSE:
        return TAG_FINAL
    return TAG_REKEY if flags & FLAG_END else TAG_MESSAGE


def forge(
    session: ClientSession | ServerSession,
    ftype: int,
    *,
    flags: int = 0,
    stream: int = 1,
    body: bytes = b"",
    tag: int | None = None,
    claim: int | None = None,
    size: int | None = None,
    padding: bytes | None = None,
) -> bytes:
    """A record sealed with the session's own key, but with whatever inside a test wants."""
    used = FRAME_HEADER.size + len(body)
    head = FRAME_HEADER.pack(ftype, flags, stream, len(body) if claim is None else claim)
    rest = bytes((bucket(used) if size is None else size) - used) if padding is None else padding
    tag = default_tag(ftype, flags) if tag is None else tag
    writer = session._writer
    assert writer is not None
    return writer.seal(head + body + rest, tag)
