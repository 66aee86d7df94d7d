"""Two ends of an encrypted session in memory, for the benchmarks of the wire."""

from __future__ import annotations

import secrets
import time

from cocoon_sdk.keys import Ed25519Key, Signer
from cocoon_sdk.protocol.constants import SUITE_X25519
from cocoon_sdk.protocol.messages import Channel, Delta, Request
from cocoon_sdk.protocol.session import ClientSession, ServerSession

IDENTITY = Ed25519Key(bytes(range(32)))  # the same in every process of a run
CELL_BYTES = 1 + 17 + 256  # what a DELTA is on the wire
REQUEST_BYTES = 1 + 24 + 17 + 1024  # a short prompt, and the stream's header
REQUEST = Request(
    id=bytes(16), kind="chat", model="m", model_hash=bytes(32), body={}, seed=0,
    date="", salt=bytes(16), price=(0, 0, 0),
)  # fmt: skip


def client_session(signer: Signer, suite: int = SUITE_X25519) -> ClientSession:
    """The SDK's end, before its handshake with a provider that lists `suite`."""
    return ClientSession(
        provider_id=IDENTITY.public_key,
        signer=signer,
        channel=None,
        registry=None,
        random=secrets.token_bytes,
        clock=time.monotonic,
        suites=(suite,),
    )


def server_session() -> ServerSession:
    """The provider's end, before its handshake."""
    return ServerSession(identity=IDENTITY, random=secrets.token_bytes, clock=time.monotonic)


def shake_hands(client: ClientSession, server: ServerSession) -> None:
    """Carry the three messages, after which both ends have the keys and have proved their own."""
    client.start()
    (hello,) = client.outgoing()
    server.receive(hello)
    (answer,) = server.outgoing()
    client.receive(answer)
    (proof,) = client.outgoing()
    server.receive(proof)


def connect() -> tuple[ClientSession, ServerSession]:
    """Both ends after their handshake."""
    client, server = client_session(Ed25519Key.generate()), server_session()
    shake_hands(client, server)
    for message in server.outgoing():  # the first PING
        client.receive(message)
    return client, server


def delta(number: int) -> Delta:
    """A well filled cell."""
    return Delta(number, 0, Channel.CONTENT, "x" * 200, [number])
