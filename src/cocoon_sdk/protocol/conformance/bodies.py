"""Frame bodies, record plaintexts and keys: the cases that need no session."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from cocoon_sdk.protocol.conformance.cases import BodyCase, KeysCase, RecordsCase, Refusal
from cocoon_sdk.protocol.conformance.reasons import Reason
from cocoon_sdk.protocol.conformance.values import CaseError, from_tree, show_bytes, to_tree
from cocoon_sdk.protocol.constants import CLOSE_PROTOCOL, PROTOCOL_LABEL
from cocoon_sdk.protocol.frames import FRAME_HEADER
from cocoon_sdk.protocol.framing import pack_frames
from cocoon_sdk.protocol.keyschedule import handshake_keys, session_keys, transcript_hash
from cocoon_sdk.protocol.messages import (
    BodyError,
    FrameType,
    Message,
    decode_body,
    encode_body,
)

_RAW = {FrameType.RECEIPT, FrameType.PING, FrameType.PONG, FrameType.COVER, FrameType.CLOSE}


def frame_of(name: str) -> FrameType:
    """The frame type of that name.

    Raises:
        CaseError: there is none.
    """
    if name not in FrameType.__members__:
        raise CaseError(f"no frame is called {name[:40]!r}")
    return FrameType[name]


def message_of(name: str, tree: Any) -> Message:
    """The message that a case spells as a tree.

    Raises:
        CaseError: the tree is not of the frame's shape.
    """
    kind = frame_of(name)
    value = from_tree(tree)
    if kind in _RAW and not isinstance(value, bytes):
        raise CaseError(f"{name} is raw bytes")
    try:
        return decode_body(kind, value if kind in _RAW else msgspec.msgpack.encode(value))
    except (BodyError, OverflowError) as error:
        raise CaseError(f"the value is no {name}: {error}") from error


def run_body(case: BodyCase) -> dict[str, Any]:
    """The body of a value, or the value of a body."""
    if (case.value is UNSET) == (case.body is UNSET):
        raise CaseError("a body case has either `value` or `body`")
    if case.body is UNSET:
        return {"body": show_bytes(encode_body(message_of(case.frame, case.value)))}
    kind = frame_of(case.frame)
    try:
        message = decode_body(kind, bytes(case.body))
    except BodyError:
        return {"refused": Refusal("remote", Reason.MALFORMED_BODY, CLOSE_PROTOCOL)}
    again = encode_body(message)
    return {"value": to_tree(_built(kind, message, again)), "body": show_bytes(again)}


def _built(kind: FrameType, message: Message, body: bytes) -> Any:
    if kind in _RAW:
        return body
    try:
        return msgspec.to_builtins(message, builtin_types=(bytes,))
    except TypeError as error:
        raise CaseError(f"the body has no JSON form: {error}") from error


def run_records(case: RecordsCase) -> dict[str, Any]:
    """The plaintexts of the records that carry a body, with their tags."""
    records = pack_frames(
        frame_of(case.frame),
        case.stream,
        bytes(case.body),
        end=case.end,
        limit=case.max_plaintext - FRAME_HEADER.size,
        padded=case.padded,
    )
    return {
        "records": [{"tag": tag, "plaintext": show_bytes(plaintext)} for plaintext, tag in records]
    }


def run_keys(case: KeysCase) -> dict[str, str]:
    """Every value of the key schedule."""
    th1 = transcript_hash(PROTOCOL_LABEL, case.client_hello, case.server_clear)
    handshake = handshake_keys(th1, bytes(case.shared))
    th2 = transcript_hash(th1, case.auth)
    th3 = transcript_hash(th2, case.client_sealed)
    session = session_keys(handshake.secret, th3)
    values = {
        "th1": th1,
        "hs": handshake.secret,
        "k_s_hs": handshake.server,
        "k_c_hs": handshake.client,
        "th2": th2,
        "th3": th3,
        "c2s": session.c2s,
        "s2c": session.s2c,
        "exporter": session.exporter,
        "session_id": session.session_id,
    }
    return {name: value.hex() for name, value in values.items()}
