"""Records that end the session. The attacker is on the wire, or is the peer itself with valid keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import cases_tampering
from .cases_tampering import with_request
from .frames import END, MORE
from .msgpack import pack
from .samples import DELTA, ERROR, RECEIPT, REQUEST, STATE, TOKEN
from .scene import Scene
from .script import Case, Script
from .secretstream import TAG_FINAL, TAG_MESSAGE, TAG_PUSH, TAG_REKEY

ACK = pack([])
CELL = pack(DELTA)
CLOSE = 15


def cases() -> Iterator[Case]:
    yield from cases_tampering.cases()
    for role in ("client", "server"):
        yield from _inside(role)
        yield from _after_close(role)
        yield from _pings(role)
        yield from _challenges(role)
    yield from _to_the_server()
    yield from _to_the_client()
    yield from _streams()


def _inside(role: str) -> Iterator[Case]:
    """The peer's own records, authentic and wrong, whichever side it is."""
    frame, body = (16, ACK) if role == "server" else (14, pack([1, 2]))
    room = 246 - len(body)

    def bad(name: str, reason: str, number: int = frame, code: int = 4400, **forged: Any) -> Case:
        script = with_request(name, "inside a record", role)
        return script.refuse(script.peer.forged(number, **({"body": body} | forged)), reason, code)

    yield bad("body_len_overrun", "length_mismatch", claim=247)
    yield bad("body_len_huge", "length_mismatch", claim=2**32 - 1)
    yield bad("body_len_short", "bad_padding", claim=len(body) - 1 if role == "client" else 0)
    yield bad("padding_first", "bad_padding", padding=b"\1".ljust(room, b"\0"))
    yield bad("padding_last", "bad_padding", padding=b"\1".rjust(room, b"\0"))
    for number in (0, 22, 255):
        yield bad(f"frame_{number}", "unknown_frame", number)
    for bit in range(2, 8):
        yield bad(f"flag_{bit}", "unknown_flags", flags=1 << bit)
    for name, tag in {"push": TAG_PUSH, "rekey": TAG_REKEY, "final": TAG_FINAL}.items():
        yield bad(f"tag_{name}", "wrong_tag", tag=tag)
    end = (6, ACK) if role == "server" else (3, RECEIPT)
    for name, tag in {"message": TAG_MESSAGE, "push": TAG_PUSH, "final": TAG_FINAL}.items():
        yield bad(f"end_with_{name}", "wrong_tag", end[0], body=end[1], flags=END, tag=tag)
    for name, tag in {"message": TAG_MESSAGE, "push": TAG_PUSH, "rekey": TAG_REKEY}.items():
        yield bad(f"close_with_{name}", "wrong_tag", CLOSE, stream=0, body=b"\0\0", tag=tag)
    final = {"stream": 0, "body": b"\0\0", "tag": TAG_FINAL}
    yield bad("close_with_end", "end_not_allowed", CLOSE, flags=END, **final)
    yield bad("close_with_more", "more_not_allowed", CLOSE, flags=MORE, **final)
    yield bad("close_on_stream", "frame_not_allowed", CLOSE, stream=1, body=b"\0\0")
    yield bad("close_1_byte", "malformed_body", CLOSE, stream=0, body=b"\0")
    yield bad("close_3_bytes", "too_large", CLOSE, 4413, stream=0, body=bytes(3))
    yield bad("ping_7_bytes", "malformed_body", 7, stream=0, body=bytes(7))
    yield bad("ping_9_bytes", "too_large", 7, 4413, stream=0, body=bytes(9))
    yield bad("ping_on_stream", "frame_not_allowed", 7, body=TOKEN)
    yield bad("ping_with_end", "end_not_allowed", 7, stream=0, body=TOKEN, flags=END)
    yield bad("on_stream_0", "wrong_stream", stream=0)
    yield bad("more_on_whole_frame", "more_not_allowed", flags=MORE)
    yield bad("error_empty_part", "empty_part", 5, body=b"", flags=MORE)
    yield bad("error_deep", "malformed_body", 5, body=b"\x91" * 2_000)
    for size in (255, 257, 300, 768):
        yield bad(f"plaintext_{size}", "no_bucket", size=size)
    script = with_request("interleaved", "another frame inside an unfinished ERROR", role)
    script.receive(script.peer.forged(5, b"\x82", flags=MORE))
    yield script.refuse(script.peer.forged(frame, body), "interleaved")
    script = with_request("empty_last_part", "of an ERROR", role)
    script.receive(script.peer.forged(5, b"\x82", flags=MORE))
    yield script.refuse(script.peer.forged(5, b""), "empty_part")


