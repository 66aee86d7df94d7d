"""What a peer may use of websockets: whole binary messages, few control frames (wire.md, "Limits").

The drivers ask for each frame as it comes in, before anything is queued, so that neither endless
fragments nor floods of pings cost memory.
"""

from __future__ import annotations

from collections.abc import Callable

from cocoon_sdk.protocol.constants import (
    CLOSE_PROTOCOL,
    CLOSE_RATE,
    CLOSE_TOO_LARGE,
    MAX_HELLO,
    PING_BURST_TAKEN,
)
from cocoon_sdk.protocol.pings import Allowance

# RFC 6455, section 5.2.
_BINARY = 0x2
_CLOSE = 0x8
_PING = 0x9
_PONG = 0xA


class FrameGuard:
    """Judges the frames of one connection, in the order in which they arrive.

    Args:
        clock: Monotonic seconds.
        greetings: How many of the peer's first messages belong to the handshake: 1 from a provider,
            2 from a client. None of them is longer than a hello.
    """

    __slots__ = ("_control", "_greetings")

    def __init__(self, clock: Callable[[], float], *, greetings: int) -> None:
        self._control = Allowance(clock, PING_BURST_TAKEN)
        self._greetings = greetings

    def fault(self, opcode: int, *, fin: bool, size: int) -> int | None:
        """The close code with which to hang up because of this frame; None where it may pass."""
        if opcode == _BINARY and fin:
            if self._greetings:
                self._greetings -= 1
                return CLOSE_TOO_LARGE if size > MAX_HELLO else None
            return None
        if opcode in {_PING, _PONG}:
            return None if self._control.take() else CLOSE_RATE
        return None if opcode == _CLOSE else CLOSE_PROTOCOL
