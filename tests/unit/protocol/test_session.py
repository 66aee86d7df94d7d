from __future__ import annotations

import os
from typing import Any

import pytest
from wire_pair import (
    CHANNEL,
    PROVIDER,
    REGISTRY,
    VOUCHER_KEY,
    Pair,
    make_client,
    make_server,
    request,
)

from cocoon_sdk.protocol import lifecycle
from cocoon_sdk.protocol.constants import CLOSE_CLIENT_AUTH
from cocoon_sdk.protocol.errors import (
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
)
from cocoon_sdk.protocol.events import HandshakeCompleted, MessageReceived, PeerClosed
from cocoon_sdk.protocol.messages import (
    Ack,
    Attest,
    AttestChallenge,
    Cancel,
    Channel,
    CloseAuth,
    CloseReason,
    CloseRequest,
    Cover,
    Delta,
    Error,
    Receipt,
    ReceiptGet,
    Result,
    State,
    StateGet,
    Voucher,
    encode_body,
)

RECEIPT = Receipt(bytes(352))


def test_both_ends_agree() -> None:
    pair = Pair()
    [mine] = pair.client_events
    [theirs] = pair.server_events
    assert isinstance(mine, HandshakeCompleted)
    assert mine == theirs
    assert mine.client_key == VOUCHER_KEY.public_key
    assert (mine.channel, mine.registry, mine.suite) == (CHANNEL, REGISTRY, 1)
    for session in (pair.client, pair.server):
        assert session.ready
        assert (session.session_id, session.exporter) == (mine.session_id, mine.exporter)
        assert session.suite == 1
    assert len(mine.session_id) == 16
    assert mine.exporter.hex() not in repr(mine)
    assert repr(mine.exporter) not in repr(mine)


def test_an_anonymous_client() -> None:
    pair = Pair(client=make_client(signer=None, channel=None, registry=None))
    [event] = pair.server_events
    assert isinstance(event, HandshakeCompleted)
    assert (event.client_key, event.channel, event.registry) == (None, None, None)


def test_an_anonymous_client_where_a_key_is_required() -> None:
    pair = Pair(
        client=make_client(signer=None, channel=None),
        server=make_server(require_auth=True),
        handshake=False,
    )
    pair.client.start()
    pair.to_server()
    with pytest.raises(RemoteProtocolError, match="voucher key") as caught:
        pair.to_client()
    assert caught.value.close_code == CLOSE_CLIENT_AUTH


def test_hello_carries_no_fingerprint() -> None:
    client = make_client()
    client.start()
    [hello] = client.outgoing()
    assert hello[72:] == bytes(42)


def test_fresh_keys_each_time() -> None:
    one, two = Pair(), Pair(seed="again")
    assert one.client.session_id != two.client.session_id
    assert one.client.exporter != two.client.exporter


def test_a_whole_paid_request() -> None:
    pair = Pair()
    stream = pair.client.open_stream()
    question = request(voucher=Voucher(0, 5, bytes(64), 0))
    assert pair.client.send(stream, question) == 1
    [event] = pair.to_server()
    assert event == MessageReceived(1, question, encode_body(question), end=False)
    pair.server.send(stream, Delta(0, 0, Channel.CONTENT, "answer", [1]))
    pair.client.send(stream, Voucher(0, 9, bytes(64), 4))
    pair.server.send(stream, RECEIPT, end=True)
    pair.exchange()
    assert [(e.message, e.end) for e in pair.client_events if isinstance(e, MessageReceived)] == [
        (Delta(0, 0, Channel.CONTENT, "answer", [1]), False),
        (RECEIPT, True),
    ]
    assert pair.client.open_streams == 1
    pair.client.send(stream, Ack(), end=True)
    pair.exchange()
    assert (pair.client.open_streams, pair.server.open_streams) == (0, 0)
    assert pair.client.open_stream() == 3


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (StateGet(), State(0, 0, bytes(64), 0, 0)),
        (ReceiptGet(None, 1), RECEIPT),
        (CloseRequest(0), CloseAuth(0, 1, bytes(64))),
        (StateGet(), Error("not_found", "no such channel")),
    ],
)
def test_questions_besides_requests(question: Any, answer: Any) -> None:
    pair = Pair()
    stream = pair.client.open_stream()
    pair.client.send(stream, question, end=True)
    pair.exchange()
    pair.server.send(stream, answer, end=True)
    pair.exchange()
    assert pair.server_events[-1] == MessageReceived(1, question, encode_body(question), end=True)
    assert pair.client_events[-1] == MessageReceived(1, answer, encode_body(answer), end=True)
    assert pair.client.open_streams == pair.server.open_streams == 0


