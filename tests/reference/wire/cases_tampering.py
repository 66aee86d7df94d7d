"""Records changed, repeated, moved or cut on the wire, by somebody without the keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .frames import END, body_of
from .msgpack import pack
from .samples import DELTA, REQUEST, TOKEN
from .scene import PING, Scene
from .script import Case, Script
from .secretstream import TAG_MESSAGE

ACK = pack([])


def with_request(name: str, about: str, role: str, **config: Any) -> Script:
    """With a request on stream 1, so that either side may send on it."""
    script = Script(name, about, role, Scene(), **config).ready()
    if role == "client":
        return script.open(1).send("REQUEST", REQUEST, stream=1)
    return script.get("REQUEST", REQUEST, stream=1)


def cases() -> Iterator[Case]:
    def deltas(name: str, about: str) -> tuple[Script, list[bytes]]:
        script = with_request(name, about, "client")
        return script, [script.peer.frame("DELTA", DELTA, stream=1)[0] for _ in range(3)]

    forged = "not_authentic"
    for index in (1, 2, 17, 100, 257, 258, 273):
        script, (first, *_) = deltas(f"flip_{index}", "a bit of a record")
        changed = bytearray(first)
        changed[index] ^= 0x10
        yield script.refuse(bytes(changed), forged)
    script, (first, *_) = deltas("record_type", "the type byte is authenticated, and fixed")
    yield script.refuse(b"\x11" + first[1:], "unexpected_message")
    script, (first, *_) = deltas("replay", "a record twice")
    script.receive(first, events=[_delta()])
    yield script.refuse(first, forged)
    script, (_, second, _) = deltas("reorder", "the second first")
    yield script.refuse(second, forged)
    script, (first, _, third) = deltas("drop", "one is missing")
    script.receive(first, events=[_delta()])
    yield script.refuse(third, forged)
    script = with_request("reflection", "the client's own record", "client")
    yield script.refuse(script.own.frame("ACK", [], stream=1)[0], forged)
    script = with_request("splice", "a record of another session", "client")
    other = Scene(salt="other session")
    other.s2c.frame("PING", PING)
    yield script.refuse(other.s2c.frame("DELTA", DELTA, stream=1)[0], forged)
    script = Script("first_record_flipped", "in the stream header", "server", Scene())
    script.greet()
    script.receive(script.scene.client_auth, sent=script.own.frame("PING", PING),
                   events=[script.scene.established()])  # fmt: skip
    first = bytearray(script.peer.frame("PONG", PING)[0])
    first[5] ^= 1
    yield script.refuse(bytes(first), forged)
    script = with_request("old_key", "a record of before END, sealed without the ratchet", "server")
    stale = _without_ratchet()
    script.get("ACK", [], stream=1, end=True)
    yield script.refuse(stale, forged)
    for size in (0, 1):
        script, (first, *_) = deltas(f"{size}_bytes", "cut")
        reason = "unexpected_message" if size == 0 else "no_bucket"
        yield script.refuse(first[:size], reason)
    for size in (17, 28, 273, 275, 298, 529, 531):
        script, (first, *_) = deltas(f"{size}_bytes", "the length of no bucket")
        yield script.refuse((first + bytes(300))[:size], "no_bucket")
    for size in (65_536 + 19, 65_621, 1_000_000):
        script = with_request(f"{size}_bytes", "refused before it is opened", "client")
        yield script.refuse(["10", {"repeat": "00", "times": size - 1}], "too_large", 4413)


def _without_ratchet() -> bytes:
    """The client's fourth record as if its third, with END, had not changed the key."""
    flow = Scene().c2s
    flow.frame("PONG", PING)
    flow.frame("REQUEST", REQUEST, stream=1)
    flow.forged(16, ACK, flags=END, tag=TAG_MESSAGE)
    return flow.frame("PING", TOKEN)[0]


def _delta() -> dict[str, Any]:
    body = body_of("DELTA", DELTA).hex()
    return {"event": "message", "stream": 1, "frame": "DELTA", "body": body, "end": False}
