"""The devnet's time: the machine's, moved forward by as much as tests ask for."""

from __future__ import annotations

import time
from collections.abc import Callable

from cocoon_sdk.errors import ConfigError

LONGEST_ADVANCE = 10 * 366 * 86_400


class Clock:
    """Unix seconds that never go back, neither with the machine's clock nor over a restart."""

    def __init__(
        self, *, offset: int, floor: int, machine: Callable[[], float] = time.time
    ) -> None:
        self.offset = offset
        self._floor = floor
        self._machine = machine

    def now(self) -> int:
        """The present second."""
        self._floor = max(self._floor, int(self._machine()) + self.offset)
        return self._floor

    def advance(self, seconds: int) -> int:
        """Move forward; returns the new present.

        Raises:
            ConfigError: backwards, or by more than ten years.
        """
        if not 0 <= seconds <= LONGEST_ADVANCE:
            raise ConfigError(
                f"the clock goes forward by 0 to {LONGEST_ADVANCE} seconds at a time, got {seconds}"
            )
        self.offset += seconds
        return self.now()