def test_connection_frames() -> None:
    pair = Pair()
    pair.client.send(0, AttestChallenge())
    pair.client.send(0, Cover())
    pair.exchange()
    pair.server.send(0, Attest(os.urandom(100_000), b"collateral"))
    pair.server.send(0, Error("draining", "restarting"))
    pair.exchange()
    assert pair.server_events[-1] == MessageReceived(0, AttestChallenge(), b"\x90", end=False)
    quote, error = pair.client_events[-2:]
    assert isinstance(quote, MessageReceived)
    assert isinstance(quote.message, Attest)
    assert len(quote.message.quote) == 100_000
    assert isinstance(error, MessageReceived)
    assert error.message == Error("draining", "restarting")


@pytest.mark.parametrize("padding", ["default", "off"])
def test_a_long_request_travels_in_many_records(padding: str) -> None:
    pair = Pair(padding=padding)
    stream = pair.client.open_stream()
    question = request(body={"text": "x" * 500_000})
    assert pair.client.send(stream, question) == 8
    assert {len(m) for m in pair.client._outgoing[1:-1]} == {65_536 + 18}
    [event] = pair.to_server()
    assert event == MessageReceived(1, question, encode_body(question), end=False)


def test_a_server_bounds_requests() -> None:
    pair = Pair(server=make_server(max_request_bytes=10_000))
    pair.client.send(pair.client.open_stream(), request(body={"text": "x" * 10_000}))
    with pytest.raises(RemoteProtocolError, match="REQUEST body above 10000") as caught:
        pair.to_server()
    assert caught.value.close_code == 4413


def test_delta_records_have_one_length() -> None:
    pair = Pair()
    stream = pair.open_request()
    for text in ("", "a", "x" * 200, "中" * 70):
        pair.server.send(stream, Delta(0, 0, Channel.CONTENT, text, [1] * 20))
    pair.server.send(stream, Delta(0, 0, Channel.CONTENT, "x" * 239, []))
    assert {len(message) for message in pair.server.outgoing()} == {274}
    with pytest.raises(LocalProtocolError, match="DELTA body of 247 bytes; the limit is 246"):
        pair.server.send(stream, Delta(0, 0, Channel.CONTENT, "x" * 240, []))


def test_short_requests_look_alike() -> None:
    pair = Pair()
    for text in ("", "x" * 600):
        pair.client.send(pair.client.open_stream(), request(body={"text": text}))
    first, second = pair.client.outgoing()
    assert (len(first), len(second)) == (1024 + 18, 1024 + 18)


def test_without_padding_both_sides_must_agree() -> None:
    pair = Pair(padding="off")
    stream = pair.open_request()
    pair.server.send(stream, Delta(0, 0, Channel.CONTENT, "a", [1]))
    [message] = pair.server.outgoing()
    assert len(message) < 50
    assert len(pair.client.receive(message)) == 1
    for client, server in (("default", "off"), ("off", "default")):
        with pytest.raises(RemoteProtocolError, match="padding is") as caught:
            Pair(client=make_client(padding=client), server=make_server(padding=server))
        assert caught.value.close_code == CLOSE_CLIENT_AUTH


def test_counters() -> None:
    pair = Pair()
    assert (pair.client.frames_sent, pair.client.frames_received) == (1, 1)  # PONG, PING
    assert pair.client.bytes_sent == 114 + 273 + 298
    pair.open_request()
    assert pair.client.frames_sent == pair.server.frames_received == 2
    assert pair.client.bytes_sent == pair.server.bytes_received
    assert pair.server.bytes_sent == pair.client.bytes_received
    assert make_client().frames_sent == make_client().frames_received == 0


def test_interleaved_streams() -> None:
    pair = Pair()
    streams = [pair.open_request(id=bytes([n]) * 16) for n in range(8)]
    for stream in streams:
        for seq in range(3):
            pair.server.send(stream, Delta(seq, 0, Channel.CONTENT, f"{stream}", [stream]))
    pair.exchange()
    got = [e for e in pair.client_events if isinstance(e, MessageReceived)]
    assert [(e.stream, e.message.text) for e in got if isinstance(e.message, Delta)] == [
        (stream, f"{stream}") for stream in streams for _ in range(3)
    ]
    with pytest.raises(LocalProtocolError, match="8 streams"):
        pair.client.open_stream()


