"""Which websocket frames a peer may use."""

from __future__ import annotations

import pytest

from cocoon_sdk.protocol.constants import (
    CLOSE_PROTOCOL,
    CLOSE_RATE,
    CLOSE_TOO_LARGE,
    MAX_HELLO,
    MAX_MESSAGE,
    PING_INTERVAL,
)
from cocoon_sdk.protocol.websocket import FrameGuard

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_whole_binary_messages_and_a_close_may_pass() -> None:
    guard = FrameGuard(Clock(), greetings=0)
    for _ in range(1_000):
        assert guard.fault(BINARY, fin=True, size=MAX_MESSAGE) is None
    assert guard.fault(CLOSE, fin=True, size=2) is None


@pytest.mark.parametrize(
    ("opcode", "fin"), [(TEXT, True), (TEXT, False), (BINARY, False), (CONTINUATION, True)]
)
def test_text_and_fragments_may_not(opcode: int, fin: bool) -> None:
    assert FrameGuard(Clock(), greetings=0).fault(opcode, fin=fin, size=0) == CLOSE_PROTOCOL


@pytest.mark.parametrize("greetings", [1, 2])
def test_the_messages_of_the_handshake_are_no_longer_than_a_hello(greetings: int) -> None:
    guard = FrameGuard(Clock(), greetings=greetings)
    for _ in range(greetings - 1):
        assert guard.fault(BINARY, fin=True, size=MAX_HELLO) is None
    assert guard.fault(BINARY, fin=True, size=MAX_HELLO + 1) == CLOSE_TOO_LARGE
    assert guard.fault(BINARY, fin=True, size=MAX_HELLO + 1) is None  # that is a record


def test_control_frames_are_counted_together_and_come_back_with_time() -> None:
    clock = Clock()
    guard = FrameGuard(clock, greetings=0)
    taken = [guard.fault(PING if n % 2 else PONG, fin=True, size=8) for n in range(14)]
    assert taken == [None] * 12 + [CLOSE_RATE] * 2
    clock.now += PING_INTERVAL
    assert guard.fault(PING, fin=True, size=8) is None
    assert guard.fault(PING, fin=True, size=8) == CLOSE_RATE


def test_keep_alives_of_both_sides_never_run_out() -> None:
    clock = Clock()
    guard = FrameGuard(clock, greetings=0)
    for _ in range(1_000):
        clock.now += 20.0
        assert guard.fault(PING, fin=True, size=4) is None
        assert guard.fault(PONG, fin=True, size=4) is None
