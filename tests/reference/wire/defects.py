"""Defects that several handshake cases share, and scripts that start with a scene of their own."""

from __future__ import annotations

from typing import Any

from .handshake import tlv
from .scene import Scene
from .script import Script

P = 2**255 - 19
# u-coordinates of the points of order 1, 2, 4 and 8, on the curve and its twist, in every encoding.
SMALL_ORDER = (
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P - 1,
    P,
    P + 1,
    1 << 255,
)
BAD_TLV = {
    "header_cut": b"\x77",
    "length_cut": b"\x77\x77\x00",
    "overrun": b"\x77\x77\x05\x00abcd",
    "duplicate": tlv({0x7777: b""}) * 2,
    "unsorted": tlv({0x7778: b"", 0x7777: b""}),
}


def flipped(message: bytes, index: int, mask: int = 0x01) -> bytes:
    changed = bytearray(message)
    changed[index] ^= mask
    return bytes(changed)


def server(name: str, about: str, **options: Any) -> Script:
    return Script(name, about, "server", Scene(**options))


def client(name: str, about: str, **options: Any) -> Script:
    return Script(name, about, "client", Scene(**options)).start()
