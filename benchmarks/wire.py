"""The encrypted session: handshakes beside mutual TLS 1.3, answer cells beside bare libsodium."""

from __future__ import annotations

import time
from collections.abc import Callable

from nacl.bindings import (
    crypto_secretstream_xchacha20poly1305_init_pull,
    crypto_secretstream_xchacha20poly1305_init_push,
    crypto_secretstream_xchacha20poly1305_keygen,
    crypto_secretstream_xchacha20poly1305_pull,
    crypto_secretstream_xchacha20poly1305_push,
    crypto_secretstream_xchacha20poly1305_state,
)

from benchmarks import sessions, tls
from benchmarks.harness import FULL, Effort, Figure, Goal, Work, compare
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.protocol.constants import SUITE_HYBRID, SUITE_X25519
from cocoon_sdk.protocol.kem import supported_suites

CELLS = 4000
HANDSHAKES = 100


def session_cells(count: int) -> Work:
    """DELTAs, sealed by a provider's session and opened by a client's."""
    client, server = sessions.connect()
    stream = client.open_stream()
    client.send(stream, sessions.REQUEST)
    for message in client.outgoing():
        server.receive(message)

    def work() -> float:
        for number in range(count):
            server.send(stream, sessions.delta(number))
            for message in server.outgoing():
                client.receive(message)
        return count

    return work


def sodium_cells(count: int) -> Work:
    """256-byte plaintexts through libsodium's secretstream alone."""
    key = crypto_secretstream_xchacha20poly1305_keygen()
    push, pull = (crypto_secretstream_xchacha20poly1305_state() for _ in range(2))
    header = crypto_secretstream_xchacha20poly1305_init_push(push, key)
    crypto_secretstream_xchacha20poly1305_init_pull(pull, header, key)
    plaintext = bytes(256)

    def work() -> float:
        for _ in range(count):
            sealed = crypto_secretstream_xchacha20poly1305_push(push, plaintext, b"\x10")
            crypto_secretstream_xchacha20poly1305_pull(pull, sealed, b"\x10")
        return count

    return work


def session_handshakes(count: int, suite: int) -> Work:
    """Both ends. The client's key is new each time: the server has never seen it."""
    keys = [Ed25519Key.generate() for _ in range(count)]

    def work() -> float:
        for key in keys:
            client, server = sessions.client_session(key, suite), sessions.server_session()
            sessions.shake_hands(client, server)
        return count

    return work


def tls_handshakes(own: tls.Certificate, peer: tls.Certificate, count: int) -> Work:
    """Both ends; OpenSSL's contexts, with their parsed certificates, are made once."""
    mutual = tls.MutualTls(own, peer)

    def work() -> float:
        for _ in range(count):
            mutual.shake_hands()
        return count

    return work


def run(effort: Effort = FULL) -> list[Figure]:
    """Handshakes beside TLS, cells beside libsodium; processor time of one core."""
    cells = effort.of(CELLS)
    return [
        _handshakes("suite 1", SUITE_X25519, "ECDSA P-256", tls.p256, effort, Goal("ratio", 0.4)),
        _handshakes("suite 1", SUITE_X25519, "Ed25519", tls.edwards, effort, None),
        *(
            _handshakes("suite 2", suite, "ECDSA P-256", tls.p256, effort, None)
            for suite in supported_suites()
            if suite == SUITE_HYBRID
        ),
        compare(
            "answer cells, sealed and opened",
            "libsodium alone",
            "cells/s",
            session_cells(cells),
            sodium_cells(cells),
            effort=effort,
            clock=time.process_time,
            goal=Goal("ours", 70_000),
        ),
    ]


def _handshakes(
    name: str,
    suite: int,
    kind: str,
    make: Callable[[], tls.Certificate],
    effort: Effort,
    goal: Goal | None,
) -> Figure:
    count = effort.of(HANDSHAKES)
    return compare(
        f"mutual handshake, both ends, {name}",
        f"TLS 1.3, mutual, X25519, {kind}",
        "µs",
        session_handshakes(count, suite),
        tls_handshakes(make(), make(), count),
        effort=effort,
        clock=time.process_time,
        each=1e6,
        goal=goal,
    )
