"""What a stream's connection is to the loop that serves it: frames in, frames out, or gone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Protocol

from cocoon_sdk.protocol import messages

MAX_VOUCHERS = 64  # waiting on one stream; later ones are higher, so the oldest may go


class Send(Protocol):
    """Sends one message on the request's stream."""

    def __call__(self, message: messages.Message, *, end: bool = False) -> Awaitable[None]:
        """Write it, waiting for a slow reader.

        Raises:
            ConnectionLostError: the connection is gone.
        """


class ConnectionLostError(Exception):
    """The client cannot be reached any more; what was delivered stays billed."""


@dataclass(slots=True)
class Inbox:
    """What the client sends on a stream after its REQUEST, and the event that tells of it."""

    vouchers: deque[messages.Voucher] = field(default_factory=lambda: deque(maxlen=MAX_VOUCHERS))
    cancelled: bool = False
    lost: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    _target: Inbox | None = None
    _deaf: bool = False

    def put(self, voucher: messages.Voucher) -> None:
        """A VOUCHER arrived."""
        self.vouchers.append(voucher)
        self._tell()

    def cancel(self, *, lost: bool = False) -> None:
        """A CANCEL arrived, or the connection is gone."""
        self.lost = self.lost or lost
        self.cancelled = self.cancelled or not lost
        self._tell()

    def lead_to(self, target: Inbox | None) -> None:
        """Pass on what has arrived and will arrive; to None: it concerns nobody any more."""
        self._target = target
        self._deaf = target is None
        if self.vouchers or self.stopped:
            self._tell()

    @property
    def stopped(self) -> bool:
        """Whether the client wants no more."""
        return self.cancelled or self.lost

    def _tell(self) -> None:
        if self._deaf:
            self.vouchers.clear()
        elif self._target is not None:
            self._target.vouchers.extend(self.vouchers)
            self.vouchers.clear()
            self._target.cancelled = self._target.cancelled or self.cancelled
            self._target.lost = self._target.lost or self.lost
            self._target.wake.set()
        self.wake.set()
