"""Attacks on the records (threats.md, "Adversarial cases"): one bad record ends the session."""

from __future__ import annotations

import gc
from types import FunctionType, ModuleType
from typing import Any

import pytest
from nacl import bindings as sodium
from wire_pair import Pair, Seeded, forge, make_server, request

from cocoon_sdk.protocol.constants import CLOSE_PROTOCOL, CLOSE_RATE, CLOSE_TOO_LARGE
from cocoon_sdk.protocol.errors import LocalProtocolError, RemoteProtocolError, TruncatedError
from cocoon_sdk.protocol.events import MessageReceived, PeerClosed
from cocoon_sdk.protocol.frames import FLAG_END, FLAG_MORE, MAX_CHUNK
from cocoon_sdk.protocol.framing import TAG_FINAL, TAG_MESSAGE, TAG_REKEY
from cocoon_sdk.protocol.keyschedule import SessionKeys, session_keys
from cocoon_sdk.protocol.messages import (
    Ack,
    Channel,
    Cover,
    Delta,
    FrameType,
    Receipt,
    encode_body,
)
from cocoon_sdk.protocol.records import RecordReader, RecordWriter
from cocoon_sdk.protocol.session import ClientSession, ServerSession

TAG_PUSH = 1


def delta(seq: int, text: str = "text") -> Delta:
    return Delta(seq, 0, Channel.CONTENT, text, [seq])


def refused(session: ClientSession | ServerSession, message: bytes, code: int | None = None) -> str:
    """One strike: the session refuses the message and everything after it, and sends nothing."""
    with pytest.raises(RemoteProtocolError) as caught:
        session.receive(message)
    assert code is None or caught.value.close_code == code
    assert session.outgoing() == []
    assert not session.ready
    assert session.deadline() is None
    with pytest.raises(RemoteProtocolError, match="over"):
        session.receive(message)
    with pytest.raises(LocalProtocolError):
        session.send(0, Cover())
    session.close()
    session.eof()
    assert session.outgoing() == []
    return str(caught.value)


@pytest.fixture
def pair() -> Pair:
    """A session with one open request, so that the server may answer on stream 1."""
    pair = Pair()
    pair.open_request()
    return pair


def answers(pair: Pair, count: int) -> list[bytes]:
    for seq in range(count):
        pair.server.send(1, delta(seq))
    return pair.server.outgoing()


class TestOnTheWire:
    def test_replay(self, pair: Pair) -> None:
        [record] = answers(pair, 1)
        pair.client.receive(record)
        assert "not authentic" in refused(pair.client, record)

    def test_reorder(self, pair: Pair) -> None:
        _, second = answers(pair, 2)
        refused(pair.client, second)

    def test_drop(self, pair: Pair) -> None:
        first, _, third = answers(pair, 3)
        pair.client.receive(first)
        refused(pair.client, third)

    def test_the_first_record_dropped(self) -> None:
        pair = Pair(handshake=False)
        pair.client.start()
        pair.to_server()
        pair.to_client()
        pair.to_server()
        pair.server.outgoing()
        pair.client.send(pair.client.open_stream(), request())
        pair.to_server()
        [record] = answers(pair, 1)
        refused(pair.client, record)

    def test_reflection(self, pair: Pair) -> None:
        [record] = answers(pair, 1)
        refused(pair.server, record)
        other = Pair()
        other.client.send(other.client.open_stream(), request())
        [mine] = other.client.outgoing()
        refused(other.client, mine)

    def test_reflection_of_the_first_record(self) -> None:
        pair = Pair(handshake=False)
        pair.client.start()
        pair.to_server()
        pair.to_client()
        pair.to_server()
        [first] = pair.server.outgoing()
        refused(pair.server, first)

    def test_splice_from_another_session(self, pair: Pair) -> None:
        other = Pair(seed="other")
        other.open_request()
        [record] = answers(other, 1)
        refused(pair.client, record)

    def test_splice_across_directions_of_equal_count(self, pair: Pair) -> None:
        pair.client.send(1, Ack(), end=True)
        [record] = pair.client.outgoing()
        refused(pair.client, record)

    def test_every_byte_flipped(self) -> None:
        [record] = answers(self._fresh(), 1)
        for index in range(len(record)):
            for mask in (0x01, 0x80):
                pair = self._fresh()
                [record] = answers(pair, 1)
                bad = record[:index] + bytes([record[index] ^ mask]) + record[index + 1 :]
                with pytest.raises(RemoteProtocolError):
                    pair.client.receive(bad)
                assert pair.client_events[1:] == []

    def test_every_byte_of_a_first_record_flipped(self) -> None:
        for index in range(298):
            pair = Pair(handshake=False)
            pair.client.start()
            pair.to_server()
            pair.to_client()
            pair.to_server()
            [record] = pair.server.outgoing()
            assert len(record) == 298
            bad = record[:index] + bytes([record[index] ^ 0x10]) + record[index + 1 :]
            refused(pair.client, bad)

    @staticmethod
    def _fresh() -> Pair:
        pair = Pair()
        pair.open_request()
        return pair

    @pytest.mark.parametrize("size", [0, 1, 17, 18, 28, 273, 275])
    def test_too_short_or_no_bucket(self, pair: Pair, size: int) -> None:
        [record] = answers(pair, 1)
        refused(pair.client, (record + b"\0")[:size], CLOSE_PROTOCOL)

    @pytest.mark.parametrize("size", [65_536 + 19, 65_620, 1_000_000])
    def test_too_long(self, pair: Pair, size: int) -> None:
        refused(pair.client, b"\x10" + bytes(size - 1), CLOSE_TOO_LARGE)


