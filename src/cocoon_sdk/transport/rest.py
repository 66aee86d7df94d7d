"""How long a session has been idle, and how old it is: when to give it up, and when to replace it."""

from __future__ import annotations

from collections.abc import Callable

from cocoon_sdk.protocol.constants import FIRST_REQUEST_TIMEOUT, IDLE_TIMEOUT, SOFT_AGE

# Seconds. Each is a little less than what the provider grants, so that no request meets its CLOSE.
FIRST_LIMIT = FIRST_REQUEST_TIMEOUT - 5
IDLE_LIMIT = IDLE_TIMEOUT - 20
REFRESH_AGE = SOFT_AGE - 120


class Rest:
    """Times of one session, from the end of its handshake."""

    __slots__ = ("_at", "_clock", "_limit", "_since")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = self._at = clock()
        self._limit = FIRST_LIMIT

    def begin(self) -> None:
        """Something travels on a stream: the provider's time starts anew."""
        self._at = self._clock()
        self._limit = IDLE_LIMIT

    @property
    def over(self) -> bool:
        """Whether, without a stream, it should not be used any more."""
        return self._clock() - self._at >= self._limit

    @property
    def ageing(self) -> bool:
        """Whether a successor should be made."""
        return self._clock() - self._since >= REFRESH_AGE
