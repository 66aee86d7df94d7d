"""The shapes of cases and answers; docs/reference/conformance.md describes them for people."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from cocoon_sdk.protocol.conformance.values import Hex, Hex8, Hex24, Hex32, Hex64, parse_bytes
from cocoon_sdk.protocol.constants import DEFAULT_MAX_REQUEST, MAX_PLAINTEXT
from cocoon_sdk.protocol.messages import CloseReason

Count = Annotated[int, Meta(ge=0, le=2**32 - 1)]


class Strict(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A member that nobody knows is a typing error in the case, not something to skip."""


class Channel(Strict, frozen=True, kw_only=True):
    """The address of a payment channel."""

    workchain: int
    hash: Hex32


class Registry(Strict, frozen=True, kw_only=True):
    """The registry that the client used."""

    id: Hex
    version: Annotated[int, Meta(ge=0)]
    digest: Hex


class Encapsulation(Strict, frozen=True, kw_only=True):
    """What ML-KEM encapsulation gave when the case was recorded."""

    ciphertext: Hex
    secret: Hex32


class ClientConfig(Strict, frozen=True, kw_only=True, tag_field="role", tag="client"):
    """Our side is the client. `client_seed` is left out by an anonymous one."""

    provider_id: Hex
    ephemeral_secret: Hex32
    stream_header: Hex24
    mlkem_seed: Hex64 | None = None
    client_seed: Hex32 | None = None
    channel: Channel | None = None
    registry: Registry | None = None
    padding: str = "default"
    suites: tuple[int, ...] = (1,)


class ServerConfig(Strict, frozen=True, kw_only=True, tag_field="role", tag="server"):
    """Our side is the provider. `ping` is the token of its first record."""

    identity_seed: Hex32
    ephemeral_secret: Hex32
    stream_header: Hex24
    ping: Hex8
    encapsulation: Encapsulation | None = None
    require_auth: bool = False
    padding: str = "default"
    suites: tuple[int, ...] = (1,)
    max_request_bytes: Count = DEFAULT_MAX_REQUEST


class Start(Strict, frozen=True, kw_only=True, tag_field="do", tag="start"):
    """The client queues its hello."""


class Receive(Strict, frozen=True, kw_only=True, tag_field="do", tag="receive"):
    """A websocket message of the peer."""

    message: Hex


class OpenStream(Strict, frozen=True, kw_only=True, tag_field="do", tag="open"):
    """The client takes the next stream id."""


class Send(Strict, frozen=True, kw_only=True, tag_field="do", tag="send"):
    """Queue a frame."""

    stream: Count
    frame: str
    value: Any
    end: bool = False


class Close(Strict, frozen=True, kw_only=True, tag_field="do", tag="close"):
    """Queue CLOSE."""

    reason: CloseReason = CloseReason.NORMAL


class Wait(Strict, frozen=True, kw_only=True, tag_field="do", tag="wait"):
    """Let time pass, then see to what has become due."""

    seconds: Annotated[float, Meta(ge=0)]


class Tick(Strict, frozen=True, kw_only=True, tag_field="do", tag="tick"):
    """Let time pass, then the records of one tick of strict padding."""

    seconds: Annotated[float, Meta(ge=0)]


class Eof(Strict, frozen=True, kw_only=True, tag_field="do", tag="eof"):
    """The transport ends."""


Step = Start | Receive | OpenStream | Send | Close | Wait | Tick | Eof


class _Case(Strict, frozen=True, kw_only=True, tag_field="kind"):
    """What every case may carry. Whoever compares needs `expect`; here nobody looks at it."""

    id: str
    about: str = ""
    expect: Any = None


class SessionCase(_Case, frozen=True, kw_only=True, tag="session"):
    """One side of a session, driven step by step."""

    config: ClientConfig | ServerConfig
    steps: list[Step]


class BodyCase(_Case, frozen=True, kw_only=True, tag="body"):
    """One frame body: from its value to bytes, or from bytes to its value."""

    frame: str
    value: Any | UnsetType = UNSET
    body: Hex | UnsetType = UNSET


class KeysCase(_Case, frozen=True, kw_only=True, tag="keys"):
    """The key schedule over given messages and a given shared secret."""

    client_hello: Hex
    server_clear: Hex
    shared: Hex
    auth: Hex
    client_sealed: Hex


class RecordsCase(_Case, frozen=True, kw_only=True, tag="records"):
    """A body cut and padded into the plaintexts of its records."""

    frame: str
    stream: Count
    body: Hex
    end: bool = False
    padded: bool = True
    max_plaintext: Annotated[int, Meta(ge=1024, le=MAX_PLAINTEXT)] = MAX_PLAINTEXT


Case = SessionCase | BodyCase | KeysCase | RecordsCase


class Head(Struct, frozen=True):
    """The name of a case that is otherwise wrong, for the line that says so."""

    id: str | None = None


def _hook(kind: type[Hex], written: object) -> Hex:
    return parse_bytes(written, kind)


CASE_DECODER = msgspec.json.Decoder(Case, dec_hook=_hook)
HEAD_DECODER = msgspec.json.Decoder(Head)


class Refusal(Struct, frozen=True, omit_defaults=True):
    """Who broke the protocol, how, and how to hang up."""

    side: str
    reason: str
    close_code: int | None = None
    streams: tuple[int, ...] = ()


class StepAnswer(Struct, omit_defaults=True):
    """What a step led to: messages to send, events, the id of a stream opened, a refusal."""

    sent: list[Any] = []
    events: list[dict[str, Any]] = []
    stream: int | None = None
    refused: Refusal | None = None
