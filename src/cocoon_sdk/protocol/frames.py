"""The inside of a record, and which frame may travel where (wire.md, "Streams", "Frames")."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from cocoon_sdk.protocol.constants import MAX_PLAINTEXT, REQUEST_BUCKET
from cocoon_sdk.protocol.messages import PING_BYTES, RECEIPT_BYTES, FrameType

FRAME_HEADER = struct.Struct("<BBII")  # ftype, flags, stream, body_len

FLAG_END = 0x01
FLAG_MORE = 0x02
KNOWN_FLAGS = FLAG_END | FLAG_MORE

MAX_DELTA = 246  # a DELTA fills exactly one 256-byte cell
MAX_CHUNK = MAX_PLAINTEXT - FRAME_HEADER.size
MAX_STRUCTURED = 1 << 20
_MAX_SMALL = REQUEST_BUCKET - FRAME_HEADER.size  # fits one record of any peer, so it is never cut

F = FrameType

# Frames of the connection itself, on stream 0. PING, PONG, COVER and CLOSE live nowhere else.
CONNECTION_FRAMES = frozenset(
    {F.PING, F.PONG, F.COVER, F.ATTEST_CHALLENGE, F.ATTEST, F.CLOSE, F.ERROR}
)
# What the client opens a stream with, and what may follow on it from either side.
_ENDING = frozenset({F.ERROR, F.CANCEL, F.ACK})
CLIENT_FRAMES: Mapping[FrameType, frozenset[FrameType]] = {
    F.REQUEST: frozenset({F.VOUCHER, *_ENDING}),
    F.CLOSE_REQUEST: _ENDING,
    F.RECEIPT_GET: _ENDING,
    F.STATE_GET: _ENDING,
}
SERVER_FRAMES: Mapping[FrameType, frozenset[FrameType]] = {
    F.REQUEST: frozenset({F.DELTA, F.RECEIPT, F.ERROR, F.METER, F.RESULT, F.QUEUE}),
    F.CLOSE_REQUEST: frozenset({F.CLOSE_AUTH, F.ERROR}),
    F.RECEIPT_GET: frozenset({F.RECEIPT, F.ERROR}),
    F.STATE_GET: frozenset({F.STATE, F.ERROR}),
}
# Frames that may be a side's last on a stream. An answer ends with its receipt, never with text.
CLIENT_ENDS = frozenset({*CLIENT_FRAMES, *_ENDING})
SERVER_ENDS = frozenset({F.RECEIPT, F.ERROR, F.CLOSE_AUTH, F.STATE})
# Of these, all but ERROR always are: it may be followed by the receipt of what was billed.
SERVER_LAST = SERVER_ENDS - {F.ERROR}

# Only these may span several records.
FRAGMENTED = frozenset({F.REQUEST, F.RESULT, F.ATTEST, F.ERROR})
EXACT_BODY: Mapping[FrameType, int] = {
    F.RECEIPT: RECEIPT_BYTES,
    F.PING: PING_BYTES,
    F.PONG: PING_BYTES,
    F.CLOSE: 2,
}
_MAX_BODY: Mapping[FrameType, int] = {
    **EXACT_BODY,
    F.DELTA: MAX_DELTA,
    F.COVER: MAX_CHUNK,
    F.RESULT: MAX_STRUCTURED,
    F.ATTEST: MAX_STRUCTURED,
    F.ERROR: MAX_CHUNK,
}


_LIMITS: Mapping[FrameType, int] = {kind: _MAX_BODY.get(kind, _MAX_SMALL) for kind in FrameType}


def body_limits(max_request: int) -> Mapping[FrameType, int]:
    """The largest body of each frame type, in bytes over all its records."""
    return {**_LIMITS, F.REQUEST: max_request}
