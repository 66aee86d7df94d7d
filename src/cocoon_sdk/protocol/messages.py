"""Frame types and their bodies (wire.md, "Frames").

REQUEST and ERROR are MessagePack maps with string keys; the other bodies are arrays by position whose
extra trailing items are ignored. PING, PONG, CLOSE and RECEIPT are raw bytes. VOUCHER, RECEIPT and
CLOSE_AUTH are opaque here: their signatures are checked by `cocoon_sdk.payments`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

RECEIPT_BYTES = 352
PING_BYTES = 8

U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
U64 = Annotated[int, Meta(ge=0)]  # MessagePack itself ends at 2^64 - 1
Nano = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
Id16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]


class FrameType(IntEnum):
    """`ftype` of a record."""

    REQUEST = 1
    DELTA = 2
    RECEIPT = 3
    VOUCHER = 4
    ERROR = 5
    CANCEL = 6
    PING = 7
    PONG = 8
    COVER = 9
    METER = 10
    ATTEST_CHALLENGE = 11
    ATTEST = 12
    RESULT = 13
    QUEUE = 14
    CLOSE = 15
    ACK = 16
    CLOSE_REQUEST = 17
    CLOSE_AUTH = 18
    RECEIPT_GET = 19
    STATE_GET = 20
    STATE = 21


class CloseReason(IntEnum):
    """The u16 of a CLOSE frame."""

    NORMAL = 0
    GOING_AWAY = 1
    IDLE = 2
    AGE = 3


class Channel(IntEnum):
    """What a DELTA's text belongs to."""

    CONTENT = 0
    REASONING = 1
    TOOL_CALL = 2


class _Array(Struct, frozen=True, array_like=True):
    """A body that travels as an array by position."""


class Voucher(_Array, frozen=True):
    """VOUCHER: the highest voucher of the channel and the verified due of this stream."""

    epoch: U64
    cumulative: Nano
    signature: Signature
    acked_due: Nano


class Resume(Struct, frozen=True, forbid_unknown_fields=False):
    """What was already delivered elsewhere: token ids and the UTF-8 length of their text."""

    ids: list[U32]
    text_bytes: U64


class Request(Struct, frozen=True):
    """REQUEST. `price` is [prompt, cached, completion] in nano per million tokens, as the client saw it."""

    id: Id16
    kind: Literal["chat", "completion", "embedding"]
    model: str
    model_hash: Hash
    body: dict[str, Any]
    seed: U64
    date: str
    salt: Id16
    price: tuple[Nano, Nano, Nano]
    voucher: Voucher | None = None
    resume: Resume | None = None


class Delta(_Array, frozen=True):
    """DELTA: a piece of one choice's text and the token ids that it decodes from."""

    seq: U32
    choice: U32
    channel: Channel
    text: str
    ids: list[U32]


class Receipt(Struct, frozen=True):
    """RECEIPT: 288 bytes of fields and a signature (payments.md §4), opaque here."""

    raw: bytes


class Error(Struct, frozen=True):
    """ERROR: a code of `errors.WireCode`, a message for people, and details."""

    code: str
    message: str
    retry_after_ms: U32 = 0
    detail: dict[str, Any] = {}


class Cancel(_Array, frozen=True):
    """CANCEL: stop within one engine step and send the receipt."""


class Ping(Struct, frozen=True):
    """PING: 8 raw bytes to be echoed."""

    token: bytes


class Pong(Struct, frozen=True):
    """PONG: the echo."""

    token: bytes


class Cover(Struct, frozen=True):
    """COVER: padding, dropped by the receiver."""


class Meter(_Array, frozen=True):
    """METER: counts so far, the running response hash, what is due, and the `signed` that is wanted."""

    prompt: U32
    cached: U32
    completion: U32
    response_hash: Hash
    due: Nano
    wanted: Nano


class AttestChallenge(_Array, frozen=True):
    """ATTEST_CHALLENGE: asks for a fresh quote over this session's exporter."""


class Attest(_Array, frozen=True):
    """ATTEST: the fresh quote and its collateral."""

    quote: bytes
    collateral: bytes


class Result(_Array, frozen=True):
    """RESULT: part `part` of `of` of a structured value: finish reasons, logprobs, embeddings, tool calls."""

    seq: U32
    part: U32
    of: U32
    kind: str
    data: Any

    def __post_init__(self) -> None:
        if self.part >= self.of:
            raise ValueError(f"part {self.part} of {self.of}")


class Queue(_Array, frozen=True):
    """QUEUE: position and estimated milliseconds of a waiting request."""

    position: U32
    estimated_ms: U32


class Close(Struct, frozen=True):
    """CLOSE: the end of the connection in this direction."""

    reason: int


