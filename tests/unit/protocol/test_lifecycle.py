"""When a session wants to be called, and when it never does again (wire.md, "Limits")."""

from __future__ import annotations

import pytest
from wire_pair import Pair, make_server

from cocoon_sdk.protocol.constants import IDLE_TIMEOUT, MAX_AGE, SOFT_RECORDS
from cocoon_sdk.protocol.errors import LocalProtocolError, RemoteProtocolError
from cocoon_sdk.protocol.messages import Cancel, Cover


def test_what_arrives_on_a_stream_keeps_the_provider_waiting() -> None:
    pair = Pair()
    stream = pair.open_request()
    assert pair.server.deadline() == pair.clock.now + IDLE_TIMEOUT
    pair.clock.now += 200
    pair.client.send(stream, Cancel())
    pair.exchange()
    assert pair.server.deadline() == pair.clock.now + IDLE_TIMEOUT


def test_what_is_sent_on_stream_0_does_not() -> None:
    pair = Pair()
    pair.open_request()
    due = pair.server.deadline()
    pair.clock.now += 200
    pair.server.send(0, Cover())
    assert pair.server.deadline() == due


def test_a_client_that_is_through_waits_for_age_only() -> None:
    pair = Pair()
    assert pair.client.deadline() == pair.clock.now + MAX_AGE


def test_nothing_is_due_once_both_sides_have_closed() -> None:
    pair = Pair()
    pair.client.close()
    assert pair.client.deadline() is not None
    pair.to_server()
    assert pair.server.deadline() is not None
    pair.server.close()
    assert pair.server.deadline() is None
    pair.to_client()
    assert pair.client.deadline() is None


def test_a_slow_handshake_is_told_from_an_idle_session() -> None:
    pair = Pair()
    server = make_server(pair.clock)
    pair.clock.now += 60
    with pytest.raises(RemoteProtocolError, match="handshake"):
        server.on_timer()
    with pytest.raises(RemoteProtocolError, match="idle"):
        pair.server.on_timer()


@pytest.mark.parametrize("counter", ["_writer", "_reader"])
def test_many_records_age_a_session_as_time_does(counter: str) -> None:
    pair = Pair()
    getattr(pair.client, counter).count = SOFT_RECORDS - 1
    assert not pair.client.aged
    getattr(pair.client, counter).count += 1
    assert pair.client.aged
    with pytest.raises(LocalProtocolError, match="no new streams"):
        pair.client.open_stream()