class TestLocalMistakes:
    """They raise LocalProtocolError, queue nothing and leave the session as it was."""

    @pytest.fixture
    def pair(self) -> Pair:
        return Pair()

    def check_alive(self, pair: Pair) -> None:
        assert pair.client.outgoing() == []
        pair.open_request()
        assert isinstance(pair.server_events[-1], MessageReceived)

    def test_before_the_handshake(self) -> None:
        client = make_client()
        for call in (
            client.open_stream,
            lambda: client.send(0, Cover()),
            lambda: client.session_id,
            lambda: client.exporter,
            lambda: client.suite,
        ):
            with pytest.raises(LocalProtocolError, match="handshake is not over"):
                call()
        assert not client.ready
        assert not client.aged

    def test_starting_twice(self, pair: Pair) -> None:
        with pytest.raises(LocalProtocolError, match="once"):
            pair.client.start()
        self.check_alive(pair)

    def test_a_stream_that_was_not_opened(self, pair: Pair) -> None:
        with pytest.raises(LocalProtocolError, match="not reserved"):
            pair.client.send(1, request())
        with pytest.raises(LocalProtocolError, match="not open"):
            pair.client.send(1, Cancel())
        self.check_alive(pair)

    def test_a_body_that_cannot_be_encoded(self, pair: Pair) -> None:
        stream = pair.client.open_stream()
        nested: list[Any] = []
        nested.append(nested)
        for body in ({"x": object()}, {"x": 2**70}, {"x": nested}):
            with pytest.raises(LocalProtocolError, match="cannot be encoded"):
                pair.client.send(stream, request(body=body))
        with pytest.raises(LocalProtocolError, match="cannot be encoded"):
            pair.client.send(stream, request(body={"x": "\ud800"}))
        self.check_alive(pair)

    def test_a_frame_of_the_other_side(self, pair: Pair) -> None:
        stream = pair.open_request()
        with pytest.raises(LocalProtocolError, match="does not belong"):
            pair.client.send(stream, Delta(0, 0, Channel.CONTENT, "", []))
        with pytest.raises(LocalProtocolError, match="does not belong"):
            pair.server.send(stream, Cancel())

    def test_too_many_records(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lifecycle, "MAX_RECORDS", lifecycle._LAST_RECORDS)
        with pytest.raises(LocalProtocolError, match="open a new session"):
            pair.client.send(0, Cover())
        pair.client.close()
        assert pair.to_server() == [PeerClosed(CloseReason.NORMAL)]

    @pytest.mark.parametrize(
        ("options", "complaint"),
        [
            ({"provider_id": bytes(32)}, "not an Ed25519 public key"),
            ({"provider_id": PROVIDER.public_key[:31]}, "not an Ed25519 public key"),
            ({"signer": None}, "needs its voucher key"),
            ({"suites": (3, 9)}, "suites"),
            ({"suites": ()}, "suites"),
            ({"padding": "none"}, "padding"),
        ],
    )
    def test_constructor(self, options: dict[str, Any], complaint: str) -> None:
        with pytest.raises(LocalProtocolError, match=complaint):
            make_client(**options)


def test_the_servers_record_size_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "cocoon_sdk.protocol.session.encode_server_params", lambda: b"\1\0\4\0\0\x10\0\0"
    )
    pair = Pair()
    stream = pair.client.open_stream()
    assert pair.client.send(stream, request(body={"x": "y" * 10_000})) == 3
    assert {len(m) for m in pair.client._outgoing} <= {4096 + 18, 2048 + 18}
    [event] = pair.to_server()
    assert isinstance(event, MessageReceived)
    big = Error("internal", "x" * 5000)
    assert pair.client.send(stream, big) == 2
    pair.to_server()
    assert isinstance(pair.server_events[-1], MessageReceived)
    assert pair.server_events[-1].message == big


def test_results_of_many_records() -> None:
    pair = Pair()
    stream = pair.open_request()
    vector = [0.25] * 20_000
    assert pair.server.send(stream, Result(0, 0, 1, "embedding", vector)) == 3
    pair.exchange()
    assert isinstance(pair.client_events[-1], MessageReceived)
    assert pair.client_events[-1].message == Result(0, 0, 1, "embedding", vector)


def test_local_and_remote_errors_are_told_apart() -> None:
    assert not issubclass(LocalProtocolError, RemoteProtocolError)
    assert not issubclass(RemoteProtocolError, LocalProtocolError)
    assert issubclass(LocalProtocolError, ProtocolError)
    assert issubclass(RemoteProtocolError, ProtocolError)
