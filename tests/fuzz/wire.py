"""The handshake, records and bodies of cocoon-e2e/1 (wire.md)."""

from __future__ import annotations

import struct

import msgspec
from wire_pair import Pair, default_tag, make_client, make_server, request

from cocoon_sdk.protocol.deltas import split_delta
from cocoon_sdk.protocol.errors import LocalProtocolError, RemoteProtocolError
from cocoon_sdk.protocol.frames import FRAME_HEADER, MAX_DELTA
from cocoon_sdk.protocol.hello import AUTH_PLAINTEXT, ClientAuth, ClientHello, ServerHello
from cocoon_sdk.protocol.messages import (
    Ack,
    Attest,
    AttestChallenge,
    BodyError,
    Cancel,
    Channel,
    CloseAuth,
    CloseRequest,
    Delta,
    Error,
    FrameType,
    Message,
    Meter,
    Queue,
    ReceiptGet,
    Result,
    Resume,
    State,
    StateGet,
    Voucher,
    decode_body,
    encode_body,
    frame_type,
)
from cocoon_sdk.protocol.params import (
    ChannelId,
    ClientParams,
    RegistryRef,
    decode_server_params,
    encode_server_params,
)
from cocoon_sdk.protocol.results import ResultParts, split_result
from cocoon_sdk.protocol.tlv import decode_tlv, encode_tlv
from fuzz.target import Target

HASH = bytes(range(32))
SIGNATURE = bytes(64)
BODIES: tuple[Message, ...] = (
    request(),
    request(voucher=Voucher(1, 2, SIGNATURE, 3), resume=Resume([1, 70_000], 5)),
    Delta(0, 0, Channel.CONTENT, "héllo", [1, 300, 70_000]),
    Voucher(1, 2**63 - 1, SIGNATURE, 0),
    Error("overloaded", "later", 1500, {"limit": 3, "nested": [None, 1.5, {"a": b"b"}]}),
    Cancel(),
    Meter(1, 2, 3, HASH, 4, 5),
    AttestChallenge(),
    Attest(b"quote", b"collateral"),
    Result(0, 0, 1, "finish", {"reason": "stop", "logprobs": [-1.5, None]}),
    Queue(3, 20),
    Ack(),
    CloseRequest(2**64 - 1),
    CloseAuth(1, 2, SIGNATURE),
    ReceiptGet(b"i" * 16, None),
    StateGet(),
    State(1, 2, SIGNATURE, 3, 4),
)


def handshake_messages() -> tuple[bytes, bytes, bytes]:
    client, server = make_client(), make_server()
    client.start()
    [hello] = client.outgoing()
    server.receive(hello)
    [answer] = server.outgoing()
    client.receive(answer)
    [auth] = client.outgoing()
    return hello, answer, auth


GENUINE = frozenset(handshake_messages())


def check_client_hello(data: bytes) -> None:
    try:
        hello = ClientHello.decode(data)
    except RemoteProtocolError:
        return
    assert ClientHello.decode(hello.encode()) == hello


def check_server_hello(data: bytes) -> None:
    try:
        hello = ServerHello.decode(data)
    except RemoteProtocolError:
        return
    assert hello.clear + hello.auth == data


def check_client_auth(data: bytes) -> None:
    raw = data.ljust(AUTH_PLAINTEXT, b"\0")[:AUTH_PLAINTEXT]
    try:
        auth = ClientAuth.decode(raw)
    except RemoteProtocolError:
        return
    assert auth.encode() == raw
    check_client_params(auth.params)


def check_client_params(data: bytes) -> None:
    try:
        params = ClientParams.decode(data)
    except RemoteProtocolError:
        return
    assert ClientParams.decode(params.encode()) == params


def check_server_params(data: bytes) -> None:
    try:
        size = decode_server_params(data)
    except RemoteProtocolError:
        return
    assert decode_server_params(encode_server_params(size)) == size


def check_tlv(data: bytes) -> None:
    try:
        items = decode_tlv(data)
    except RemoteProtocolError:
        return
    assert encode_tlv(items) == data


def check_messages(data: bytes) -> None:
    """Raw messages to both sides in every state: nobody can guess an authentic one."""
    if data in GENUINE:
        return
    client, server = make_client(), make_server()
    client.start()
    [hello] = client.outgoing()
    server.receive(hello)
    pair = Pair()
    for session in (make_client(), make_server(), client, server, pair.client, pair.server):
        session.outgoing()
        try:
            session.receive(data)
        except RemoteProtocolError:
            assert session.outgoing() == []
            continue
        assert data == hello or ClientHello.decode(data)


def check_records(data: bytes) -> None:
    """Authentic records with whatever inside: [to the server?] ([tag][u16 length][plaintext])*."""
    pair = Pair()
    pair.open_request()
    to_server = not data[:1] or data[0] % 2 == 0
    sender, receiver = (pair.client, pair.server) if to_server else (pair.server, pair.client)
    writer = sender._writer
    assert writer is not None
    at = 1
    try:
        while at + 3 <= len(data):
            tag, size = struct.unpack_from("<BH", data, at)
            plaintext = data[at + 3 : at + 3 + size]
            receiver.receive(writer.seal(plaintext, tag % 5))
            at += 3 + size
        for event in (receiver.deadline(), receiver.open_streams):
            assert event is None or event >= 0
    except RemoteProtocolError:
        try:
            receiver.send(1, Cancel())
        except LocalProtocolError:
            return
        raise AssertionError("a session that failed still takes messages") from None


