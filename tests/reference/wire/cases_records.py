"""Sessions that go well: requests, answers, fragments, the ratchet at END, CLOSE on both sides, time."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from . import cases_endings
from .frames import END, body_of
from .handshake import seeded, tlv
from .samples import BODIES, DELTA, ERROR, METER, RECEIPT, REQUEST, RESULT, STATE, TOKEN, VOUCHER
from .scene import Scene
from .script import Case, Script, closed, received
from .speaking import client_says, established, open_stream, server_says

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
    yield from cases_endings.cases()


def _say_goodbye(script: Script) -> Case:
    """CLOSE from the side under test, then from the peer; a transport that ends then is in order."""
    script.step("close", reason=0, sent=script.own.frame("CLOSE", b"\0\0"))
    script.receive(script.peer.frame("CLOSE", b"\0\0")[0], events=[closed()])
    return script.step("eof").case()


def _whole_answer(role: str) -> Case:
    script = established(
        "whole_answer", "paid, streamed, receipted; then another on new keys", role
    )
    for number in (0, 1):
        stream = 2 * number + 1
        open_stream(script, stream, "REQUEST", REQUEST | {"voucher": VOUCHER})
        server_says(script, "QUEUE", [1, 250], stream)
        server_says(script, "DELTA", DELTA, stream)
        server_says(script, "METER", METER, stream)
        client_says(script, "VOUCHER", VOUCHER, stream)
        server_says(script, "DELTA", [1, 0, 0, "x" * 239, []], stream)
        server_says(script, "RESULT", RESULT, stream)
        server_says(script, "RECEIPT", RECEIPT, stream, end=True)
        client_says(script, "ACK", [], stream, end=True)
    return _say_goodbye(script)


def _cancelled(role: str) -> Case:
    script = established("cancelled", "the client's END first, the receipt after it", role)
    open_stream(script, 1, "REQUEST", REQUEST)
    server_says(script, "DELTA", DELTA, 1)
    client_says(script, "CANCEL", [], 1, end=True)
    server_says(script, "DELTA", [1, 0, 0, "was on its way", [1, 2]], 1)
    server_says(script, "RECEIPT", RECEIPT, 1, end=True)
    return _say_goodbye(script)


def _failed(role: str) -> Case:
    script = established("failed_unbilled", "ERROR with END, nothing was charged", role)
    open_stream(script, 1, "REQUEST", REQUEST)
    server_says(script, "ERROR", ERROR, 1, end=True)
    client_says(script, "ACK", [], 1, end=True)
    return _say_goodbye(script)


def _billed_failure(role: str) -> Case:
    script = established("failed_billed", "ERROR without END, then the receipt", role)
    open_stream(script, 1, "REQUEST", REQUEST, end=True)
    server_says(script, "DELTA", DELTA, 1)
    server_says(script, "ERROR", ERROR, 1)
    server_says(script, "RECEIPT", RECEIPT, 1, end=True)
    return _say_goodbye(script)


def _questions(role: str) -> Case:
    script = established("questions", "streams that no REQUEST opens", role)
    asked = [
        ("RECEIPT_GET", BODIES["RECEIPT_GET"][0][1], "RECEIPT", RECEIPT),
        ("RECEIPT_GET", [None, 99], "ERROR", ERROR | {"code": "not_found"}),
        ("STATE_GET", [], "STATE", STATE),
        ("CLOSE_REQUEST", [2], "CLOSE_AUTH", GRANT),
    ]
    for number, (question, value, answer, told) in enumerate(asked):
        stream = 2 * number + 1
        open_stream(script, stream, question, value, end=number % 2 == 0)
        server_says(script, answer, told, stream, end=True)
        if number % 2:
            client_says(script, "ACK", [], stream, end=True)
    return _say_goodbye(script)


def _connection_frames(role: str) -> Case:
    script = established("stream_0", "PING is answered, COVER dropped, the rest handed on", role)
    script.receive(script.peer.frame("PING", TOKEN)[0], sent=script.own.frame("PONG", TOKEN))
    script.send("PING", TOKEN)
    script.receive(script.peer.frame("PONG", TOKEN)[0])
    script.receive(script.peer.frame("COVER", b"")[0])
    script.receive(script.peer.forged(9, b"anything", stream=0))
    script.send("COVER", b"")
    client_says(script, "ATTEST_CHALLENGE", [], 0)
    server_says(script, "ERROR", ERROR | {"code": "registry_fork"}, 0)  # answers nothing
    server_says(script, "ATTEST", [b"quote", b"collateral"], 0)
    server_says(script, "ERROR", ERROR | {"code": "draining"}, 0)
    script.step("close", reason=1, sent=script.own.frame("CLOSE", b"\1\0"))
    # The peer's frames that were on their way are still taken; a PING is not answered any more.
    script.receive(script.peer.frame("PING", TOKEN)[0])
    return script.receive(
        script.peer.frame("CLOSE", b"\x34\x12")[0], events=[closed(0x1234)]
    ).case()


def _unpadded(role: str) -> Case:
    script = established("unpadded", "plaintexts as long as they are", role, padding="off")
    open_stream(script, 1, "REQUEST", REQUEST)
    server_says(script, "DELTA", DELTA, 1)
    server_says(script, "RECEIPT", RECEIPT, 1, end=True)
    client_says(script, "ACK", [], 1, end=True)
    return _say_goodbye(script)


def _eight_streams(role: str) -> Case:
    script = established("eight_streams", "as many as may be open; one ends, another opens", role)
    for stream in range(1, 16, 2):
        open_stream(script, stream, "STATE_GET", [])
    for stream in (7, 1):
        server_says(script, "STATE", STATE, stream, end=True)
        client_says(script, "ACK", [], stream, end=True)
    open_stream(script, 17, "STATE_GET", [])
    ending = script.peer.frame("CLOSE", b"\2\0")[0]
    return script.receive(ending, events=[closed(2, 3, 5, 9, 11, 13, 15, 17)]).case()


def _fragments() -> Iterator[Case]:
    small = tlv({1: struct.pack("<I", 1024 + 700)})  # rounds down to a bucket
    scene = Scene(server_params=small)
    scene.c2s.largest = 1024
    script = Script("fragments", "the provider takes records of 1,024", "client", scene).ready()
    open_stream(script, 1, "REQUEST", LONG)
    yield script.case()
    scene = Scene()
    scene.c2s.largest = 512
    script = Script("fragments", "REQUEST in pieces of any size", "server", scene).ready()
    open_stream(script, 1, "REQUEST", LONG, end=True)
    yield script.case()
    script = established("largest_record", "a REQUEST of 65,536 and a rest", "client")
    open_stream(script, 1, "REQUEST", REQUEST | {"body": {"prompt": "y" * 70_000}})
    yield script.case()
    script = established(
        "fragments_interleaved", "parts on two streams, other frames between", "client"
    )
    for stream in (1, 3):
        open_stream(script, stream, "REQUEST", REQUEST)
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
    script = established("fragments_of_error", "the last part may end the stream", "client")
    open_stream(script, 1, "REQUEST", REQUEST)
    body = body_of("ERROR", ERROR)
    script.receive(script.peer.forged(5, body[:9], flags=2))
    script.receive(script.peer.forged(5, body[9:], flags=END),
                   events=[received("ERROR", ERROR, stream=1, end=True)])  # fmt: skip
    yield script.case()


def _tolerated() -> Iterator[Case]:
    script = established("larger_bucket", "than needed: only DELTA has one size", "server")
    open_stream(script, 1, "REQUEST", REQUEST)
    body = body_of("ACK", [])
    script.receive(script.peer.forged(16, body, size=4096), events=[received("ACK", [], stream=1)])
    yield script.case()
    script = established("small_request", "of 256: the least bucket binds the sender", "server")
    body = body_of("STATE_GET", [])
    script.receive(script.peer.forged(20, body), events=[received("STATE_GET", [], stream=1)])
    yield script.case()
    script = established("ids_skipped", "stream 5 first, then 9", "server")
    for stream in (5, 9):
        script.get("STATE_GET", [], stream=stream)
    yield script.case()
    script = established("extra_items", "hashes run over the body as it came", "client")
    open_stream(script, 1, "REQUEST", REQUEST)
    longer = body_of("DELTA", [*DELTA, "new"])
    script.receive(script.peer.forged(2, longer),
                   events=[received("DELTA", None, stream=1, body=longer)])  # fmt: skip
    yield script.case()
