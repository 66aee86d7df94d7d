"""Driving one side of a session by the steps of a case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nacl import bindings as sodium

from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.protocol.conformance import cases
from cocoon_sdk.protocol.conformance.bodies import message_of
from cocoon_sdk.protocol.conformance.cases import ClientConfig, ServerConfig, StepAnswer
from cocoon_sdk.protocol.conformance.reasons import refusal_of
from cocoon_sdk.protocol.conformance.values import CaseError, show_bytes
from cocoon_sdk.protocol.connection import Connection
from cocoon_sdk.protocol.constants import MAX_PLAINTEXT, TYPE_DATA
from cocoon_sdk.protocol.errors import LocalProtocolError, ProtocolError
from cocoon_sdk.protocol.events import Event, HandshakeCompleted, MessageReceived
from cocoon_sdk.protocol.kem import encapsulate
from cocoon_sdk.protocol.keyschedule import SessionKeys
from cocoon_sdk.protocol.messages import frame_type
from cocoon_sdk.protocol.params import ChannelId, RegistryRef
from cocoon_sdk.protocol.records import RecordWriter
from cocoon_sdk.protocol.session import ClientSession, ServerSession


class _RecordedWriter(RecordWriter):
    """A writer that starts from a recorded header, which libsodium would draw afresh."""

    __slots__ = ()

    def __init__(self, key: bytes, header: bytes) -> None:
        super().__init__(key)
        # Pulling and pushing start from the same state; only `init_pull` takes a header.
        sodium.crypto_secretstream_xchacha20poly1305_init_pull(self._state, header, key)
        self._prefix = bytes([TYPE_DATA]) + header


class _Recorded(Connection):
    """A session whose own record stream can be repeated byte for byte."""

    stream_header: bytes

    def _establish(
        self, keys: SessionKeys, suite: int, *, max_plaintext: int = MAX_PLAINTEXT
    ) -> None:
        super()._establish(keys, suite, max_plaintext=max_plaintext)
        send = keys.c2s if self._is_client else keys.s2c
        self._writer = _RecordedWriter(send, self.stream_header)


class _Client(_Recorded, ClientSession):
    pass


class _Server(_Recorded, ServerSession):
    pass


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _random_from(*recorded: bytes | None) -> Callable[[int], bytes]:
    """The recorded bytes by their length, which tells what they are for."""
    by_size = {len(raw): bytes(raw) for raw in recorded if raw is not None}

    def draw(size: int) -> bytes:
        if size not in by_size:
            raise CaseError(f"the configuration lacks the {size} random bytes that are needed")
        return by_size[size]

    return draw


def run_session(case: cases.SessionCase) -> dict[str, Any]:
    """The answer to a session case: one entry for each step, or a refusal of the configuration.

    Raises:
        CaseError: a step that this side does not have.
    """
    clock = _Clock()
    try:
        if isinstance(case.config, ClientConfig):
            session: _Client | _Server = _client(case.config, clock)
        else:
            session = _server(case.config, clock)
    except LocalProtocolError as error:
        return {"refused": refusal_of(error)}
    return {"steps": [_answer(session, clock, step) for step in case.steps]}


def _client(config: ClientConfig, clock: _Clock) -> _Client:
    channel: ChannelId | None = None
    registry: RegistryRef | None = None
    if config.channel is not None:
        channel = ChannelId(config.channel.workchain, bytes(config.channel.hash))
    if (named := config.registry) is not None:
        registry = RegistryRef(bytes(named.id), named.version, bytes(named.digest))
    session = _Client(
        provider_id=bytes(config.provider_id),
        signer=None if config.client_seed is None else Ed25519Key(config.client_seed),
        channel=channel,
        registry=registry,
        random=_random_from(config.ephemeral_secret, config.mlkem_seed),
        clock=clock,
        padding=config.padding,
        suites=config.suites,
    )
    session.stream_header = bytes(config.stream_header)
    return session


def _server(config: ServerConfig, clock: _Clock) -> _Server:
    def encapsulated(public: bytes) -> tuple[bytes, bytes]:
        encapsulate(public)  # draws its own random bytes; here it only judges the key
        if config.encapsulation is None:
            raise CaseError("the configuration lacks the encapsulation that suite 2 needs")
        return bytes(config.encapsulation.secret), bytes(config.encapsulation.ciphertext)

    session = _Server(
        identity=Ed25519Key(config.identity_seed),
        random=_random_from(config.ephemeral_secret, config.ping),
        clock=clock,
        require_auth=config.require_auth,
        padding=config.padding,
        max_request_bytes=config.max_request_bytes,
        suites=config.suites,
        encapsulate=encapsulated,
    )
    session.stream_header = bytes(config.stream_header)
    return session


def _answer(session: _Client | _Server, clock: _Clock, step: cases.Step) -> StepAnswer:
    answer = StepAnswer()
    try:
        _perform(session, clock, step, answer)
    except ProtocolError as error:
        answer.refused = refusal_of(error)
    answer.sent = [show_bytes(message) for message in session.outgoing()]
    return answer


def _perform(
    session: _Client | _Server, clock: _Clock, step: cases.Step, answer: StepAnswer
) -> None:
    match step:
        case cases.Start() if isinstance(session, _Client):
            session.start()
        case cases.OpenStream() if isinstance(session, _Client):
            answer.stream = session.open_stream()
        case cases.Start() | cases.OpenStream():
            raise CaseError("only a client starts and opens streams")
        case cases.Receive(message=message):
            answer.events = [_event(event) for event in session.receive(bytes(message))]
        case cases.Send(stream=stream, frame=frame, value=value, end=end):
            session.send(stream, message_of(frame, value), end=end)
        case cases.Close(reason=reason):
            session.close(reason)
        case cases.Wait(seconds=seconds):
            clock.now += seconds
            session.on_timer()
        case cases.Tick(seconds=seconds):
            clock.now += seconds
            session.pace()
        case _:
            session.eof()


def _event(event: Event) -> dict[str, Any]:
    match event:
        case HandshakeCompleted():
            return _established(event)
        case MessageReceived(stream=stream, message=message, body=body, end=end):
            name = frame_type(message).name
            head = {"event": "message", "stream": stream, "frame": name, "body": show_bytes(body)}
            return head | {"end": end}
        case _:
            return {
                "event": "closed",
                "reason": event.reason,
                "truncated": list(event.truncated),
            }


def _established(event: HandshakeCompleted) -> dict[str, Any]:
    """Without what the client did not say."""
    told: dict[str, Any] = {
        "event": "established",
        "suite": event.suite,
        "session_id": event.session_id.hex(),
        "exporter": event.exporter.hex(),
    }
    if event.client_key is not None:
        told["client_key"] = event.client_key.hex()
    if event.channel is not None:
        told["channel"] = {
            "workchain": event.channel.workchain,
            "hash": event.channel.hash.hex(),
        }
    if event.registry is not None:
        name, version, digest = event.registry
        told["registry"] = {"id": name.hex(), "version": version, "digest": digest.hex()}
    return told
