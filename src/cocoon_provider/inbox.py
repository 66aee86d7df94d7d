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

    def put(self, voucher: messages.Voucher) -> None:
        """A VOUCHER arrived."""
        self.vouchers.append(voucher)
        self.wake.set()

    def cancel(self, *, lost: bool = False) -> None:
        """A CANCEL arrived, or the connection is gone."""
        self.cancelled = True
        self.lost = self.lost or lost
        self.wake.set()

    @property
    def stopped(self) -> bool:
        """Whether the client wants no more."""
        return self.cancelled or self.lost
