"""The encrypted session: answer cells beside bare libsodium, handshakes beside bare signatures."""

from __future__ import annotations

import secrets
import time

from nacl.bindings import (
    crypto_secretstream_xchacha20poly1305_init_pull,
    crypto_secretstream_xchacha20poly1305_init_push,
    crypto_secretstream_xchacha20poly1305_keygen,
    crypto_secretstream_xchacha20poly1305_pull,
    crypto_secretstream_xchacha20poly1305_push,
    crypto_secretstream_xchacha20poly1305_state,
)

from benchmarks.harness import Ratio, compare
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.protocol.messages import Channel, Delta, Request
from cocoon_sdk.protocol.session import ClientSession, ServerSession

CELLS = 4000
HANDSHAKES = 100
IDENTITY = Ed25519Key.generate()
VOUCHER_KEY = Ed25519Key.generate()


def connect() -> tuple[ClientSession, ServerSession]:
    """A client and a provider after their handshake, in memory."""
    client = ClientSession(
        provider_id=IDENTITY.public_key,
        signer=VOUCHER_KEY,
        channel=None,
        registry=None,
        random=secrets.token_bytes,
        clock=time.monotonic,
    )
    server = ServerSession(identity=IDENTITY, random=secrets.token_bytes, clock=time.monotonic)
    client.start()
    for _ in range(3):
        for message in client.outgoing():
            server.receive(message)
        for message in server.outgoing():
            client.receive(message)
    return client, server


def session_cells() -> float:
    """Seal and open DELTA cells through both sessions."""
    client, server = connect()
    stream = client.open_stream()
    _request(client, server, stream)
    for number in range(CELLS):
        server.send(stream, Delta(number, 0, Channel.CONTENT, "x" * 200, [number]))
        for message in server.outgoing():
            client.receive(message)
    return CELLS


def _request(client: ClientSession, server: ServerSession, stream: int) -> None:
    client.send(
        stream,
        Request(
            id=bytes(16), kind="chat", model="m", model_hash=bytes(32), body={}, seed=0,
            date="", salt=bytes(16), price=(0, 0, 0),
        ),
    )  # fmt: skip
    for message in client.outgoing():
        server.receive(message)


def sodium_cells() -> float:
    """The same number of 256-byte plaintexts through libsodium's secretstream alone."""
    key = crypto_secretstream_xchacha20poly1305_keygen()
    push, pull = (crypto_secretstream_xchacha20poly1305_state() for _ in range(2))
    header = crypto_secretstream_xchacha20poly1305_init_push(push, key)
    crypto_secretstream_xchacha20poly1305_init_pull(pull, header, key)
    plaintext = bytes(256)
    for _ in range(CELLS):
        sealed = crypto_secretstream_xchacha20poly1305_push(push, plaintext, b"\x10")
        crypto_secretstream_xchacha20poly1305_pull(pull, sealed, b"\x10")
    return CELLS


def handshakes() -> float:
    """Mutually authenticated handshakes, both ends."""
    for _ in range(HANDSHAKES):
        connect()
    return HANDSHAKES


def signatures() -> float:
    """What no handshake can do without: two signatures, made and checked, bare."""
    from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair

    public, secret = crypto_sign_seed_keypair(IDENTITY.seed)
    for _ in range(HANDSHAKES):
        for message in (b"server", b"client"):
            crypto_sign_open(crypto_sign(message, secret), public)
    return HANDSHAKES


def run() -> list[Ratio]:
    """Both ratios."""
    return [
        compare("answer cells, sealed and opened", "libsodium alone", "cells/s",
                session_cells, sodium_cells),
        compare("mutual handshake, both ends", "its two Ed25519 signatures alone", "handshakes/s",
                handshakes, signatures),
    ]  # fmt: skip
