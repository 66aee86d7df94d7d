"""Writing a session case: what is done to one side, and what it must answer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from .frames import Flow, body_of
from .scene import PING, Scene

Case = dict[str, Any]


def show(raw: bytes) -> str | dict[str, Any]:
    """How an answer spells bytes: above 4,096 only size and hash."""
    if len(raw) <= 4096:
        return raw.hex()
    return {"size": len(raw), "blake2b": hashlib.blake2b(raw, digest_size=32).hexdigest()}


def tree(value: Any) -> Any:
    """A value as JSON, bytes as {"$hex": digits}."""
    if isinstance(value, bytes):
        return {"$hex": value.hex()}
    if isinstance(value, list | tuple):
        return [tree(item) for item in value]
    if isinstance(value, dict):
        return {key: tree(item) for key, item in value.items()}
    return value


def refusal(
    reason: str, code: int | None = 4400, *, side: str = "remote", streams: Iterable[int] = ()
) -> dict[str, Any]:
    told: dict[str, Any] = {"side": side, "reason": reason}
    if side == "remote":
        told["close_code"] = code
    if streams := list(streams):
        told["streams"] = streams
    return told


def local(reason: str) -> dict[str, Any]:
    return refusal(reason, side="local")


def received(
    frame: str, value: Any, *, stream: int = 0, end: bool = False, body: bytes | None = None
) -> dict[str, Any]:
    """The event of a whole message."""
    raw = body_of(frame, value) if body is None else body
    return {"event": "message", "stream": stream, "frame": frame, "body": show(raw), "end": end}


def closed(reason: int = 0, *truncated: int) -> dict[str, Any]:
    return {"event": "closed", "reason": reason, "truncated": list(truncated)}


class Script:
    """Steps of one side, each with its expected answer."""

    def __init__(self, name: str, about: str, role: str, scene: Scene, **config: Any) -> None:
        self.name, self.about, self.role, self.scene = f"{role}/{name}", about, role, scene
        made = scene.client_config if role == "client" else scene.server_config
        self.config = made(**config)
        self._steps: list[dict[str, Any]] = []
        self._answers: list[dict[str, Any]] = []

    @property
    def own(self) -> Flow:
        """The records that this side sends."""
        return self.scene.c2s if self.role == "client" else self.scene.s2c

    @property
    def peer(self) -> Flow:
        """The records that it receives."""
        return self.scene.s2c if self.role == "client" else self.scene.c2s

    def step(
        self,
        do: str,
        *,
        sent: Iterable[bytes] = (),
        events: Iterable[dict[str, Any]] = (),
        refused: dict[str, Any] | None = None,
        opened: int | None = None,
        **members: Any,
    ) -> Script:
        self._steps.append({"do": do, **members})
        answer: dict[str, Any] = {}
        if shown := [show(message) for message in sent]:
            answer["sent"] = shown
        if told := list(events):
            answer["events"] = told
        if opened is not None:
            answer["stream"] = opened
        if refused is not None:
            answer["refused"] = refused
        self._answers.append(answer)
        return self

    def receive(self, message: bytes | list[Any], **answer: Any) -> Script:
        spelled = message.hex() if isinstance(message, bytes) else message
        return self.step("receive", message=spelled, **answer)

    def refuse(self, message: bytes | list[Any], reason: str, code: int = 4400) -> Case:
        """The last step: this message ends the session."""
        self.receive(message, refused=refusal(reason, code))
        return self.case()

    def start(self) -> Script:
        return self.step("start", sent=[self.scene.hello])

    def greet(self) -> Script:
        """The provider's half up to its SERVER_HELLO."""
        return self.receive(self.scene.hello, sent=[self.scene.server_hello])

    def ready(self) -> Script:
        """The whole handshake, the provider's first PING and the client's PONG."""
        scene = self.scene
        ping = scene.s2c.frame("PING", PING)
        done = [scene.established()]
        if self.role == "client":
            if not self._steps:
                self.start()
            self.receive(scene.server_hello, sent=[scene.client_auth], events=done)
            return self.receive(ping[0], sent=scene.c2s.frame("PONG", PING))
        self.greet()
        self.receive(scene.client_auth, sent=ping, events=done)
        return self.receive(scene.c2s.frame("PONG", PING)[0])

    def open(self, stream: int) -> Script:
        return self.step("open", opened=stream)

    def send(self, frame: str, value: Any, *, stream: int = 0, end: bool = False) -> Script:
        """This side sends; the records must come out byte for byte."""
        members = {"stream": stream, "frame": frame, "value": tree(value)}
        if end:
            members["end"] = True
        sent = self.own.frame(frame, value, stream=stream, end=end)
        return self.step("send", sent=sent, **members)

    def cannot_send(
        self, reason: str, frame: str, value: Any, *, stream: int = 0, end: bool = False
    ) -> Script:
        members = {"stream": stream, "frame": frame, "value": tree(value)}
        if end:
            members["end"] = True
        return self.step("send", refused=local(reason), **members)

    def get(self, frame: str, value: Any, *, stream: int = 0, end: bool = False) -> Script:
        """The peer sends a frame, in as many records as it takes."""
        *parts, last = self.peer.frame(frame, value, stream=stream, end=end)
        for part in parts:
            self.receive(part)
        return self.receive(last, events=[received(frame, value, stream=stream, end=end)])

    def case(self) -> Case:
        return {
            "kind": "session",
            "id": self.name,
            "about": self.about,
            "config": self.config,
            "steps": self._steps,
            "expect": {"steps": self._answers},
        }


def unusable(name: str, about: str, config: dict[str, Any], reason: str) -> Case:
    """A configuration that our own side must refuse."""
    head = {"kind": "session", "id": name, "about": about, "config": config, "steps": []}
    return head | {"expect": {"refused": local(reason)}}
