"""Closing, the end of the transport, timers, and one strike: what both ends of a session do alike."""

from __future__ import annotations

from typing import Any

import pytest
from wire_pair import (
    Clock,
    Pair,
    forge,
    make_client,
    make_server,
)

from cocoon_sdk.protocol import lifecycle
from cocoon_sdk.protocol.errors import (
    LocalProtocolError,
    RemoteProtocolError,
    TruncatedError,
)
from cocoon_sdk.protocol.events import PeerClosed
from cocoon_sdk.protocol.messages import (
    Ack,
    Cancel,
    Channel,
    Close,
    CloseReason,
    Cover,
    Delta,
    FrameType,
    Ping,
    Receipt,
)

RECEIPT = Receipt(bytes(352))


class TestClosing:
    def test_each_side_sends_its_own(self) -> None:
        pair = Pair()
        pair.client.close()
        pair.client.close(CloseReason.AGE)
        assert pair.to_server() == [PeerClosed(CloseReason.NORMAL)]
        assert not pair.server.ready
        assert not pair.client.ready
        pair.server.close(CloseReason.GOING_AWAY)
        assert pair.to_client() == [PeerClosed(CloseReason.GOING_AWAY)]
        pair.client.eof()
        pair.server.eof()
        assert pair.client.deadline() is None
        assert pair.server.deadline() is None

    def test_after_the_peers_close_we_may_still_end_our_streams(self) -> None:
        pair = Pair()
        stream = pair.open_request()
        pair.server.send(stream, RECEIPT, end=True)
        pair.server.close(CloseReason.GOING_AWAY)
        assert pair.to_client()[-1] == PeerClosed(CloseReason.GOING_AWAY, ())
        with pytest.raises(LocalProtocolError, match="no new streams"):
            pair.client.open_stream()
        pair.client.send(stream, Ack(), end=True)
        pair.client.close()
        assert pair.to_server()[-1] == PeerClosed(CloseReason.NORMAL, ())

    def test_close_names_the_streams_that_it_cuts(self) -> None:
        pair = Pair()
        first, second = pair.open_request(), pair.open_request(id=b"j" * 16)
        pair.server.send(first, RECEIPT, end=True)
        pair.server.close()
        assert pair.to_client()[-1] == PeerClosed(CloseReason.NORMAL, (second,))

    def test_nothing_is_sent_after_our_close(self) -> None:
        pair = Pair()
        pair.client.close()
        for call in (pair.client.open_stream, lambda: pair.client.send(0, Cover())):
            with pytest.raises(LocalProtocolError, match="closed by this side"):
                call()

    def test_before_the_handshake_is_over_the_session_just_ends(self) -> None:
        client = make_client()
        client.start()
        client.close()
        assert client.outgoing() == []
        with pytest.raises(RemoteProtocolError, match="over"):
            client.receive(b"")
        client.eof()
        unstarted = make_client()
        unstarted.close()
        with pytest.raises(LocalProtocolError, match="starts once"):
            unstarted.start()

    def test_an_unknown_reason_is_passed_on(self) -> None:
        pair = Pair()
        close = forge(pair.client, FrameType.CLOSE, stream=0, body=b"\x39\x30")
        assert pair.server.receive(close) == [PeerClosed(12345)]
        assert pair.server.deadline() is not None

    def test_close_is_a_method_not_a_message(self) -> None:
        with pytest.raises(LocalProtocolError, match="CLOSE"):
            Pair().client.send(0, Close(0))


class TestEndOfTransport:
    def test_without_close_is_truncation(self) -> None:
        pair = Pair()
        stream = pair.open_request()
        with pytest.raises(TruncatedError, match="without CLOSE") as caught:
            pair.client.eof()
        assert caught.value.streams == (stream,)
        assert isinstance(caught.value, RemoteProtocolError)
        pair.client.eof()  # told once
        with pytest.raises(LocalProtocolError, match="failed"):
            pair.client.send(stream, Cancel())

    def test_our_own_close_does_not_stand_in_for_the_peers(self) -> None:
        pair = Pair()
        pair.client.close()
        with pytest.raises(TruncatedError):
            pair.client.eof()

    def test_in_the_handshake(self) -> None:
        for session in (make_client(), make_server()):
            with pytest.raises(TruncatedError) as caught:
                session.eof()
            assert caught.value.streams == ()


