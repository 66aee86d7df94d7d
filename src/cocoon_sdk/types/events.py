"""Events for `on_event=`: what happens underneath a request, without any prompt or answer text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events. `request_id` is hex."""

    request_id: str


@dataclass(frozen=True, slots=True)
class AttemptStarted(Event):
    """A provider was chosen and is being asked; `number` counts attempts from 1."""

    provider: str
    number: int


@dataclass(frozen=True, slots=True)
class SessionReady(Event):
    """An encrypted session is there; `reused` says that no handshake was needed."""

    provider: str
    suite: int
    reused: bool


@dataclass(frozen=True, slots=True)
class VoucherSigned(Event):
    """A voucher was made durable and sent. `cumulative` is the channel's, in nano."""

    cumulative: int


@dataclass(frozen=True, slots=True)
class FirstToken(Event):
    """The first text arrived, `milliseconds` after the request was made."""

    milliseconds: float


@dataclass(frozen=True, slots=True)
class Queued(Event):
    """The provider holds the request in its queue."""

    position: int
    estimated_ms: int


@dataclass(frozen=True, slots=True)
class ReceiptStored(Event):
    """The receipt passed all checks and is stored. Wire counters are those of the session so far."""

    cost_nano: int
    frames_on_wire: int
    bytes_on_wire: int


@dataclass(frozen=True, slots=True)
class AttemptFailed(Event):
    """An attempt ended with an error; `code` is the error's."""

    provider: str
    code: str