class Ack(_Array, frozen=True):
    """ACK: the client's end of a stream after its receipt."""


class CloseRequest(_Array, frozen=True):
    """CLOSE_REQUEST: asks for a cooperative close of the channel's epoch."""

    epoch: U64


class CloseAuth(_Array, frozen=True):
    """CLOSE_AUTH: the provider's signature for a cooperative close."""

    epoch: U64
    final: Nano
    signature: Signature


class ReceiptGet(_Array, frozen=True):
    """RECEIPT_GET: by request id or by sequence number."""

    request_id: Id16 | None = None
    seq: U64 | None = None


class StateGet(_Array, frozen=True):
    """STATE_GET: asks for the provider's view of the channel."""


class State(_Array, frozen=True):
    """STATE: epoch, highest voucher with its signature (64 zero bytes if none), receipts so far, spent."""

    epoch: U64
    signed: Nano
    signature: Signature
    seq: U64
    spent: Nano


Message = (
    Request
    | Delta
    | Receipt
    | Voucher
    | Error
    | Cancel
    | Ping
    | Pong
    | Cover
    | Meter
    | AttestChallenge
    | Attest
    | Result
    | Queue
    | Close
    | Ack
    | CloseRequest
    | CloseAuth
    | ReceiptGet
    | StateGet
    | State
)

_PACKED: dict[FrameType, type[Any]] = {
    FrameType.REQUEST: Request,
    FrameType.DELTA: Delta,
    FrameType.VOUCHER: Voucher,
    FrameType.ERROR: Error,
    FrameType.CANCEL: Cancel,
    FrameType.METER: Meter,
    FrameType.ATTEST_CHALLENGE: AttestChallenge,
    FrameType.ATTEST: Attest,
    FrameType.RESULT: Result,
    FrameType.QUEUE: Queue,
    FrameType.ACK: Ack,
    FrameType.CLOSE_REQUEST: CloseRequest,
    FrameType.CLOSE_AUTH: CloseAuth,
    FrameType.RECEIPT_GET: ReceiptGet,
    FrameType.STATE_GET: StateGet,
    FrameType.STATE: State,
}
_TYPES: dict[type[Any], FrameType] = {cls: ftype for ftype, cls in _PACKED.items()} | {
    Receipt: FrameType.RECEIPT,
    Ping: FrameType.PING,
    Pong: FrameType.PONG,
    Cover: FrameType.COVER,
    Close: FrameType.CLOSE,
}
_ENCODER = msgspec.msgpack.Encoder()
_DECODERS: dict[int, msgspec.msgpack.Decoder[Any]] = {
    ftype: msgspec.msgpack.Decoder(cls) for ftype, cls in _PACKED.items()
}


# Bad UTF-8 and unhashable map keys surface as Python's own errors.
_DECODING_ERRORS = (msgspec.DecodeError, ValueError, TypeError, RecursionError)


class BodyError(ValueError):
    """A frame body that does not have the shape of its type."""


def frame_type(message: Message) -> FrameType:
    """The `ftype` under which this message travels."""
    return _TYPES[type(message)]


def encode_body(message: Message) -> bytes:
    """The body bytes of a message; what `request hash` and `response hash` are taken over."""
    if _TYPES[type(message)] in _PACKED:
        return _ENCODER.encode(message)
    match message:
        case Receipt(raw=raw):
            return raw
        case Ping(token=token) | Pong(token=token):
            return token
        case Close(reason=reason):
            return reason.to_bytes(2, "little")
        case _:
            return b""  # COVER


def decode_body(ftype: int, body: bytes) -> Message:
    """The typed message of a body.

    Raises:
        BodyError: unknown frame type, or a body of another shape.
    """
    decoder = _DECODERS.get(ftype)  # a FrameType is equal to its number
    if decoder is not None:
        try:
            return decoder.decode(body)  # type: ignore[no-any-return] # the table holds decoders of every type
        except _DECODING_ERRORS as error:
            raise BodyError(f"malformed {FrameType(ftype).name} body") from error
    try:
        kind = FrameType(ftype)
    except ValueError as error:
        raise BodyError(f"unknown frame type {ftype}") from error
    return _decode_raw(kind, body)


def _decode_raw(kind: FrameType, body: bytes) -> Message:
    lengths = {FrameType.RECEIPT: RECEIPT_BYTES, FrameType.CLOSE: 2}
    if kind is FrameType.COVER:
        return Cover()
    if len(body) != lengths.get(kind, PING_BYTES):
        raise BodyError(f"{kind.name} body of {len(body)} bytes")
    if kind is FrameType.RECEIPT:
        return Receipt(body)
    if kind is FrameType.CLOSE:
        return Close(int.from_bytes(body, "little"))
    return Ping(body) if kind is FrameType.PING else Pong(body)