def record_seeds() -> list[bytes]:
    seeds = []
    for message in BODIES:
        kind, body = frame_type(message), encode_body(message)
        connection = kind in {FrameType.ATTEST, FrameType.ATTEST_CHALLENGE, FrameType.ERROR}
        head = FRAME_HEADER.pack(kind, 0, 0 if connection else 1, len(body))
        plaintext = head + body
        size = (
            1024 if kind is FrameType.REQUEST else max(256, 1 << (len(plaintext) - 1).bit_length())
        )
        record = struct.pack("<BH", default_tag(kind, 0), size) + plaintext.ljust(size, b"\0")
        seeds += [b"\0" + record, b"\1" + record * 2]
    return seeds


def check_bodies(data: bytes) -> None:
    """[ftype][body]. Not-a-numbers differ from themselves, so the encodings are compared."""
    try:
        message = decode_body(data[0] if data else 0, data[1:])
    except BodyError:
        return
    again = encode_body(message)
    assert encode_body(decode_body(frame_type(message), again)) == again


def body_seeds() -> list[bytes]:
    packed = [bytes([frame_type(message)]) + encode_body(message) for message in BODIES]
    raw = {FrameType.RECEIPT: 352, FrameType.PING: 8, FrameType.PONG: 8, FrameType.CLOSE: 2}
    return packed + [bytes([kind]) + bytes(size) for kind, size in raw.items()]


def check_deltas(data: bytes) -> None:
    """([u8 letters][u8 ids][UTF-8][u32]*)* cut into DELTAs and put together again."""
    pieces: list[tuple[str, list[int]]] = []
    at = 0
    while at + 2 <= len(data):
        letters, ids = data[at], data[at + 1] % 64
        text = data[at + 2 : at + 2 + 4 * letters].decode("utf-8", "replace")
        at += 2 + 4 * letters
        block = data[at : at + 4 * ids]
        block = block[: len(block) // 4 * 4]
        pieces.append((text, list(struct.unpack(f"<{len(block) // 4}I", block))))
        at += 4 * ids
    first = data[0] << 24 if data else 0
    deltas = split_delta(first, first, Channel.CONTENT, pieces)
    assert "".join(delta.text for delta in deltas) == "".join(text for text, _ in pieces)
    assert [x for delta in deltas for x in delta.ids] == [x for _, ids in pieces for x in ids]
    assert [delta.seq for delta in deltas] == list(range(first, first + len(deltas)))
    for delta in deltas:
        body = encode_body(delta)
        assert len(body) <= MAX_DELTA
        assert decode_body(FrameType.DELTA, body) == delta


def check_results(data: bytes) -> None:
    """([u8 length][item])* cut into parts and put together; then the parts out of order."""
    items = []
    at = 0
    while at < len(data):
        items.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    parts = split_result(3, "k", items, limit=300)
    whole = ResultParts(limit=len(parts))
    for part in parts:
        assert whole.complete == (part.part == 0)
        value = whole.add(part)
    assert value == items
    assert whole.complete
    other = ResultParts(limit=8)
    for step in data:
        try:
            other.add(parts[step % len(parts)])
        except ValueError:
            return


def _tlv_seeds() -> list[bytes]:
    full = ClientParams(ChannelId(-1, HASH), ClientParams().padding, RegistryRef(HASH, 7, HASH))
    return [full.encode(), encode_tlv({1: b"", 2: b"x", 0xFFFF: b"y" * 9}), b""]


def _auth_seeds() -> list[bytes]:
    params = _tlv_seeds()[0]
    return [ClientAuth(1, HASH, SIGNATURE, params).encode(), bytes(256)]


TARGETS = (
    Target("client_hello", check_client_hello, lambda: [handshake_messages()[0]]),
    Target("server_hello", check_server_hello, lambda: [handshake_messages()[1]]),
    Target("client_auth", check_client_auth, _auth_seeds, max_len=256),
    Target("client_params", check_client_params, _tlv_seeds),
    Target("server_params", check_server_params, lambda: [encode_server_params(), b""], max_len=64),
    Target("tlv", check_tlv, _tlv_seeds),
    Target("messages", check_messages, lambda: list(handshake_messages())),
    Target("records", check_records, record_seeds),
    Target(
        "bodies",
        check_bodies,
        body_seeds,
        words=(b"\xc7\x0c\xff", b"\xd6\xff", b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff",
               b"\xcb\x7f\xf8\0\0\0\0\0\0", msgspec.msgpack.encode({"voucher": None})),
    ),
    Target("results", check_results, lambda: [b"\xffa" * 500, b"\x01a\x02bc", b""]),
    Target("deltas", check_deltas, lambda: [b"\x02\x03h\xc3\xa9llo 12" + bytes(12), bytes(300)]),
)  # fmt: skip
