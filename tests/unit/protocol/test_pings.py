from __future__ import annotations

import pytest
from wire_pair import Clock, Pair, make_server

from cocoon_sdk.protocol.constants import CLOSE_RATE
from cocoon_sdk.protocol.errors import LocalProtocolError, RemoteProtocolError
from cocoon_sdk.protocol.messages import Ping, Pong
from cocoon_sdk.protocol.pings import PingLedger


def test_a_ping_is_answered_by_the_session() -> None:
    pair = Pair()
    pair.client.send(0, Ping(b"12345678"))
    assert pair.to_server() == []
    assert pair.to_client() == []
    assert pair.client.frames_received == 2  # the server's first PING, and the answer
    pair.server.send(0, Ping(b"abcdefgh"))
    pair.exchange()
    assert pair.server.frames_received == 3


def test_one_per_five_seconds_with_room_for_jitter() -> None:
    clock = Clock()
    ledger = PingLedger(clock)
    for _ in range(12):  # what a stall of a minute holds back
        ledger.received()
    with pytest.raises(RemoteProtocolError, match="too many") as caught:
        ledger.received()
    assert caught.value.close_code == CLOSE_RATE
    clock.now += 5.0
    ledger.received()
    with pytest.raises(RemoteProtocolError):
        ledger.received()
    for _ in range(100):
        clock.now += 5.0
        ledger.received()


def test_our_own_flood_is_refused_before_the_peer_hangs_up() -> None:
    pair = Pair()
    for _ in range(3):
        pair.client.send(0, Ping(bytes(8)))
    with pytest.raises(LocalProtocolError, match="PING"):
        pair.client.send(0, Ping(bytes(8)))
    pair.exchange()
    assert pair.server.ready
    assert pair.client.ready


def test_a_pong_answers_exactly_one_ping() -> None:
    ledger = PingLedger(Clock())
    ledger.sending(b"a" * 8)
    with pytest.raises(RemoteProtocolError, match="PONG"):
        ledger.answered(b"b" * 8)
    ledger.answered(b"a" * 8)
    with pytest.raises(RemoteProtocolError, match="PONG"):
        ledger.answered(b"a" * 8)


def test_pong_is_the_sessions_own() -> None:
    with pytest.raises(LocalProtocolError, match="PONG"):
        Pair().client.send(0, Pong(bytes(8)))


def test_a_closed_side_answers_no_ping() -> None:
    pair = Pair()
    pair.server.send(0, Ping(bytes(8)))
    pair.client.close()
    pair.client.outgoing()
    pair.to_client()
    assert pair.client.outgoing() == []


def test_pings_carry_eight_bytes() -> None:
    for size in (0, 7, 9):
        with pytest.raises(LocalProtocolError, match="PING body"):
            Pair().client.send(0, Ping(bytes(size)))


def test_a_server_pings_first() -> None:
    pair = Pair(server=make_server(), handshake=False)
    pair.client.start()
    pair.to_server()
    pair.to_client()
    pair.to_server()
    [message] = pair.server.outgoing()
    assert len(message) == 274 + 24
    assert pair.client.receive(message) == []
    assert len(pair.client.outgoing()) == 1
