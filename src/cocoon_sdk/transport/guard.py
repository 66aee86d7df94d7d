"""A client's websocket that judges each frame of the provider before it is queued (wire.md, "Limits")."""

from __future__ import annotations

import time
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.frames import Frame

from cocoon_sdk.protocol.websocket import FrameGuard

_GREETINGS = 1  # SERVER_HELLO


class GuardedClient(ClientConnection):
    """One socket to a provider.

    Attributes:
        fault: The close code with which it was ended because of what the provider sent; or None.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._guard = FrameGuard(time.monotonic, greetings=_GREETINGS)
        self.fault: int | None = None

    def process_event(self, event: Any) -> None:
        """One frame, or the HTTP response that precedes them."""
        if self.fault is not None:
            return
        if isinstance(event, Frame):
            self.fault = self._guard.fault(int(event.opcode), fin=event.fin, size=len(event.data))
            if self.fault is not None:
                self.protocol.fail(self.fault)
                self.send_data()
                self.transport.abort()
                return
        super().process_event(event)
