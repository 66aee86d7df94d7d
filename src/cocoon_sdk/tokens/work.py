"""A bound on what a foreign template may cost: units of work, and processor time.

Jinja's sandbox keeps a template from Python's internals, not from loops without end or strings without
measure. Everything in a rendering that can repeat or grow is charged here before it happens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sized

from cocoon_sdk.errors import VerificationError

BASE_UNITS = 16 << 20  # room for any honest template around a short chat
UNITS_PER_CHAR = 64  # a template may copy its input a few dozen times
UNITS_PER_ITEM = 16  # an element of a list or dict, in characters
UNITS_PER_TICK = 64  # one turn of a loop, one call of a macro
MAX_SECONDS = 5.0
MAX_BITS = 128


class Work:
    """The account of one rendering.

    Args:
        input_chars: Size of the chat; the allowance grows with it.
        clock: Processor seconds of this thread.
    """

    def __init__(self, input_chars: int, clock: Callable[[], float] = time.thread_time) -> None:
        self._left = BASE_UNITS + UNITS_PER_CHAR * input_chars
        self._clock = clock
        self._deadline = clock() + MAX_SECONDS

    def charge(self, units: int) -> None:
        """Take units off the allowance.

        Raises:
            VerificationError: nothing is left; such a template is an attack, not a mistake.
        """
        self._left -= units
        if self._left < 0:
            raise VerificationError(
                "the model's chat template exceeds its limit of work; use another provider"
            )

    def tick(self) -> None:
        """Charge one turn of a loop or one call, and look at the clock."""
        self.charge(UNITS_PER_TICK)
        if self._clock() > self._deadline:
            raise VerificationError(
                f"the model's chat template ran for {MAX_SECONDS:g} s; use another provider"
            )

    def shallow(self, value: object) -> None:
        """Charge a fresh value by its own length; what it refers to was charged before."""
        if isinstance(value, str):
            self.charge(len(value))
        elif isinstance(value, int):
            if value.bit_length() > MAX_BITS:
                self.charge(self._left + 1)
        elif isinstance(value, Sized):
            self.charge(UNITS_PER_ITEM * len(value))

    def deep(self, value: object) -> None:
        """Charge everything that turning `value` into text, or comparing it, would visit.

        Lists that share elements expand exponentially; the walk stops when the allowance does.

        Raises:
            TypeError: something in it is not plain data.
        """
        stack = [value]
        while stack:
            item = stack.pop()
            self.charge(UNITS_PER_ITEM)
            if isinstance(item, dict):
                stack.extend(item)
                stack.extend(item.values())
            elif isinstance(item, list | tuple):
                stack.extend(item)
            elif isinstance(item, str):
                self.charge(len(item))
            elif not (item is None or isinstance(item, int | float)):
                raise TypeError(f"a template may not show a {type(item).__name__}")
