"""cocoon-e2e/1 without I/O: bytes in, typed events out."""

from cocoon_sdk.protocol.constants import MAX_MESSAGE, SUBPROTOCOL
from cocoon_sdk.protocol.errors import (
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    TruncatedError,
    UnsupportedSuiteError,
)
from cocoon_sdk.protocol.events import Event, HandshakeCompleted, MessageReceived, PeerClosed
from cocoon_sdk.protocol.kem import supported_suites
from cocoon_sdk.protocol.params import ChannelId, RegistryRef
from cocoon_sdk.protocol.session import ClientSession, ServerSession

__all__ = [
    "MAX_MESSAGE",
    "SUBPROTOCOL",
    "ChannelId",
    "ClientSession",
    "Event",
    "HandshakeCompleted",
    "LocalProtocolError",
    "MessageReceived",
    "PeerClosed",
    "ProtocolError",
    "RegistryRef",
    "RemoteProtocolError",
    "ServerSession",
    "TruncatedError",
    "UnsupportedSuiteError",
    "supported_suites",
]
