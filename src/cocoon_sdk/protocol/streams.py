"""The streams of one connection: who may send what, and bodies put together from several records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cocoon_sdk.protocol.constants import CLOSE_TOO_LARGE, MAX_STREAMS
from cocoon_sdk.protocol.errors import LocalProtocolError, RemoteProtocolError
from cocoon_sdk.protocol.frames import (
    CLIENT_ENDS,
    CLIENT_FRAMES,
    CONNECTION_FRAMES,
    EXACT_BODY,
    FLAG_END,
    FLAG_MORE,
    FRAGMENTED,
    SERVER_ENDS,
    SERVER_FRAMES,
    SERVER_LAST,
)
from cocoon_sdk.protocol.messages import FrameType

_MAX_STREAM_ID = 2**32 - 1


class _Stream:
    """One open stream: what opened it and who has ended."""

    __slots__ = ("client_ended", "failed", "opener", "server_ended")

    def __init__(self, opener: FrameType) -> None:
        self.opener = opener
        self.client_ended = False
        self.server_ended = False
        self.failed = False  # the server said ERROR and owes a RECEIPT


class _Partial:
    """A body of which records are still to come."""

    __slots__ = ("body", "kind")

    def __init__(self, kind: FrameType) -> None:
        self.kind = kind
        self.body = bytearray()  # as a list, tiny parts would weigh many times as much


class StreamTable:
    """The same rules for both roles: `is_client` only says which side is ours."""

    __slots__ = ("_highest", "_is_client", "_limits", "_next", "_open", "_partial")

    def __init__(self, *, is_client: bool, limits: Mapping[FrameType, int]) -> None:
        self._is_client: Final = is_client
        self._limits: Final = limits
        self._open: dict[int, _Stream] = {}
        self._partial: dict[int, _Partial] = {}
        self._highest = 0  # ids are never reused, so the last one opened is all the history needed
        self._next = 1

    def __len__(self) -> int:
        return len(self._open)

    @property
    def unended(self) -> tuple[int, ...]:
        """Streams on which the peer may still send."""
        if self._is_client:
            return tuple(key for key, stream in self._open.items() if not stream.server_ended)
        return tuple(key for key, stream in self._open.items() if not stream.client_ended)

    def reserve(self) -> int:
        """The next id for a stream of ours.

        Raises:
            LocalProtocolError: as many streams are open as the protocol allows, or ids ran out.
        """
        if len(self._open) >= MAX_STREAMS:
            raise LocalProtocolError(f"{MAX_STREAMS} streams are open; wait until one ends")
        if self._next > _MAX_STREAM_ID:
            raise LocalProtocolError("stream ids ran out; open a new session")
        stream, self._next = self._next, self._next + 2
        return stream

    def check_send(self, stream: int, kind: FrameType, size: int, *, end: bool) -> None:
        """Whether our side may send this now.

        Raises:
            LocalProtocolError: it may not; nothing has changed.
        """
        fault = self._fault(stream, kind, from_client=self._is_client)
        if fault is None and self._is_client and stream >= self._next:
            fault = f"stream {stream} was not reserved"
        if fault is None:
            fault = self._end_fault(stream, kind, from_client=self._is_client, end=end)
        if fault is not None:
            raise LocalProtocolError(fault)
        if size > self._limits[kind] or size < EXACT_BODY.get(kind, 0):
            raise LocalProtocolError(
                f"{kind.name} body of {size} bytes; the limit is {self._limits[kind]}"
            )

    def sent(self, stream: int, kind: FrameType, *, end: bool) -> None:
        """Record what `check_send` allowed."""
        self._opened(stream, kind)
        self._passed(stream, kind, from_client=self._is_client, end=end)

    def receive(self, stream: int, kind: FrameType, flags: int, chunk: bytes) -> bytes | None:
        """Take one record's part of a body: the whole body, or None while records are missing.

        Raises:
            RemoteProtocolError: the peer may not send this.
        """
        from_client = not self._is_client
        more = flags & FLAG_MORE
        if more and (flags & FLAG_END or kind not in FRAGMENTED):
            raise RemoteProtocolError(f"MORE is not allowed on this {kind.name}")
        partial = self._partial.get(stream) if self._partial else None
        if (more or partial is not None) and not chunk:
            raise RemoteProtocolError(f"an empty part of a {kind.name}")
        size = len(chunk)
        if partial is not None:
            if kind is not partial.kind:
                raise RemoteProtocolError(f"{kind.name} inside an unfinished {partial.kind.name}")
            size += len(partial.body)
        else:
            fault = self._fault(stream, kind, from_client=from_client)
            if fault is not None:
                raise RemoteProtocolError(fault)
        if size > self._limits[kind]:
            raise RemoteProtocolError(
                f"{kind.name} body above {self._limits[kind]} bytes", CLOSE_TOO_LARGE
            )
        if partial is None:
            self._opened(stream, kind)
        if more:
            self._keep(stream, kind, chunk)
            return None
        body = chunk
        if partial is not None:
            body = bytes(partial.body + chunk)
            del self._partial[stream]
        end = bool(flags & FLAG_END)
        fault = self._end_fault(stream, kind, from_client=from_client, end=end)
        if fault is not None:
            raise RemoteProtocolError(fault)
        self._passed(stream, kind, from_client=from_client, end=end)
        return body

    def _keep(self, stream: int, kind: FrameType, chunk: bytes) -> None:
        """Hold a part until the rest comes. All that is unfinished fits into one largest body."""
        held = sum(len(one.body) for one in self._partial.values()) + len(chunk)
        if held > max(self._limits.values()):
            raise RemoteProtocolError(f"{held} bytes of unfinished bodies", CLOSE_TOO_LARGE)
        self._partial.setdefault(stream, _Partial(kind)).body.extend(chunk)

    def _fault(self, stream: int, kind: FrameType, *, from_client: bool) -> str | None:
        """Why this frame may not start here, or None."""
        if stream == 0:
            return None if kind in CONNECTION_FRAMES else f"{kind.name} on stream 0"
        state = self._open.get(stream)
        if state is None:
            return self._opening_fault(stream, kind, from_client=from_client)
        if state.client_ended if from_client else state.server_ended:
            return f"{kind.name} after the end of stream {stream}"
        follow_ups = CLIENT_FRAMES if from_client else SERVER_FRAMES
        if kind not in follow_ups[state.opener]:
            return f"{kind.name} does not belong on a {state.opener.name} stream"
        if state.failed and not from_client and kind is not FrameType.RECEIPT:
            return f"{kind.name} after the ERROR of stream {stream}"
        return None

    def _opening_fault(self, stream: int, kind: FrameType, *, from_client: bool) -> str | None:
        if not from_client or kind not in CLIENT_FRAMES:
            return f"{kind.name} on stream {stream}, which is not open"
        if stream % 2 == 0 or stream <= self._highest:
            return f"stream {stream} after {self._highest}: ids are odd and increase"
        if len(self._open) >= MAX_STREAMS:
            return f"more than {MAX_STREAMS} open streams"
        return None

    @staticmethod
    def _end_fault(stream: int, kind: FrameType, *, from_client: bool, end: bool) -> str | None:
        """Why this frame may not come with, or without, END, or None."""
        if end:
            if stream != 0 and kind in (CLIENT_ENDS if from_client else SERVER_ENDS):
                return None
            return f"{kind.name} cannot end stream {stream}"
        if not from_client and kind in SERVER_LAST:
            return f"{kind.name} without END on stream {stream}"
        return None

    def _opened(self, stream: int, kind: FrameType) -> None:
        if stream > self._highest:
            self._open[stream] = _Stream(kind)
            self._highest = stream

    def _passed(self, stream: int, kind: FrameType, *, from_client: bool, end: bool) -> None:
        """A whole frame went by: what it ends or leaves to come."""
        if not end:
            if kind is FrameType.ERROR and stream != 0 and not from_client:
                self._open[stream].failed = True
            return
        state = self._open[stream]
        if from_client:
            state.client_ended = True
        else:
            state.server_ended = True
        if state.client_ended and state.server_ended:
            del self._open[stream]