def _after_close(role: str) -> Iterator[Case]:
    for name, number, body in (("data", 9, b""), ("second_close", CLOSE, b"\0\0")):
        script = with_request(f"after_close_{name}", "FINAL was the last record", role)
        ending = {"event": "closed", "reason": 0, "truncated": [1]}
        script.receive(script.peer.frame("CLOSE", b"\0\0")[0], events=[ending])
        yield script.refuse(script.peer.forged(number, body, stream=0), "after_close")


def _pings(role: str) -> Iterator[Case]:
    script = with_request("unasked_pong", "nobody asked", role)
    yield script.refuse(script.peer.frame("PONG", TOKEN)[0], "unasked_pong")
    script = with_request("second_pong", "answered already", role)
    script.send("PING", TOKEN).receive(script.peer.frame("PONG", TOKEN)[0])
    yield script.refuse(script.peer.frame("PONG", TOKEN)[0], "unasked_pong")
    script = with_request("ping_flood", "a minute's worth is taken at once, no more", role)
    for _ in range(12 if role == "server" else 11):  # the provider's first PING counts
        ping = script.peer.frame("PING", TOKEN)[0]
        script.receive(ping, sent=script.own.frame("PONG", TOKEN))
    yield script.refuse(script.peer.frame("PING", TOKEN)[0], "ping_rate", 4429)


def _challenges(role: str) -> Iterator[Case]:
    script = with_request("unasked_attest", "nobody asked", role)
    quote = script.peer.frame("ATTEST", [b"quote", b"collateral"])[0]
    yield script.refuse(quote, "unasked_attest")
    script = with_request("second_attest", "answered already", role)
    script.send("ATTEST_CHALLENGE", []).get("ATTEST", [b"quote", b"collateral"])
    yield script.refuse(script.peer.frame("ATTEST", [b"", b""])[0], "unasked_attest")
    script = with_request("second_challenge", "the first is not answered yet", role)
    script.get("ATTEST_CHALLENGE", [])
    yield script.refuse(script.peer.frame("ATTEST_CHALLENGE", [])[0], "challenge_open", 4429)


def _to_the_server() -> Iterator[Case]:
    def bad(name: str, reason: str, number: int, code: int = 4400, **forged: Any) -> Case:
        script = with_request(name, "from a client", "server")
        return script.refuse(script.peer.forged(number, **forged), reason, code)

    request = pack(REQUEST)
    yield bad("request_twice", "frame_not_allowed", 1, body=request)
    yield bad("even_stream", "stream_id", 1, stream=2, body=request)
    yield bad("request_malformed", "malformed_body", 1, stream=3, body=ACK)
    yield bad("request_more_and_end", "more_not_allowed", 1, stream=3, body=b"x", flags=MORE | END)
    yield bad("request_empty_part", "empty_part", 1, stream=3, flags=MORE)
    for number in (2, 10, 13, 14, 18, 21):
        yield bad(f"server_frame_{number}", "frame_not_allowed", number, body=ACK)
    yield bad("receipt", "frame_not_allowed", 3, body=RECEIPT)
    yield bad("unopened_stream", "stream_not_open", 16, stream=3, body=ACK)
    yield bad("opened_by_delta", "stream_not_open", 2, stream=3, body=CELL)
    yield bad("voucher_malformed", "malformed_body", 4, body=ACK)
    yield bad("voucher_with_end", "end_not_allowed", 4, body=ACK, flags=END)
    yield bad("voucher_too_long", "too_large", 4, 4413, body=bytes(1015))
    yield bad("voucher_in_parts", "more_not_allowed", 4, body=ACK, flags=MORE)
    script = with_request("request_too_long", "above the provider's limit", "server",
                      max_request_bytes=1500)  # fmt: skip
    script.receive(script.peer.forged(1, bytes(1014), stream=3, flags=MORE))
    yield script.refuse(script.peer.forged(1, bytes(487), stream=3, flags=MORE), "too_large", 4413)


