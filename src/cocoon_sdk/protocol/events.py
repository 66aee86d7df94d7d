"""What a session tells its driver. Representations show sizes, never contents."""

from __future__ import annotations

from typing import NamedTuple

from cocoon_sdk.protocol.messages import Message
from cocoon_sdk.protocol.params import ChannelId, RegistryRef


class HandshakeCompleted(NamedTuple):
    """Both sides are bound to one transcript. `client_key` is None for an anonymous client."""

    session_id: bytes
    exporter: bytes
    suite: int
    client_key: bytes | None
    channel: ChannelId | None
    registry: RegistryRef | None

    def __repr__(self) -> str:
        return f"HandshakeCompleted(session_id={self.session_id.hex()}, suite={self.suite})"


class MessageReceived(NamedTuple):
    """A whole message. `body` is what request and response hashes run over; `end`: the last of its side."""

    stream: int
    message: Message
    body: bytes
    end: bool

    def __repr__(self) -> str:
        name = type(self.message).__name__
        return (
            f"MessageReceived({name}, stream={self.stream}, {len(self.body)} bytes, end={self.end})"
        )


class PeerClosed(NamedTuple):
    """The peer's CLOSE. `reason` is a CloseReason if known; `truncated` are streams that it left open."""

    reason: int
    truncated: tuple[int, ...] = ()


Event = HandshakeCompleted | MessageReceived | PeerClosed
