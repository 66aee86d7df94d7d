"""PING bookkeeping: one per five seconds each way, and no answers to questions never asked."""

from __future__ import annotations

from collections.abc import Callable

from cocoon_sdk.protocol.constants import CLOSE_RATE, PING_BURST, PING_BURST_TAKEN, PING_INTERVAL
from cocoon_sdk.protocol.errors import LocalProtocolError, RemoteProtocolError


class Allowance:
    """A token bucket that refills by one per PING_INTERVAL."""

    __slots__ = ("_at", "_burst", "_clock", "_credit")

    def __init__(self, clock: Callable[[], float], burst: float) -> None:
        self._clock = clock
        self._burst = self._credit = burst
        self._at = clock()

    def take(self) -> bool:
        """Use one up; False when none is left."""
        now = self._clock()
        self._credit = min(self._burst, self._credit + (now - self._at) / PING_INTERVAL)
        self._at = now
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True


class PingLedger:
    """What we asked and how often the peer asks."""

    __slots__ = ("_asked", "_ours", "_theirs")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._ours = Allowance(clock, PING_BURST)
        self._theirs = Allowance(clock, PING_BURST_TAKEN)
        self._asked: list[bytes] = []

    def sending(self, token: bytes) -> None:
        """Note a PING of ours.

        Raises:
            LocalProtocolError: too soon after the last ones; the peer would hang up.
        """
        if not self._ours.take():
            raise LocalProtocolError(f"at most one PING per {PING_INTERVAL:g} s")
        self._asked.append(token)

    def received(self) -> None:
        """Count a PING of the peer.

        Raises:
            RemoteProtocolError: a flood (4429).
        """
        if not self._theirs.take():
            raise RemoteProtocolError("too many PINGs", CLOSE_RATE)

    def answered(self, token: bytes) -> None:
        """Match a PONG.

        Raises:
            RemoteProtocolError: it answers no PING of ours.
        """
        if token not in self._asked:
            raise RemoteProtocolError("a PONG that answers no PING")
        self._asked.remove(token)
