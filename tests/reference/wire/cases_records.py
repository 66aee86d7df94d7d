"""Sessions that go well: requests, answers, fragments, the ratchet at END, CLOSE on both sides, time."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .frames import END, body_of
from .handshake import seeded, tlv
from .samples import BODIES, DELTA, ERROR, METER, RECEIPT, REQUEST, RESULT, STATE, TOKEN, VOUCHER
from .scene import Scene
from .script import Case, Script, closed, local, received, refusal

LONG = REQUEST | {"body": {"prompt": "x" * 2500}}
GRANT = [2, 1_500_000, seeded("close signature", 64)]


def cases() -> Iterator[Case]:
    for role in ("client", "server"):
        yield _whole_answer(role)
        yield _cancelled(role)
        yield _failed(role)
        yield _billed_failure(role)
        yield _questions(role)
        yield _connection_frames(role)
        yield _unpadded(role)
        yield _eight_streams(role)
    yield from _fragments()
    yield from _tolerated()
    yield from _ends()
    yield from _time()
    yield from _own_side()


def _script(name: str, about: str, role: str, **options: object) -> Script:
    return Script(name, about, role, Scene(**options)).ready()  # type: ignore[arg-type]


def _client(script: Script, frame: str, value: object, stream: int, *, end: bool = False) -> None:
    """The client says this: the side under test sends or receives it."""
    (script.send if script.role == "client" else script.get)(frame, value, stream=stream, end=end)


def _server(script: Script, frame: str, value: object, stream: int, *, end: bool = False) -> None:
    (script.send if script.role == "server" else script.get)(frame, value, stream=stream, end=end)


def _open(script: Script, stream: int, frame: str, value: object, *, end: bool = False) -> None:
    if script.role == "client":
        script.open(stream)
    _client(script, frame, value, stream, end=end)


def _say_goodbye(script: Script) -> Case:
    """CLOSE from the side under test, then from the peer; a transport that ends then is in order."""
    script.step("close", reason=0, sent=script.own.frame("CLOSE", b"\0\0"))
    script.receive(script.peer.frame("CLOSE", b"\0\0")[0], events=[closed()])
    return script.step("eof").case()


def _whole_answer(role: str) -> Case:
    script = _script("whole_answer", "paid, streamed, receipted; then another on new keys", role)
    for number in (0, 1):
        stream = 2 * number + 1
        _open(script, stream, "REQUEST", REQUEST | {"voucher": VOUCHER})
        _server(script, "QUEUE", [1, 250], stream)
        _server(script, "DELTA", DELTA, stream)
        _server(script, "METER", METER, stream)
        _client(script, "VOUCHER", VOUCHER, stream)
        _server(script, "DELTA", [1, 0, 0, "x" * 239, []], stream)
        _server(script, "RESULT", RESULT, stream)
        _server(script, "RECEIPT", RECEIPT, stream, end=True)
        _client(script, "ACK", [], stream, end=True)
    return _say_goodbye(script)


def _cancelled(role: str) -> Case:
    script = _script("cancelled", "the client's END first, the receipt after it", role)
    _open(script, 1, "REQUEST", REQUEST)
    _server(script, "DELTA", DELTA, 1)
    _client(script, "CANCEL", [], 1, end=True)
    _server(script, "DELTA", [1, 0, 0, "was on its way", [1, 2]], 1)
    _server(script, "RECEIPT", RECEIPT, 1, end=True)
    return _say_goodbye(script)


def _failed(role: str) -> Case:
    script = _script("failed_unbilled", "ERROR with END, nothing was charged", role)
    _open(script, 1, "REQUEST", REQUEST)
    _server(script, "ERROR", ERROR, 1, end=True)
    _client(script, "ACK", [], 1, end=True)
    return _say_goodbye(script)


def _billed_failure(role: str) -> Case:
    script = _script("failed_billed", "ERROR without END, then the receipt", role)
    _open(script, 1, "REQUEST", REQUEST, end=True)
    _server(script, "DELTA", DELTA, 1)
    _server(script, "ERROR", ERROR, 1)
    _server(script, "RECEIPT", RECEIPT, 1, end=True)
    return _say_goodbye(script)


def _questions(role: str) -> Case:
    script = _script("questions", "streams that no REQUEST opens", role)
    asked = [
        ("RECEIPT_GET", BODIES["RECEIPT_GET"][0][1], "RECEIPT", RECEIPT),
        ("RECEIPT_GET", [None, 99], "ERROR", ERROR | {"code": "not_found"}),
        ("STATE_GET", [], "STATE", STATE),
        ("CLOSE_REQUEST", [2], "CLOSE_AUTH", GRANT),
    ]
    for number, (question, value, answer, told) in enumerate(asked):
        stream = 2 * number + 1
        _open(script, stream, question, value, end=number % 2 == 0)
        _server(script, answer, told, stream, end=True)
        if number % 2:
            _client(script, "ACK", [], stream, end=True)
    return _say_goodbye(script)


def _connection_frames(role: str) -> Case:
    script = _script("stream_0", "PING is answered, COVER dropped, the rest handed on", role)
    script.receive(script.peer.frame("PING", TOKEN)[0], sent=script.own.frame("PONG", TOKEN))
    script.send("PING", TOKEN)
    script.receive(script.peer.frame("PONG", TOKEN)[0])
    script.receive(script.peer.frame("COVER", b"")[0])
    script.receive(script.peer.forged(9, b"anything", stream=0))
    script.send("COVER", b"")
    _client(script, "ATTEST_CHALLENGE", [], 0)
    _server(script, "ATTEST", [b"quote", b"collateral"], 0)
    _server(script, "ERROR", ERROR | {"code": "draining"}, 0)
    script.step("close", reason=1, sent=script.own.frame("CLOSE", b"\1\0"))
    # The peer's frames that were on their way are still taken; a PING is not answered any more.
    script.receive(script.peer.frame("PING", TOKEN)[0])
    return script.receive(
        script.peer.frame("CLOSE", b"\x34\x12")[0], events=[closed(0x1234)]
    ).case()


def _unpadded(role: str) -> Case:
    script = _script("unpadded", "plaintexts as long as they are", role, padding="off")
    _open(script, 1, "REQUEST", REQUEST)
    _server(script, "DELTA", DELTA, 1)
    _server(script, "RECEIPT", RECEIPT, 1, end=True)
    _client(script, "ACK", [], 1, end=True)
    return _say_goodbye(script)


def _eight_streams(role: str) -> Case:
    script = _script("eight_streams", "as many as may be open; one ends, another opens", role)
    for stream in range(1, 16, 2):
        _open(script, stream, "STATE_GET", [])
    for stream in (7, 1):
        _server(script, "STATE", STATE, stream, end=True)
        _client(script, "ACK", [], stream, end=True)
    _open(script, 17, "STATE_GET", [])
    ending = script.peer.frame("CLOSE", b"\2\0")[0]
    return script.receive(ending, events=[closed(2, 3, 5, 9, 11, 13, 15, 17)]).case()


def _fragments() -> Iterator[Case]:
    small = tlv({1: struct.pack("<I", 1024 + 700)})  # rounds down to a bucket
    scene = Scene(server_params=small)
    scene.c2s.largest = 1024
    script = Script("fragments", "the provider takes records of 1,024", "client", scene).ready()
    _open(script, 1, "REQUEST", LONG)
    yield script.case()
    scene = Scene()
    scene.c2s.largest = 512
    script = Script("fragments", "REQUEST in pieces of any size", "server", scene).ready()
    _open(script, 1, "REQUEST", LONG, end=True)
    yield script.case()
    script = _script("largest_record", "a REQUEST of 65,536 and a rest", "client")
    _open(script, 1, "REQUEST", REQUEST | {"body": {"prompt": "y" * 70_000}})
    yield script.case()
    script = _script(
        "fragments_interleaved", "parts on two streams, other frames between", "client"
    )
    for stream in (1, 3):
        _open(script, stream, "REQUEST", REQUEST)
    body = body_of("RESULT", [0, 0, 1, "embedding", seeded("floats", 400)])
    peer = script.peer
    script.receive(peer.forged(13, body[:200], stream=1, flags=2))
    script.receive(peer.forged(13, body[:100], stream=3, flags=2))
    script.receive(peer.forged(9, b"", stream=0))
    script.receive(peer.forged(13, body[200:201], stream=1, flags=2))
    script.receive(peer.forged(13, body[201:], stream=1),
                   events=[received("RESULT", None, stream=1, body=body)])  # fmt: skip
    script.receive(peer.forged(13, body[100:], stream=3),
                   events=[received("RESULT", None, stream=3, body=body)])  # fmt: skip
    yield script.case()
    script = _script("fragments_of_error", "the last part may end the stream", "client")
    _open(script, 1, "REQUEST", REQUEST)
    body = body_of("ERROR", ERROR)
    script.receive(script.peer.forged(5, body[:9], flags=2))
    script.receive(script.peer.forged(5, body[9:], flags=END),
                   events=[received("ERROR", ERROR, stream=1, end=True)])  # fmt: skip
    yield script.case()


def _tolerated() -> Iterator[Case]:
    script = _script("larger_bucket", "than needed: only DELTA has one size", "server")
    _open(script, 1, "REQUEST", REQUEST)
    body = body_of("ACK", [])
    script.receive(script.peer.forged(16, body, size=4096), events=[received("ACK", [], stream=1)])
    yield script.case()
    script = _script("small_request", "of 256: the least bucket binds the sender", "server")
    body = body_of("STATE_GET", [])
    script.receive(script.peer.forged(20, body), events=[received("STATE_GET", [], stream=1)])
    yield script.case()
    script = _script("ids_skipped", "stream 5 first, then 9", "server")
    for stream in (5, 9):
        script.get("STATE_GET", [], stream=stream)
    yield script.case()
    script = _script("extra_items", "hashes run over the body as it came", "client")
    _open(script, 1, "REQUEST", REQUEST)
    longer = body_of("DELTA", [*DELTA, "new"])
    script.receive(script.peer.forged(2, longer),
                   events=[received("DELTA", None, stream=1, body=longer)])  # fmt: skip
    yield script.case()


def _ends() -> Iterator[Case]:
    script = _script("cut_off", "the transport ends without CLOSE", "client")
    _open(script, 1, "REQUEST", REQUEST)
    _open(script, 3, "STATE_GET", [])
    _server(script, "STATE", STATE, 3, end=True)
    yield script.step("eof", refused=refusal("truncated", streams=[1])).case()
    script = _script("cut_off", "the transport ends without CLOSE", "server")
    _open(script, 1, "REQUEST", REQUEST, end=True)
    _open(script, 3, "REQUEST", REQUEST)
    yield script.step("eof", refused=refusal("truncated", streams=[3])).case()
    script = _script("cut_off_idle", "nothing was open, CLOSE is missing all the same", "client")
    yield script.step("eof", refused=refusal("truncated")).case()
    script = _script("closed_in_mid_answer", "CLOSE names no streams; they are cut off", "client")
    _open(script, 1, "REQUEST", REQUEST)
    _server(script, "DELTA", DELTA, 1)
    yield script.receive(script.peer.frame("CLOSE", b"\1\0")[0], events=[closed(1, 1)]).case()
    script = _script("closed_first", "an answer goes on after the client's CLOSE", "client")
    _open(script, 1, "REQUEST", REQUEST, end=True)
    script.step("close", sent=script.own.frame("CLOSE", b"\0\0"))
    script.step("close")
    _server(script, "RECEIPT", RECEIPT, 1, end=True)
    yield script.receive(script.peer.frame("CLOSE", b"\0\0")[0], events=[closed()]).case()


def _time() -> Iterator[Case]:
    script = _script("no_request", "30 s after the handshake", "server")
    script.step("wait", seconds=29.5)
    late = refusal("timeout", 4408)
    yield script.step(
        "wait", seconds=1, sent=script.own.frame("CLOSE", b"\2\0"), refused=late
    ).case()
    script = _script("idle", "5 minutes after the last frame on a stream", "server")
    _open(script, 1, "STATE_GET", [], end=True)
    script.step("wait", seconds=299)
    _server(script, "STATE", STATE, 1, end=True)
    script.step("wait", seconds=299)
    yield script.step(
        "wait", seconds=2, sent=script.own.frame("CLOSE", b"\2\0"), refused=late
    ).case()
    script = _script("too_old", "an hour; no new streams from 50 minutes on", "client")
    script.step("wait", seconds=2999)
    _open(script, 1, "STATE_GET", [])
    script.step("wait", seconds=2)
    script.step("open", refused=local("not_ready"))
    yield script.step(
        "wait", seconds=600, sent=script.own.frame("CLOSE", b"\3\0"), refused=late
    ).case()


def _own_side() -> Iterator[Case]:
    """What an implementation must refuse to its own user; the session goes on unharmed."""
    script = _script("own_mistakes", "nothing is sent, and the session is unharmed", "client")
    script.cannot_send("stream_not_open", "STATE_GET", [], stream=1)
    _open(script, 1, "REQUEST", REQUEST)
    script.cannot_send("wrong_stream", "ACK", [], stream=0)
    script.cannot_send("frame_not_allowed", "REQUEST", REQUEST, stream=1)
    script.cannot_send("frame_not_allowed", "DELTA", DELTA, stream=1)
    script.cannot_send("frame_not_allowed", "PONG", TOKEN)
    script.cannot_send("frame_not_allowed", "CLOSE", b"\0\0")
    script.cannot_send("unasked_attest", "ATTEST", [b"", b""])
    script.send("ATTEST_CHALLENGE", [])
    script.cannot_send("challenge_open", "ATTEST_CHALLENGE", [])
    script.cannot_send("end_not_allowed", "VOUCHER", VOUCHER, stream=1, end=True)
    script.cannot_send("end_not_allowed", "PING", TOKEN, end=True)
    for _ in range(3):
        script.send("PING", TOKEN)
    script.cannot_send("ping_rate", "PING", TOKEN)
    _client(script, "ACK", [], 1, end=True)
    script.cannot_send("stream_ended", "ACK", [], stream=1)
    for stream in range(3, 16, 2):
        _open(script, stream, "STATE_GET", [])
    script.step("open", refused=local("stream_limit"))
    script.step("close", sent=script.own.frame("CLOSE", b"\0\0"))
    yield script.cannot_send("after_close", "PING", TOKEN).case()
    script = _script("own_mistakes", "nothing is sent, and the session is unharmed", "server")
    _open(script, 1, "REQUEST", REQUEST)
    script.cannot_send("stream_not_open", "DELTA", DELTA, stream=3)
    script.cannot_send("too_large", "DELTA", [0, 0, 0, "x" * 240, []], stream=1)
    script.cannot_send("end_not_allowed", "DELTA", DELTA, stream=1, end=True)
    script.cannot_send("frame_not_allowed", "STATE", STATE, stream=1)
    script.cannot_send("end_missing", "RECEIPT", RECEIPT, stream=1)
    _server(script, "RECEIPT", RECEIPT, 1, end=True)
    yield script.cannot_send("stream_ended", "RECEIPT", RECEIPT, stream=1).case()
