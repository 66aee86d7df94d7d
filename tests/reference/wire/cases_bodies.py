"""Frame bodies both ways, bodies that must be refused, and how bodies are cut and padded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .frames import RAW, body_of, plaintexts
from .msgpack import pack
from .samples import BODIES, DELTA, ERROR, METER, RECEIPT, REQUEST, VOUCHER
from .script import Case, refusal, show, tree


def bodies() -> Iterator[Case]:
    for frame, samples in BODIES.items():
        for name, value in samples:
            body = body_of(frame, value).hex()
            head = {"kind": "body", "id": f"encode/{frame}/{name}", "frame": frame}
            yield head | {"value": tree(value), "expect": {"body": body}}
            head = {"kind": "body", "id": f"decode/{frame}/{name}", "frame": frame}
            yield head | {"body": body, "expect": {"value": tree(value), "body": body}}
    yield from _tolerated()
    yield from _malformed()


def _tolerated() -> Iterator[Case]:
    """What a reader takes though no writer here makes it."""

    def taken(name: str, about: str, frame: str, body: bytes, value: Any) -> Case:
        return {
            "kind": "body",
            "id": f"tolerated/{frame}/{name}",
            "about": about,
            "frame": frame,
            "body": body.hex(),
            "expect": {"value": tree(value), "body": body_of(frame, value).hex()},
        }

    more = "items after those that are known"
    for frame in ("DELTA", "VOUCHER", "CANCEL", "METER", "QUEUE", "ACK", "STATE", "CLOSE_REQUEST"):
        value = BODIES[frame][0][1]
        yield taken("extra_items", more, frame, pack([*value, 99, "new"]), value)
    unknown = {"new": [1], **REQUEST}
    yield taken("extra_members", "members unknown here", "REQUEST", pack(unknown), REQUEST)
    turned = dict(reversed(REQUEST.items()))
    yield taken("other_order", "members in another order", "REQUEST", pack(turned), REQUEST)
    short = {key: REQUEST[key] for key in REQUEST if key not in {"voucher", "resume"}}
    yield taken("left_out", "what may be nil may be absent", "REQUEST", pack(short), REQUEST)
    least = {"code": "internal", "message": "m"}
    full = least | {"retry_after_ms": 0, "detail": {}}
    yield taken("left_out", "code and message suffice", "ERROR", pack(least), full)
    long_form = b"\x92\xcd\x00\x03\xce\x00\x00\x2e\xe0"
    yield taken("long_integers", "not the shortest form", "QUEUE", long_form, [3, 12_000])
    yield taken("array_32", "a longer header", "QUEUE", b"\xdd\0\0\0\2\3\4", [3, 4])
    yield taken("content", "whatever is in it is dropped", "COVER", b"\1\2\3", b"")
    yield taken("nothing", "both are optional", "RECEIPT_GET", b"\x90", [None, None])


def _malformed() -> Iterator[Case]:
    def bad(frame: str, name: str, body: bytes) -> Case:
        return {
            "kind": "body",
            "id": f"malformed/{frame}/{name}",
            "frame": frame,
            "body": body.hex(),
            "expect": {"refused": refusal("malformed_body")},
        }

    for frame, samples in BODIES.items():
        if frame == "COVER":
            continue
        whole = body_of(frame, samples[0][1])
        yield bad(frame, "empty", b"")
        yield bad(frame, "trailing_byte", whole + b"\0")
        if frame not in RAW:
            yield bad(frame, "reserved_byte", b"\xc1")
            yield bad(frame, "wrong_type", b"\x90" if whole[0] >> 4 != 9 else b"\x80")
        if len(whole) > 1:
            yield bad(frame, "cut", whole[:-1])
    for name, change in {
        "id_15_bytes": {"id": bytes(15)},
        "id_text": {"id": "i" * 16},
        "kind_unknown": {"kind": "image"},
        "model_bytes": {"model": b"m"},
        "hash_31_bytes": {"model_hash": bytes(31)},
        "body_array": {"body": []},
        "seed_negative": {"seed": -1},
        "seed_text": {"seed": "1"},
        "salt_17_bytes": {"salt": bytes(17)},
        "two_prices": {"price": [1, 2]},
        "price_2_63": {"price": [1, 2, 2**63]},
        "voucher_short": {"voucher": VOUCHER[:3]},
        "resume_array": {"resume": []},
        "resume_id_2_32": {"resume": {"ids": [2**32], "text_bytes": 0}},
    }.items():
        yield bad("REQUEST", name, pack(REQUEST | change))
    absent = {key: value for key, value in REQUEST.items() if key != "seed"}
    yield bad("REQUEST", "without_seed", pack(absent))
    yield bad("ERROR", "detail_nil", pack(ERROR | {"detail": None}))
    yield bad("ERROR", "integer_key", b"\x81\x01\x02")
    deep = bad("ERROR", "deep", b"")
    yield deep | {"body": [{"repeat": "91", "times": 60_000}]}
    for name, delta in {
        "channel_3": [0, 0, 3, "t", []],
        "seq_2_32": [2**32, 0, 0, "t", []],
        "seq_negative": [-1, 0, 0, "t", []],
        "text_nil": [0, 0, 0, None, []],
        "id_float": [0, 0, 0, "t", [1.5]],
        "four_items": DELTA[:4],
    }.items():
        yield bad("DELTA", name, pack(delta))
    yield bad("DELTA", "not_utf8", b"\x95\0\0\0\xa1\xff\x90")
    yield bad("VOUCHER", "signature_63", pack([1, 2, bytes(63), 4]))
    yield bad("VOUCHER", "cumulative_2_63", pack([1, 2**63, bytes(64), 4]))
    yield bad("METER", "hash_33", pack([*METER[:3], bytes(33), 1, 2]))
    yield bad("RECEIPT", "351_bytes", RECEIPT[:-1])
    yield bad("RECEIPT_GET", "id_text", pack(["i" * 16, None]))
    yield bad("STATE", "spent_negative", pack([1, 2, bytes(64), 3, -1]))


def paddings() -> Iterator[Case]:
    """Sizes around every bucket, REQUEST's least bucket, cells, fragments, and no padding."""
    sizes = sorted({0, 1} | {bucket - 10 + d for bucket in _BUCKETS for d in (-1, 0, 1)})
    for frame in ("RESULT", "REQUEST"):
        for size in sizes:
            yield _cut(f"{frame}_{size}", frame, bytes([7]) * size)
    yield _cut("DELTA_246", "DELTA", b"d" * 246, about="the most that a cell holds")
    yield _cut("DELTA_1", "DELTA", b"d", about="a cell all the same")
    yield _cut("RECEIPT", "RECEIPT", RECEIPT, end=True, about="END takes TAG_REKEY")
    yield _cut("CLOSE", "CLOSE", b"\0\0", stream=0, about="TAG_FINAL without END")
    for size in (1014, 1015, 2028, 2029, 3000):
        yield _cut(f"fragments_{size}", "REQUEST", b"r" * size, largest=1024,
                   about="the provider takes records of 1,024")  # fmt: skip
    yield _cut("fragments_end", "REQUEST", b"r" * 1500, largest=1024, end=True,
               about="END is on the last record only")  # fmt: skip
    yield _cut("fragments_65536", "RESULT", b"r" * 140_000, about="full records, then the rest")
    for size in (0, 1, 300, 65_526, 65_527):
        yield _cut(f"off_{size}", "REQUEST", b"r" * size, padded=False, about="as long as it is")


_BUCKETS = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)


def _cut(
    name: str,
    frame: str,
    body: bytes,
    *,
    about: str = "",
    stream: int = 1,
    end: bool = False,
    padded: bool = True,
    largest: int = 65536,
) -> Case:
    records = plaintexts(frame, body, stream=stream, end=end, largest=largest, padded=padded)
    even = len(set(body)) == 1 and len(body) > 64
    spelled: Any = [{"repeat": body[:1].hex(), "times": len(body)}] if even else body.hex()
    case: Case = {"kind": "records", "id": f"records/{name}", "frame": frame, "stream": stream}
    if about:
        case["about"] = about
    case["body"] = spelled
    if end:
        case["end"] = True
    if not padded:
        case["padded"] = False
    if largest != 65536:
        case["max_plaintext"] = largest
    shown = [{"tag": tag, "plaintext": show(plaintext)} for plaintext, tag in records]
    return case | {"expect": {"records": shown}}
