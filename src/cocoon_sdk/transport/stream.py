"""One request's frames on a connection, as they wait for whoever reads them."""

from __future__ import annotations

import asyncio
from typing import Protocol

from cocoon_sdk.errors import CocoonError, DecryptionError, StreamTruncatedError
from cocoon_sdk.protocol.events import MessageReceived
from cocoon_sdk.protocol.messages import Message
from cocoon_sdk.transport.failures import twin

# A stream's frames wait here while the application reads. Besides these, `expect` allows for the tokens that
# an honest provider may be ahead: one paid window, or all of a free answer.
MAX_PENDING_FRAMES = 1024
MAX_PENDING_BYTES = 2 << 20  # of bodies: RESULTs are large
_FRAMES_PER_TOKEN = 2  # long pieces of text are cut
_BYTES_PER_TOKEN = 64

Item = MessageReceived | CocoonError


class Outlet(Protocol):
    """Where a stream's messages go out: the connection."""

    async def send(self, stream: int, message: Message, *, end: bool = False) -> None:
        """Seal and write one message."""
        ...


class Stream:
    """One stream. It has one reader at a time."""

    def __init__(self, outlet: Outlet, number: int) -> None:
        self._outlet = outlet
        self._frames: asyncio.Queue[Item] = asyncio.Queue()
        self._waiting = 0  # bytes of the bodies in the queue
        self._most_frames, self._most_bytes = MAX_PENDING_FRAMES, MAX_PENDING_BYTES
        self.number = number
        self.ended = False  # the provider has sent its last frame

    def expect(self, tokens: int) -> None:
        """An answer comes here, of which so many tokens may arrive before anything has to be signed."""
        self._most_frames = MAX_PENDING_FRAMES + _FRAMES_PER_TOKEN * tokens
        self._most_bytes = MAX_PENDING_BYTES + _BYTES_PER_TOKEN * tokens

    async def send(self, message: Message, *, end: bool = False) -> None:
        """Send one message; `end` says that this side is done with the stream.

        Raises:
            StreamTruncatedError, DecryptionError: the connection is over.
        """
        await self._outlet.send(self.number, message, end=end)

    async def receive(self) -> MessageReceived:
        """The next message.

        Raises:
            StreamTruncatedError: the connection ended before the stream did, or another reader took over.
            DecryptionError: a record did not authenticate.
        """
        frames = self._frames
        item = await frames.get()
        if isinstance(item, CocoonError):
            frames.put_nowait(item)  # every later call ends the same way
            # A copy: errors carry what their own request cost and what had arrived.
            raise twin(item)
        self._waiting -= len(item.body)
        return item

    def take_over(self) -> None:
        """From now on the caller reads; whoever waits in `receive` gets StreamTruncatedError."""
        before, self._frames = self._frames, asyncio.Queue()
        while not before.empty():
            self._frames.put_nowait(before.get_nowait())
        before.put_nowait(StreamTruncatedError("the stream was closed while it was being read"))

    def deliver(self, item: Item) -> None:
        """Called by the connection's reader.

        Raises:
            DecryptionError: far more frames are waiting than an honest provider can be ahead.
        """
        if isinstance(item, MessageReceived):
            self._waiting += len(item.body)
            if self._frames.qsize() >= self._most_frames or self._waiting > self._most_bytes:
                raise DecryptionError(
                    "the provider sent far more than was asked and paid for; connection closed"
                )
            self.ended = self.ended or item.end
        elif self.ended:
            return  # nothing is missing: what came before its end is complete
        self._frames.put_nowait(item)
