from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cocoon_sdk.protocol.messages import (
    Ack,
    Attest,
    AttestChallenge,
    BodyError,
    Cancel,
    Channel,
    Close,
    CloseAuth,
    CloseRequest,
    Cover,
    Delta,
    Error,
    FrameType,
    Message,
    Meter,
    Ping,
    Pong,
    Queue,
    Receipt,
    ReceiptGet,
    Request,
    Result,
    Resume,
    State,
    StateGet,
    Voucher,
    decode_body,
    encode_body,
    frame_type,
)

VOUCHER = Voucher(3, 2**63 - 1, b"s" * 64, 5)
REQUEST = Request(
    id=b"i" * 16,
    kind="embedding",
    model="m",
    model_hash=b"h" * 32,
    body={"input": ["a", 1, None, 2.5, True]},
    seed=2**64 - 1,
    date="2025-01-01",
    salt=b"s" * 16,
    price=(1, 2, 3),
    voucher=VOUCHER,
    resume=Resume([1, 2, 3], 9),
)
MESSAGES: list[Message] = [
    REQUEST,
    Delta(1, 0, Channel.TOOL_CALL, "text \N{GRINNING FACE}", [1, 2**32 - 1]),
    Receipt(bytes(352)),
    VOUCHER,
    Error("overloaded", "queue is full", 250, {"position": 3}),
    Cancel(),
    Ping(b"12345678"),
    Pong(b"12345678"),
    Cover(),
    Meter(1, 2, 3, b"h" * 32, 4, 5),
    AttestChallenge(),
    Attest(b"quote", b"collateral"),
    Result(0, 0, 1, "finish", ["stop"]),
    Queue(3, 4000),
    Close(1),
    Ack(),
    CloseRequest(7),
    CloseAuth(7, 8, b"s" * 64),
    ReceiptGet(None, 4),
    StateGet(),
    State(1, 2, bytes(64), 3, 4),
]


def test_every_frame_type_has_an_example() -> None:
    assert [frame_type(message) for message in MESSAGES] == list(FrameType)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_round_trip(message: Message) -> None:
    body = encode_body(message)
    decoded = decode_body(frame_type(message), body)
    assert decoded == message
    assert type(decoded) is type(message)
    assert encode_body(decoded) == body


def test_shapes_on_the_wire() -> None:
    assert encode_body(Ack()) == b"\x90"
    assert encode_body(Queue(1, 2)) == b"\x92\1\2"
    assert encode_body(Close(0x0102)) == b"\2\1"
    assert msgspec.msgpack.decode(encode_body(REQUEST))["voucher"] == [3, 2**63 - 1, b"s" * 64, 5]


def test_arrays_may_grow_and_maps_may_hold_more() -> None:
    assert decode_body(FrameType.QUEUE, b"\x93\1\2\3") == Queue(1, 2)
    assert decode_body(FrameType.ACK, b"\x91\1") == Ack()
    raw = msgspec.msgpack.encode({"code": "x", "message": "y", "more": 1})
    assert decode_body(FrameType.ERROR, raw) == Error("x", "y")


def packed(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


@pytest.mark.parametrize(
    ("ftype", "body"),
    [
        (0, b""),
        (22, b""),
        (FrameType.PING, bytes(7)),
        (FrameType.PONG, bytes(9)),
        (FrameType.RECEIPT, bytes(351)),
        (FrameType.CLOSE, b"\0"),
        (FrameType.QUEUE, b""),
        (FrameType.QUEUE, b"\x92\1"),
        (FrameType.QUEUE, b"\x91\1"),
        (FrameType.QUEUE, packed([1, 2]) + b"\0"),
        (FrameType.QUEUE, packed([-1, 2])),
        (FrameType.QUEUE, packed([1.5, 2])),
        (FrameType.QUEUE, packed([True, 2])),
        (FrameType.QUEUE, packed([1, 2**32])),
        (FrameType.QUEUE, packed({"position": 1, "estimated_ms": 2})),
        (FrameType.METER, packed([1, 2, 3, bytes(31), 4, 5])),
        (FrameType.METER, packed([1, 2, 3, bytes(32), 2**63, 5])),
        (FrameType.VOUCHER, packed([1, 2, bytes(63), 3])),
        (FrameType.DELTA, packed([0, 0, 3, "x", []])),
        (FrameType.DELTA, b"\x95\0\0\0\xa1\xff\x90"),  # text that is not UTF-8
        (FrameType.ERROR, packed(["code", "message"])),
        (FrameType.ERROR, packed({"code": 1, "message": ""})),
        (FrameType.ERROR, b"\x81\x01\x02"),
        (FrameType.REQUEST, packed({"id": bytes(15)})),
        (FrameType.REQUEST, b"\x91" * 100_000),
        (FrameType.RESULT, b"\x95\0\0\1\xa1k" + b"\x91" * 100_000 + b"\xc0"),
    ],
)
def test_malformed(ftype: int, body: bytes) -> None:
    with pytest.raises(BodyError):
        decode_body(ftype, body)
