"""Who broke the protocol.

    ProtocolError
    ├─ LocalProtocolError         our own side asked for something that the protocol forbids
    │  └─ UnsupportedSuiteError   nothing that the other side offers can be used by this installation
    └─ RemoteProtocolError        the peer did; the session is dead and `.close_code` says how to hang up
       └─ TruncatedError          the transport ended before the peer's CLOSE record

Drivers translate these into the classes of `cocoon_sdk.errors`; users never meet them.
"""

from __future__ import annotations

from cocoon_sdk.protocol.constants import CLOSE_PROTOCOL


class ProtocolError(Exception):
    """Base of the errors of the sans-IO protocol."""


class LocalProtocolError(ProtocolError):
    """A call that would break the protocol. Nothing was queued and the session is unharmed."""


class UnsupportedSuiteError(LocalProtocolError):
    """No suite in common, known before anything is sent. The message says what to install."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol. One strike: the session takes and gives nothing more."""

    def __init__(self, message: str, close_code: int = CLOSE_PROTOCOL) -> None:
        super().__init__(message)
        self.close_code = close_code


class TruncatedError(RemoteProtocolError):
    """The transport ended without a CLOSE record. `streams` are those that the peer had not ended."""

    def __init__(self, message: str, streams: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.streams = streams
