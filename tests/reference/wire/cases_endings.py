"""How sessions end: cut off, closed, timed out; and what a side must refuse to its own user."""

from __future__ import annotations

from collections.abc import Iterator

from .samples import DELTA, RECEIPT, REQUEST, STATE, TOKEN, VOUCHER
from .script import Case, closed, local, refusal
from .speaking import client_says, established, open_stream, server_says


def cases() -> Iterator[Case]:
    yield from _ends()
    yield from _time()
    yield from _own_side()


def _ends() -> Iterator[Case]:
    script = established("cut_off", "the transport ends without CLOSE", "client")
    open_stream(script, 1, "REQUEST", REQUEST)
    open_stream(script, 3, "STATE_GET", [])
    server_says(script, "STATE", STATE, 3, end=True)
    yield script.step("eof", refused=refusal("truncated", streams=[1])).case()
    script = established("cut_off", "the transport ends without CLOSE", "server")
    open_stream(script, 1, "REQUEST", REQUEST, end=True)
    open_stream(script, 3, "REQUEST", REQUEST)
    yield script.step("eof", refused=refusal("truncated", streams=[3])).case()
    script = established(
        "cut_off_idle", "nothing was open, CLOSE is missing all the same", "client"
    )
    yield script.step("eof", refused=refusal("truncated")).case()
    script = established(
        "closed_in_mid_answer", "CLOSE names no streams; they are cut off", "client"
    )
    open_stream(script, 1, "REQUEST", REQUEST)
    server_says(script, "DELTA", DELTA, 1)
    yield script.receive(script.peer.frame("CLOSE", b"\1\0")[0], events=[closed(1, 1)]).case()
    script = established("closed_first", "an answer goes on after the client's CLOSE", "client")
    open_stream(script, 1, "REQUEST", REQUEST, end=True)
    script.step("close", sent=script.own.frame("CLOSE", b"\0\0"))
    script.step("close")
    server_says(script, "RECEIPT", RECEIPT, 1, end=True)
    yield script.receive(script.peer.frame("CLOSE", b"\0\0")[0], events=[closed()]).case()


def _time() -> Iterator[Case]:
    script = established("no_request", "30 s after the handshake", "server")
    script.step("wait", seconds=29.5)
    late = refusal("timeout", 4408)
    yield script.step(
        "wait", seconds=1, sent=script.own.frame("CLOSE", b"\2\0"), refused=late
    ).case()
    script = established("idle", "5 minutes after the last frame on a stream", "server")
    open_stream(script, 1, "STATE_GET", [], end=True)
    script.step("wait", seconds=299)
    server_says(script, "STATE", STATE, 1, end=True)
    script.step("wait", seconds=299)
    yield script.step(
        "wait", seconds=2, sent=script.own.frame("CLOSE", b"\2\0"), refused=late
    ).case()
    script = established("too_old", "an hour; no new streams from 50 minutes on", "client")
    script.step("wait", seconds=2999)
    open_stream(script, 1, "STATE_GET", [])
    script.step("wait", seconds=2)
    script.step("open", refused=local("not_ready"))
    yield script.step(
        "wait", seconds=600, sent=script.own.frame("CLOSE", b"\3\0"), refused=late
    ).case()


def _own_side() -> Iterator[Case]:
    """What an implementation must refuse to its own user; the session goes on unharmed."""
    script = established("own_mistakes", "nothing is sent, and the session is unharmed", "client")
    script.cannot_send("stream_not_open", "STATE_GET", [], stream=1)
    open_stream(script, 1, "REQUEST", REQUEST)
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
    client_says(script, "ACK", [], 1, end=True)
    script.cannot_send("stream_ended", "ACK", [], stream=1)
    for stream in range(3, 16, 2):
        open_stream(script, stream, "STATE_GET", [])
    script.step("open", refused=local("stream_limit"))
    script.step("close", sent=script.own.frame("CLOSE", b"\0\0"))
    yield script.cannot_send("after_close", "PING", TOKEN).case()
    script = established("own_mistakes", "nothing is sent, and the session is unharmed", "server")
    open_stream(script, 1, "REQUEST", REQUEST)
    script.cannot_send("stream_not_open", "DELTA", DELTA, stream=3)
    script.cannot_send("too_large", "DELTA", [0, 0, 0, "x" * 240, []], stream=1)
    script.cannot_send("end_not_allowed", "DELTA", DELTA, stream=1, end=True)
    script.cannot_send("frame_not_allowed", "STATE", STATE, stream=1)
    script.cannot_send("end_missing", "RECEIPT", RECEIPT, stream=1)
    server_says(script, "RECEIPT", RECEIPT, 1, end=True)
    yield script.cannot_send("stream_ended", "RECEIPT", RECEIPT, stream=1).case()
