"""Frames of either side in a script, sent or received as its role has it."""

from __future__ import annotations

from typing import Any

from .scene import Scene
from .script import Script


def established(name: str, about: str, role: str, **options: Any) -> Script:
    """A session of a scene of its own, after the handshake."""
    return Script(name, about, role, Scene(**options)).ready()


def client_says(
    script: Script, frame: str, value: object, stream: int, *, end: bool = False
) -> None:
    """The client says this: the side under test sends or receives it."""
    (script.send if script.role == "client" else script.get)(frame, value, stream=stream, end=end)


def server_says(
    script: Script, frame: str, value: object, stream: int, *, end: bool = False
) -> None:
    (script.send if script.role == "server" else script.get)(frame, value, stream=stream, end=end)


def open_stream(
    script: Script, stream: int, frame: str, value: object, *, end: bool = False
) -> None:
    if script.role == "client":
        script.open(stream)
    client_says(script, frame, value, stream, end=end)