class TestTimers:
    """Nobody looks at a real clock; `deadline` says when to call `on_timer`."""

    def expect_timeout(self, session: Any, clock: Clock, seconds: float) -> None:
        assert session.deadline() == clock.now + seconds
        clock.now += seconds - 0.001
        session.on_timer()
        clock.now += 0.001
        with pytest.raises(RemoteProtocolError) as caught:
            session.on_timer()
        assert caught.value.close_code == 4408
        assert session.deadline() is None
        session.on_timer()

    def test_hello_never_sent(self) -> None:
        clock = Clock()
        server = make_server(clock)
        self.expect_timeout(server, clock, 5)
        assert server.outgoing() == []

    def test_auth_never_sent(self) -> None:
        pair = Pair(handshake=False)
        pair.client.start()
        pair.clock.now += 4
        pair.to_server()
        self.expect_timeout(pair.server, pair.clock, 5)

    def test_the_server_never_answers(self) -> None:
        clock = Clock()
        client = make_client(clock)
        assert client.deadline() is None
        client.start()
        self.expect_timeout(client, clock, 10)

    def test_no_first_request(self) -> None:
        pair = Pair()
        self.expect_timeout(pair.server, pair.clock, 30)
        assert pair.to_client() == [PeerClosed(CloseReason.IDLE)]

    def test_pings_do_not_keep_an_idle_session(self) -> None:
        pair = Pair()
        due = pair.server.deadline()
        pair.clock.now += 20
        pair.client.send(0, Cover())
        pair.exchange()
        assert pair.server.deadline() == due

    def test_idle_after_a_request(self) -> None:
        pair = Pair()
        stream = pair.open_request()
        pair.clock.now += 200
        pair.server.send(stream, Delta(0, 0, Channel.CONTENT, "a", [1]))
        self.expect_timeout(pair.server, pair.clock, 300)
        pair.to_client()
        assert pair.client_events[-1] == PeerClosed(CloseReason.IDLE, (stream,))

    def test_age(self) -> None:
        pair = Pair()
        stream = pair.open_request()
        assert not pair.client.aged
        for _ in range(35):
            pair.clock.now += 100
            pair.server.send(stream, Delta(0, 0, Channel.CONTENT, "a", [1]))
            pair.exchange()
        assert pair.client.aged
        with pytest.raises(LocalProtocolError, match="no new streams"):
            pair.client.open_stream()
        pair.client.send(stream, Cancel())
        assert pair.client.deadline() == pair.server.deadline() == pair.clock.now + 100
        pair.clock.now += 100
        with pytest.raises(RemoteProtocolError, match="too old"):
            pair.client.on_timer()
        assert pair.to_server()[-1] == PeerClosed(CloseReason.AGE, (stream,))
        with pytest.raises(RemoteProtocolError, match="too old"):
            pair.server.on_timer()


class TestWear:
    """2^32 records are as final as 60 minutes."""

    @pytest.mark.parametrize("sent", [True, False])
    def test_many_records_age_a_session(self, sent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        pair = Pair()
        worn, other = (pair.client, pair.server) if sent else (pair.server, pair.client)
        monkeypatch.setattr(lifecycle, "SOFT_RECORDS", 4)
        for _ in range(2):
            pair.client.send(0, Cover())
            pair.exchange()
        assert not worn.aged
        pair.client.send(0, Cover())
        pair.exchange()
        assert worn.aged
        assert other.aged
        with pytest.raises(LocalProtocolError, match="no new streams"):
            pair.client.open_stream()

    def test_at_the_end_only_pings_are_answered_and_close_is_said(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pair = Pair()
        pair.client.send(0, Ping(b"12345678"))
        monkeypatch.setattr(lifecycle, "MAX_RECORDS", lifecycle._LAST_RECORDS)
        with pytest.raises(LocalProtocolError, match="open a new session"):
            pair.server.send(0, Cover())
        pair.exchange()
        assert pair.client.frames_received == 2
        pair.server.close(CloseReason.AGE)
        assert pair.to_client() == [PeerClosed(CloseReason.AGE)]


class TestOneStrike:
    """Any bad record kills the session (wire.md, "Properties")."""

    def test_nothing_is_taken_after_a_bad_record(self) -> None:
        pair = Pair()
        pair.client.send(0, Cover())
        (good,) = pair.client.outgoing()
        with pytest.raises(RemoteProtocolError):
            pair.server.receive(good[:-1] + bytes([good[-1] ^ 1]))
        assert not pair.server.ready
        assert pair.server.outgoing() == []
        assert pair.server.deadline() is None
        with pytest.raises(RemoteProtocolError, match="over"):
            pair.server.receive(good)
        with pytest.raises(LocalProtocolError, match="failed"):
            pair.server.send(0, Cover())
        pair.server.close()
        assert pair.server.outgoing() == []

    def test_a_body_that_does_not_decode_is_a_bad_record(self) -> None:
        pair = Pair()
        stream = pair.client.open_stream()
        with pytest.raises(RemoteProtocolError):
            pair.server.receive(forge(pair.client, FrameType.STATE_GET, stream=stream, body=b"?"))
        assert not pair.server.ready

    def test_the_server_speaks_second(self) -> None:
        client = make_client()
        with pytest.raises(RemoteProtocolError, match="spoke first"):
            client.receive(b"\x02")

    def test_a_ping_after_our_close_is_not_answered(self) -> None:
        pair = Pair()
        pair.client.send(0, Ping(b"12345678"))
        pair.server.close()
        pair.to_server()
        pair.to_client()
        assert pair.client_events[-1] == PeerClosed(CloseReason.NORMAL)
        assert pair.server.outgoing() == []
