"""Strict padding as this SDK paces it: a cell in each tick of 25 ms, answers of at least 64 cells."""

from __future__ import annotations

from collections.abc import Iterator

from .frames import body_of
from .samples import DELTA, RECEIPT, REQUEST, STATE
from .scene import PING, Scene
from .script import Case, Script, closed, received, tree

TICK = 0.03  # a little late each time, so that rounding of sums cannot matter
ANSWER = 64  # ticks of the shortest answer


def cases() -> Iterator[Case]:
    yield _client()
    yield _server()
    yield _closing()


def _session(name: str, about: str, role: str) -> Script:
    """Established; the first record of this side waits for its tick."""
    script = Script(name, about, role, Scene(padding="strict"))
    scene = script.scene
    done = [scene.established()]
    ping = scene.s2c.frame("PING", PING)
    if role == "client":
        script.start().receive(scene.server_hello, sent=[scene.client_auth], events=done)
        script.receive(ping[0])
        return script.step("tick", seconds=0, sent=script.own.frame("PONG", PING))
    script.greet().receive(scene.client_auth, events=done)
    script.step("tick", seconds=0, sent=ping)
    return script.receive(script.peer.frame("PONG", PING)[0])


def _queue(script: Script, frame: str, value: object, *, end: bool = False) -> list[bytes]:
    """This side says something on stream 1; nothing leaves yet. The records that will."""
    members = {"stream": 1, "frame": frame, "value": tree(value)} | ({"end": True} if end else {})
    script.step("send", **members)
    return script.own.frame(frame, value, stream=1, end=end)


def _cover(script: Script, times: int = 1) -> None:
    for _ in range(times):
        script.step("tick", seconds=TICK, sent=script.own.frame("COVER", b""))


def _client() -> Case:
    script = _session("strict", "covers while a stream is open, silence after it", "client")
    script.step("tick", seconds=TICK)
    script.open(1)
    request = _queue(script, "REQUEST", REQUEST)
    script.step("tick", seconds=TICK, sent=request)
    _cover(script)
    script.receive(script.peer.frame("COVER", b"")[0])
    script.get("DELTA", DELTA, stream=1)
    cancel = _queue(script, "CANCEL", [], end=True)
    script.step("tick", seconds=TICK, sent=cancel)
    _cover(script)
    script.get("RECEIPT", RECEIPT, stream=1, end=True)
    return script.step("tick", seconds=TICK).case()


def _server() -> Case:
    script = _session("strict", "a client that asks for it gets it; the end is held back", "server")
    script.get("REQUEST", REQUEST, stream=1)
    delta = _queue(script, "DELTA", DELTA)
    script.step("tick", seconds=TICK, sent=delta)
    _cover(script)
    # Held until the answer has 64 cells, and sealed only then: covers go before it.
    script.step("send", stream=1, frame="RECEIPT", value=tree(RECEIPT), end=True)
    _cover(script, ANSWER - 3)
    script.step("tick", seconds=TICK, sent=script.own.frame("RECEIPT", RECEIPT, stream=1, end=True))
    _cover(script)
    script.get("ACK", [], stream=1, end=True)
    return script.step("tick", seconds=TICK).case()


def _closing() -> Case:
    script = _session("strict_close", "what waits or is held goes at once, then CLOSE", "server")
    body = body_of("STATE_GET", [])
    script.receive(script.peer.forged(20, body), events=[received("STATE_GET", [], stream=1)])
    state = _queue(script, "STATE", STATE, end=True)
    script.step("close", sent=[*state, *script.own.frame("CLOSE", b"\0\0")])
    return script.receive(script.peer.frame("CLOSE", b"\0\0")[0], events=[closed(0, 1)]).case()
