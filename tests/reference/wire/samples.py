"""One body of every frame, and odd ones."""

from __future__ import annotations

from typing import Any

from .handshake import seeded

REQUEST: dict[str, Any] = {
    "id": seeded("request id", 16),
    "kind": "chat",
    "model": "smollm2-135m-instruct",
    "model_hash": seeded("model hash"),
    "body": {"messages": [{"role": "user", "content": "Why is the sky blue?"}], "max_tokens": 16},
    "seed": 2**64 - 1,
    "date": "2025-01-31",
    "salt": seeded("salt", 16),
    "price": [1_000, 250, 2**63 - 1],
    "voucher": None,
    "resume": None,
}
VOUCHER = [1, 2_000_000, seeded("voucher signature", 64), 1_500_000]
DELTA = [0, 0, 0, "Because ", [5213, 216]]
RECEIPT = seeded("receipt", 352)
METER = [31, 0, 2, seeded("response hash"), 1_234, 5_000]
ERROR = {
    "code": "overloaded",
    "message": "the queue is full",
    "retry_after_ms": 1500,
    "detail": {"queue": 8},
}
RESULT = [2, 0, 1, "finish", ["stop"]]
STATE = [1, 2_000_000, seeded("voucher signature", 64), 3, 1_500_000]
TOKEN = seeded("token", 8)

# Every frame, in the order of the table.
BODIES: dict[str, list[tuple[str, Any]]] = {
    "REQUEST": [
        ("chat", REQUEST),
        ("completion", REQUEST | {"kind": "completion", "body": {"prompt": "é 🦊", "n": 2}}),
        ("embedding", REQUEST | {"kind": "embedding", "body": {"input": ["a", "b"]}, "seed": 0}),
        ("paid", REQUEST | {"voucher": VOUCHER}),
        ("resumed", REQUEST | {"resume": {"ids": [0, 127, 128, 255, 65535, 65536, 2**32 - 1],
                                          "text_bytes": 300}}),
        ("numbers", REQUEST | {"body": {"t": 0.7, "p": -1, "q": -33, "r": -129, "s": -32769,
                                        "u": -(2**31) - 1, "v": True, "w": None, "x": 1.0}}),
        ("long_strings", REQUEST | {"model": "m" * 32, "date": "d" * 256, "body": {"k" * 40: [1] * 16}}),
    ],
    "DELTA": [
        ("content", DELTA),
        ("reasoning", [1, 0, 1, "hm", [7]]),
        ("tool_call", [2, 3, 2, "{", [90]]),
        ("text_without_ids", [2**32 - 1, 2**32 - 1, 0, "é🦊", []]),
        ("ids_without_text", [3, 0, 0, "", [1, 2, 3]]),
        ("full_cell", [4, 0, 0, "x" * 239, []]),
    ],
    "RECEIPT": [("receipt", RECEIPT)],
    "VOUCHER": [("voucher", VOUCHER), ("limits", [2**64 - 1, 2**63 - 1, bytes(64), 0])],
    "ERROR": [
        ("overloaded", ERROR),
        ("bare", {"code": "internal", "message": "", "retry_after_ms": 0, "detail": {}}),
        ("unknown_code", ERROR | {"code": "from the future", "retry_after_ms": 2**32 - 1}),
    ],
    "CANCEL": [("cancel", [])],
    "PING": [("ping", TOKEN)],
    "PONG": [("pong", TOKEN)],
    "COVER": [("empty", b"")],
    "METER": [("meter", METER), ("limits", [2**32 - 1] * 3 + [bytes(32), 2**63 - 1, 2**63 - 1])],
    "ATTEST_CHALLENGE": [("challenge", [])],
    "ATTEST": [("quote", [b"quote", b"collateral"]), ("empty", [b"", b""])],
    "RESULT": [
        ("finish", RESULT),
        ("embedding", [0, 1, 3, "embedding", seeded("floats", 300)]),
        ("logprobs", [1, 0, 1, "logprobs", [{"id": 5, "lp": -0.25, "top": [[5, -0.25]]}]]),
    ],
    "QUEUE": [("queue", [3, 12_000])],
    "CLOSE": [(name, bytes([code, 0])) for code, name in enumerate(("normal", "drain", "idle", "age"))]
    + [("unknown_reason", b"\x34\x12")],
    "ACK": [("ack", [])],
    "CLOSE_REQUEST": [("epoch", [2])],
    "CLOSE_AUTH": [("signed", [2, 1_500_000, seeded("close signature", 64)])],
    "RECEIPT_GET": [
        ("by_id", [seeded("request id", 16), None]),
        ("by_seq", [None, 3]),
        ("latest", [None, None]),
    ],
    "STATE_GET": [("state_get", [])],
    "STATE": [("state", STATE), ("fresh", [1, 0, bytes(64), 0, 0])],
}  # fmt: skip
