"""The right to open one stream on a connection, so that many requests cannot all pick the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cocoon_sdk.protocol.messages import Message
    from cocoon_sdk.transport.connection import Connection
    from cocoon_sdk.transport.stream import Stream


class Slot:
    """One promised stream. Whoever has it opens the stream or gives the right back."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._used = False

    def open(self, message: Message, *, end: bool = False) -> Stream:
        """Open the stream with its first message, which `Connection.flush` then writes.

        Nothing is awaited in between, so that stream ids go out in the order in which they are taken.

        Raises:
            StreamTruncatedError, DecryptionError: the connection is over; nothing was queued.
        """
        self.release()
        return self.connection.open_stream(message, end=end)

    def release(self) -> None:
        """Give the right back; after `open` or twice it changes nothing."""
        if not self._used:
            self._used = True
            self.connection.give_back()
