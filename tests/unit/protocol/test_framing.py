from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cocoon_sdk.protocol.errors import RemoteProtocolError
from cocoon_sdk.protocol.frames import FLAG_END, FLAG_MORE, FRAME_HEADER, MAX_CHUNK
from cocoon_sdk.protocol.framing import (
    TAG_FINAL,
    TAG_MESSAGE,
    TAG_REKEY,
    pack_frames,
    unpack_frame,
)
from cocoon_sdk.protocol.messages import FrameType
from cocoon_sdk.protocol.padding import BUCKETS

OTHER_TYPES = [kind for kind in FrameType if kind is not FrameType.CLOSE]


def test_layout() -> None:
    [(plaintext, tag)] = pack_frames(
        FrameType.ACK, 0x01020304, b"body", end=True, limit=MAX_CHUNK, padded=True
    )
    assert plaintext == bytes.fromhex("10 01 04030201 04000000") + b"body" + bytes(242)
    assert tag == TAG_REKEY


@given(
    kind=st.sampled_from(OTHER_TYPES),
    stream=st.integers(0, 2**32 - 1),
    size=st.integers(0, 5000),
    end=st.booleans(),
    limit=st.sampled_from([1024 - 10, 2048 - 10, MAX_CHUNK]),
    padded=st.booleans(),
)
def test_round_trip(
    kind: FrameType, stream: int, size: int, end: bool, limit: int, padded: bool
) -> None:
    body = bytes(i % 251 for i in range(size))
    packed = list(pack_frames(kind, stream, body, end=end, limit=limit, padded=padded))
    frames = [unpack_frame(plaintext, tag) for plaintext, tag in packed]
    assert b"".join(frame.chunk for frame in frames) == body
    assert {(frame.kind, frame.stream) for frame in frames} == {(kind, stream)}
    assert [frame.flags for frame in frames[:-1]] == [FLAG_MORE] * (len(frames) - 1)
    assert frames[-1].flags == (FLAG_END if end else 0)
    assert all(frame.chunk for frame in frames[:-1])
    lengths = [len(plaintext) for plaintext, _ in packed]
    assert all(length == limit + 10 for length in lengths[:-1])
    if padded:
        assert set(lengths) <= set(BUCKETS)
        assert kind is not FrameType.REQUEST or lengths[-1] >= 1024
    else:
        assert lengths[-1] == len(frames[-1].chunk) + 10


def test_close_is_final() -> None:
    [(plaintext, tag)] = pack_frames(
        FrameType.CLOSE, 0, b"\0\0", end=False, limit=MAX_CHUNK, padded=True
    )
    assert tag == TAG_FINAL
    assert unpack_frame(plaintext, tag).kind is FrameType.CLOSE


def plaintext(ftype: int = 16, flags: int = 0, claim: int = 1, rest: bytes = b"\x90") -> bytes:
    return (FRAME_HEADER.pack(ftype, flags, 1, claim) + rest).ljust(256, b"\0")


@pytest.mark.parametrize(
    ("raw", "tag", "complaint"),
    [
        (plaintext(claim=247), TAG_MESSAGE, "overruns"),
        (plaintext(claim=2**32 - 1), TAG_MESSAGE, "overruns"),
        (plaintext(claim=0), TAG_MESSAGE, "not zero"),
        (plaintext(rest=b"\x90\0\0\1"), TAG_MESSAGE, "not zero"),
        (plaintext()[:-1] + b"\1", TAG_MESSAGE, "not zero"),
        (plaintext(ftype=0), TAG_MESSAGE, "frame type 0"),
        (plaintext(ftype=22), TAG_MESSAGE, "frame type 22"),
        (plaintext(ftype=255), TAG_MESSAGE, "frame type 255"),
        *((plaintext(flags=1 << bit), TAG_MESSAGE, "flags") for bit in range(2, 8)),
        (plaintext(), TAG_FINAL, "tag 3"),
        (plaintext(), TAG_REKEY, "tag 2"),
        (plaintext(), 1, "tag 1"),  # PUSH
        (plaintext(flags=FLAG_END), TAG_MESSAGE, "tag 0"),
        (plaintext(flags=FLAG_END), TAG_FINAL, "tag 3"),
        (plaintext(ftype=15), TAG_MESSAGE, "tag 0"),
        (plaintext(ftype=15, flags=FLAG_END), TAG_REKEY, "tag 2"),
    ],
)
def test_refused(raw: bytes, tag: int, complaint: str) -> None:
    with pytest.raises(RemoteProtocolError, match=complaint):
        unpack_frame(raw, tag)