class TestFirstRecord:
    """It carries the stream header, so it is longer; on a DELTA that would show."""

    @pytest.mark.parametrize(
        ("kind", "stream", "body"),
        [
            (FrameType.COVER, 0, b""),
            (FrameType.CLOSE, 0, b"\0\0"),
            (FrameType.DELTA, 1, encode_body(delta(0))),
        ],
    )
    def test_of_a_provider_that_sends_no_ping(
        self, kind: FrameType, stream: int, body: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(ServerSession, "send", lambda *_args, **_options: 0)
            pair = Pair()
        pair.client.send(pair.client.open_stream(), request())
        pair.to_server()
        record = forge(pair.server, kind, stream=stream, body=body)
        assert f"first record is a {kind.name}, not a PING" in refused(pair.client, record)

    def test_a_client_may_begin_with_anything(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(ServerSession, "send", lambda *_args, **_options: 0)
            pair = Pair()
        pair.client.send(0, Cover())
        assert pair.to_server() == []
        assert pair.server.ready


class TestTruncation:
    def test_without_close(self, pair: Pair) -> None:
        for record in answers(pair, 2):
            pair.client.receive(record)
        with pytest.raises(TruncatedError) as caught:
            pair.client.eof()
        assert caught.value.streams == (1,)

    def test_every_cut_of_a_whole_answer(self) -> None:
        """Whatever record boundary the connection is cut at, only the whole of it passes."""
        total = 6
        for cut in range(total + 1):
            pair = Pair()
            pair.open_request()
            for seq in range(4):
                pair.server.send(1, delta(seq))
            pair.server.send(1, Receipt(bytes(352)), end=True)
            pair.server.close()
            records = pair.server.outgoing()
            assert len(records) == total
            events = [event for record in records[:cut] for event in pair.client.receive(record)]
            ended = any(isinstance(event, MessageReceived) and event.end for event in events)
            assert ended == (cut >= 5)
            if cut == total:
                pair.client.eof()
                continue
            with pytest.raises(TruncatedError) as caught:
                pair.client.eof()
            assert caught.value.streams == (() if ended else (1,))

    def test_a_stream_that_had_ended_is_not_truncated(self, pair: Pair) -> None:
        pair.server.send(1, Receipt(bytes(352)), end=True)
        pair.to_client()
        with pytest.raises(TruncatedError) as caught:
            pair.client.eof()
        assert caught.value.streams == ()

    def test_close_in_mid_answer_names_the_stream(self, pair: Pair) -> None:
        answers(pair, 0)
        pair.server.send(1, delta(0))
        pair.server.close()
        assert pair.to_client()[-1] == PeerClosed(0, (1,))

    def test_in_mid_message(self, pair: Pair) -> None:
        pair.client.receive(forge(pair.server, FrameType.RESULT, flags=FLAG_MORE, body=b"x" * 100))
        with pytest.raises(TruncatedError):
            pair.client.eof()


class TestAfterClose:
    def test_data(self, pair: Pair) -> None:
        pair.server.close()
        pair.to_client()
        record = forge(pair.server, FrameType.DELTA, body=encode_body(delta(0)))
        assert "after CLOSE" in refused(pair.client, record)

    def test_a_second_close(self, pair: Pair) -> None:
        pair.server.close()
        pair.to_client()
        record = forge(pair.server, FrameType.CLOSE, stream=0, body=b"\0\0")
        assert "after CLOSE" in refused(pair.client, record)


ACK = encode_body(Ack())


class TestInsideARecord:
    """The attacker is the peer itself: its records are authentic."""

    @pytest.mark.parametrize(
        ("ftype", "options", "complaint"),
        [
            (16, {"body": ACK, "claim": 2**32 - 1}, "overruns"),
            (16, {"body": ACK, "claim": 247}, "overruns"),
            (16, {"body": ACK, "claim": 0}, "not zero"),
            (16, {"body": ACK, "padding": b"\1".rjust(245, b"\0")}, "not zero"),
            (16, {"body": ACK, "padding": b"\1".ljust(245, b"\0")}, "not zero"),
            (0, {}, "unknown frame type"),
            (22, {}, "unknown frame type"),
            *((16, {"body": ACK, "flags": 1 << bit}, "unknown flags") for bit in range(2, 8)),
            (16, {"body": ACK, "tag": TAG_FINAL}, "tag 3"),
            (16, {"body": ACK, "tag": TAG_PUSH}, "tag 1"),
            (16, {"body": ACK, "tag": TAG_REKEY}, "tag 2"),
            (16, {"body": ACK, "flags": FLAG_END, "tag": TAG_MESSAGE}, "tag 0"),
            (16, {"body": ACK, "flags": FLAG_END, "tag": TAG_FINAL}, "tag 3"),
            (15, {"stream": 0, "body": b"\0\0", "tag": TAG_MESSAGE}, "tag 0"),
            (15, {"stream": 0, "body": b"\0\0", "tag": TAG_REKEY}, "tag 2"),
            (15, {"stream": 0, "body": b"\0\0", "flags": FLAG_END}, "cannot end stream 0"),
            (15, {"stream": 0, "body": b"\0\0", "flags": FLAG_MORE}, "MORE"),
            (15, {"stream": 1, "body": b"\0\0"}, "does not belong"),
            (15, {"stream": 0, "body": b"\0"}, "CLOSE body of 1"),
            (15, {"stream": 0, "body": b"\0\0\0"}, "CLOSE body above 2"),
            (16, {"stream": 0, "body": ACK}, "on stream 0"),
            (16, {"stream": 3, "body": ACK}, "not open"),
            (16, {"stream": 2, "body": ACK}, "not open"),
            (1, {"stream": 1, "body": ACK}, "does not belong"),
            (1, {"stream": 2, "body": ACK}, "odd"),
            (1, {"stream": 3, "body": ACK}, "malformed REQUEST"),
            (1, {"stream": 3, "body": ACK, "flags": FLAG_MORE | FLAG_END}, "MORE"),
            (1, {"stream": 3, "flags": FLAG_MORE}, "empty part"),
            (2, {"body": ACK}, "does not belong"),
            (3, {"body": bytes(352)}, "does not belong"),
            (4, {"body": ACK}, "malformed VOUCHER"),
            (4, {"body": ACK, "flags": FLAG_END}, "cannot end"),
            (4, {"body": b"\xc1"}, "malformed VOUCHER"),
            (4, {"body": bytes(2000)}, "above 1014"),
            (5, {"stream": 0, "body": b"\x91" * 60_000}, "malformed ERROR"),
            (8, {"stream": 0, "body": bytes(8)}, "answers no PING"),
            (8, {"stream": 0, "body": bytes(7)}, "PONG body"),
            (8, {"stream": 0, "body": bytes(9)}, "above 8"),
            (6, {"stream": 1, "body": b"\x81\x01\x02"}, "malformed CANCEL"),
        ],
    )
    def test_refused_by_the_server(
        self, pair: Pair, ftype: int, options: dict[str, Any], complaint: str
    ) -> None:
        assert complaint in refused(pair.server, forge(pair.client, ftype, **options))

    @pytest.mark.parametrize(
        ("ftype", "options", "complaint"),
        [
            (2, {"body": bytes(247)}, "constant cell"),
            (2, {"body": encode_body(delta(0)), "size": 512}, "constant cell"),
            (2, {"body": encode_body(delta(0)), "flags": FLAG_END}, "cannot end"),
            (2, {"body": encode_body(delta(0)), "flags": FLAG_MORE}, "MORE"),
            (2, {"body": encode_body(delta(0)), "stream": 3}, "not open"),
            (2, {"body": encode_body(delta(0)), "stream": 0}, "on stream 0"),
            (2, {"body": b"\x95\0\0\0\xa1\xff\x90"}, "malformed DELTA"),
            (10, {"body": b"\x90", "flags": FLAG_END}, "cannot end"),
            (13, {"body": b"\x90", "flags": FLAG_END}, "cannot end"),
            (3, {"body": bytes(351), "flags": FLAG_END}, "RECEIPT body of 351"),
            (3, {"body": bytes(352)}, "RECEIPT without END"),
            (1, {"stream": 3, "body": ACK}, "not open"),
            (4, {"body": ACK}, "does not belong"),
            (21, {"body": ACK}, "does not belong"),
        ],
    )
    def test_refused_by_the_client(
        self, pair: Pair, ftype: int, options: dict[str, Any], complaint: str
    ) -> None:
        assert complaint in refused(pair.client, forge(pair.server, ftype, **options))

    def test_a_delta_of_247_bytes_without_padding(self) -> None:
        pair = Pair(padding="off")
        pair.open_request()
        body = encode_body(delta(0, "x" * 239))
        assert len(body) == 247
        record = forge(pair.server, FrameType.DELTA, body=body, padding=b"")
        assert "above 246" in refused(pair.client, record, CLOSE_TOO_LARGE)

    def test_a_size_that_is_no_bucket(self, pair: Pair) -> None:
        for size in (255, 257, 300, 768):
            fresh = Pair()
            fresh.open_request()
            message = forge(fresh.client, FrameType.ACK, body=ACK, size=size)
            assert "no bucket" in refused(fresh.server, message)
        # A larger bucket than needed is not an error: only DELTA has one fixed length.
        assert pair.server.receive(forge(pair.client, FrameType.ACK, body=ACK, size=4096))

    def test_nine_streams(self) -> None:
        pair = Pair()
        body = encode_body(request())
        for index in range(8):
            pair.server.receive(
                forge(pair.client, FrameType.REQUEST, stream=2 * index + 1, body=body)
            )
        record = forge(pair.client, FrameType.REQUEST, stream=17, body=body)
        assert "more than 8" in refused(pair.server, record)

    def test_a_request_that_never_stops(self) -> None:
        pair = Pair(server=make_server(max_request_bytes=200_000))
        part = bytes(MAX_CHUNK)
        for _ in range(3):
            record = forge(pair.client, FrameType.REQUEST, flags=FLAG_MORE, body=part)
            assert pair.server.receive(record) == []
        record = forge(pair.client, FrameType.REQUEST, flags=FLAG_MORE, body=part)
        assert "above 200000" in refused(pair.server, record, CLOSE_TOO_LARGE)

    def test_another_frame_inside_an_unfinished_one(self) -> None:
        pair = Pair()
        pair.server.receive(forge(pair.client, FrameType.REQUEST, flags=FLAG_MORE, body=b"x"))
        assert "unfinished" in refused(pair.server, forge(pair.client, FrameType.CANCEL, body=ACK))

    def test_frames_after_the_end(self, pair: Pair) -> None:
        pair.server.receive(forge(pair.client, FrameType.CANCEL, flags=FLAG_END, body=ACK))
        assert "after the end" in refused(pair.server, forge(pair.client, FrameType.ACK, body=ACK))

    def test_a_stream_id_reused(self, pair: Pair) -> None:
        pair.server.send(1, Receipt(bytes(352)), end=True)
        pair.server.receive(forge(pair.client, FrameType.ACK, flags=FLAG_END, body=ACK))
        record = forge(pair.client, FrameType.REQUEST, body=encode_body(request()))
        assert "increase" in refused(pair.server, record)

    def test_ping_flood(self, pair: Pair) -> None:
        ping = {"stream": 0, "body": bytes(8)}
        for _ in range(12):
            assert pair.server.receive(forge(pair.client, FrameType.PING, **ping)) == []
        assert len(pair.server.outgoing()) == 12
        refused(pair.server, forge(pair.client, FrameType.PING, **ping), CLOSE_RATE)


class TestRatchet:
    """A stolen state opens nothing from before the last END: its key is gone."""

    @staticmethod
    def record_and_steal(*, end: bool) -> tuple[list[bytes], bytes, list[bytes]]:
        writer = RecordWriter(b"k" * 32)
        reader = RecordReader(b"k" * 32, padded=True)
        messages, nonces = [], []
        for index in range(4):
            tag = TAG_REKEY if end and index == 3 else TAG_MESSAGE
            message = writer.seal(bytes([index]) * 256, tag)
            if index:
                nonces.append(bytes(reader._state.statebuf)[32:44])
                messages.append(message)
            reader.open(message)
        return messages, bytes(reader._state.statebuf), nonces

    @staticmethod
    def openable(message: bytes, state: bytes, nonce: bytes) -> bool:
        stolen = RecordReader(b"?" * 32, padded=True)
        stolen._key = None
        stolen._state.tagbuf = sodium.crypto_secretstream.ffi.new("unsigned char *")
        stolen._state.statebuf[0 : len(state)] = state[:32] + nonce + state[44:]
        try:
            stolen.open(message)
        except RemoteProtocolError:
            return False
        return True

    def test_without_an_end_older_records_would_open(self) -> None:
        messages, state, nonces = self.record_and_steal(end=False)
        opened = [self.openable(m, state, n) for m, n in zip(messages, nonces, strict=True)]
        assert opened == [True, True, True]

    def test_after_an_end_they_do_not(self) -> None:
        messages, state, nonces = self.record_and_steal(end=True)
        for nonce in [*nonces, state[32:44]]:
            assert not any(self.openable(message, state, nonce) for message in messages)

    def test_a_session_holds_no_key_that_it_started_with(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys: set[bytes] = set()

        def spy(secret: bytes, th3: bytes) -> SessionKeys:
            derived = session_keys(secret, th3)
            keys.update({secret, derived.c2s, derived.s2c})
            return derived

        monkeypatch.setattr("cocoon_sdk.protocol.handshake.session_keys", spy)
        pair = Pair()
        assert len(keys) == 3
        ephemerals = {Seeded("client")(32), Seeded("server")(32)}
        for session in (pair.client, pair.server):
            held = reachable_bytes(session)
            assert session.exporter in held
            assert not held & (keys | ephemerals)


def reachable_bytes(root: object) -> set[bytes]:
    """Every bytes object that can be reached from `root` without passing through code."""
    seen: set[int] = set()
    found: set[bytes] = set()
    queue = [root]
    while queue:
        item = queue.pop()
        if id(item) in seen or isinstance(item, ModuleType | type | FunctionType):
            continue
        seen.add(id(item))
        if isinstance(item, bytes):
            found.add(item)
        queue.extend(gc.get_referents(item))
    return found