def _to_the_client() -> Iterator[Case]:
    def bad(name: str, reason: str, number: int, code: int = 4400, **forged: Any) -> Case:
        script = with_request(name, "from a provider", "client")
        return script.refuse(script.peer.forged(number, **forged), reason, code)

    yield bad("delta_512", "not_one_cell", 2, body=CELL, size=512)
    yield bad("delta_247", "not_one_cell", 2, body=pack([0, 0, 0, "x" * 240, []]))
    yield bad("delta_with_end", "end_not_allowed", 2, body=CELL, flags=END)
    yield bad("delta_in_parts", "more_not_allowed", 2, body=CELL, flags=MORE)
    yield bad("delta_on_stream_0", "wrong_stream", 2, body=CELL, stream=0)
    yield bad("delta_not_utf8", "malformed_body", 2, body=b"\x95\0\0\0\xa1\xff\x90")
    yield bad("stream_of_the_provider", "stream_not_open", 2, body=CELL, stream=2)
    yield bad("unopened_stream", "stream_not_open", 2, body=CELL, stream=3)
    yield bad("request", "stream_not_open", 1, stream=3, body=pack(REQUEST))
    for number in (1, 4, 6, 16, 17, 18, 19, 20, 21):
        yield bad(f"client_frame_{number}", "frame_not_allowed", number, body=ACK)
    yield bad("meter_with_end", "end_not_allowed", 10, body=ACK, flags=END)
    yield bad("result_with_end", "end_not_allowed", 13, body=ACK, flags=END)
    yield bad("queue_with_end", "end_not_allowed", 14, body=ACK, flags=END)
    yield bad("receipt_without_end", "end_missing", 3, body=RECEIPT)
    yield bad("result_part_of", "malformed_body", 13, body=pack([0, 2, 2, "finish", []]))
    yield bad("receipt_351", "malformed_body", 3, body=RECEIPT[:-1], flags=END)
    yield bad("receipt_353", "too_large", 3, 4413, body=RECEIPT + b"\0", flags=END)
    script = with_request("delta_after_error", "only the receipt may follow", "client")
    script.get("ERROR", ERROR, stream=1)
    yield script.refuse(script.peer.frame("DELTA", DELTA, stream=1)[0], "frame_not_allowed")
    script = Script("first_record_cover", "the first record is a PING", "client", Scene()).start()
    scene = script.scene
    done = [scene.established()]
    script.receive(scene.server_hello, sent=[scene.client_auth], events=done)
    yield script.refuse(script.peer.frame("COVER", b"")[0], "frame_not_allowed")
    script = Script("unpadded_delta_247", "no cell, the limit stands", "client",
                    Scene(padding="off")).ready()  # fmt: skip
    script.open(1).send("REQUEST", REQUEST, stream=1)
    long = script.peer.forged(2, pack([0, 0, 0, "x" * 240, []]), padding=b"")
    yield script.refuse(long, "too_large", 4413)


def _streams() -> Iterator[Case]:
    script = with_request("after_end", "the client had said END", "server")
    script.get("CANCEL", [], stream=1, end=True)
    yield script.refuse(script.peer.forged(16, ACK), "stream_ended")
    script = with_request("after_end", "the receipt was the last", "client")
    script.get("RECEIPT", RECEIPT, stream=1, end=True)
    yield script.refuse(script.peer.forged(2, CELL), "stream_ended")
    script = with_request("stream_reused", "ids are never used again", "server")
    script.send("RECEIPT", RECEIPT, stream=1, end=True).get("ACK", [], stream=1, end=True)
    yield script.refuse(script.peer.frame("REQUEST", REQUEST, stream=1)[0], "stream_id")
    script = with_request("stream_backwards", "7, then 5", "server")
    script.get("STATE_GET", [], stream=7)
    yield script.refuse(script.peer.forged(20, ACK, stream=5), "stream_id")
    script = with_request("ninth_stream", "eight are open", "server")
    for stream in range(3, 17, 2):
        script.get("STATE_GET", [], stream=stream)
    yield script.refuse(script.peer.forged(20, ACK, stream=17), "stream_limit")
    script = Script("wrong_answer", "STATE where a receipt was asked for", "client", Scene())
    script.ready().open(1).send("RECEIPT_GET", [None, None], stream=1)
    yield script.refuse(script.peer.frame("STATE", STATE, stream=1)[0], "frame_not_allowed")
