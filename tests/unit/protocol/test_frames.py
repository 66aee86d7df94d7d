"""Which frame may travel where, and how large it may be (wire.md, Streams and Frames)."""

from __future__ import annotations

from cocoon_sdk.protocol.frames import (
    CLIENT_ENDS,
    CLIENT_FRAMES,
    CONNECTION_FRAMES,
    FRAGMENTED,
    FRAME_HEADER,
    MAX_CHUNK,
    MAX_DELTA,
    SERVER_ENDS,
    SERVER_FRAMES,
    FrameType,
    body_limits,
)

F = FrameType
# The column "way" of the table of frames; ERROR and ATTEST* go both ways.
TO_PROVIDER = {
    *(F.REQUEST, F.VOUCHER, F.CANCEL, F.ACK, F.CLOSE_REQUEST, F.RECEIPT_GET, F.STATE_GET),
}
TO_CLIENT = {
    *(F.DELTA, F.RECEIPT, F.METER, F.RESULT, F.QUEUE, F.CLOSE_AUTH, F.STATE),
}


def test_ways_are_those_of_the_table() -> None:
    assert {*CLIENT_FRAMES, *frozenset().union(*CLIENT_FRAMES.values())} == {*TO_PROVIDER, F.ERROR}
    assert frozenset().union(*SERVER_FRAMES.values()) == {*TO_CLIENT, F.ERROR}
    assert {*TO_PROVIDER, *TO_CLIENT, *CONNECTION_FRAMES} == set(FrameType)
    assert {*TO_PROVIDER, *TO_CLIENT} & CONNECTION_FRAMES == set()


def test_an_answer_ends_with_its_receipt_never_with_text() -> None:
    assert {F.DELTA, F.METER, F.QUEUE, F.RESULT} & SERVER_ENDS == set()
    for answers in SERVER_FRAMES.values():
        assert answers & SERVER_ENDS > {F.ERROR}  # every stream can end well, or with an error


def test_a_voucher_is_nobodys_last_word() -> None:
    assert F.VOUCHER not in CLIENT_ENDS
    assert {F.CANCEL, F.ACK} < CLIENT_ENDS


def test_sizes() -> None:
    limits = body_limits(1_000_000)
    assert set(limits) == set(FrameType)
    assert limits[F.REQUEST] == 1_000_000
    assert limits[F.RECEIPT] == 352
    assert limits[F.DELTA] == MAX_DELTA == 256 - FRAME_HEADER.size
    assert MAX_CHUNK == 65_536 - 10
    whole = {kind for kind in FrameType if kind not in {*FRAGMENTED, F.COVER}}
    assert max(limits[kind] for kind in whole) + FRAME_HEADER.size <= 1024
