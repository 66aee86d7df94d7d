"""A MessagePack encoder: each value in its shortest form, maps in the order they are given."""

from __future__ import annotations

import struct
from typing import Any


def pack(value: Any) -> bytes:
    """The bytes of nil, booleans, integers, floats, text, bytes, lists and maps."""
    match value:
        case None:
            return b"\xc0"
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int():
            return _integer(value)
        case float():
            return b"\xcb" + struct.pack(">d", value)
        case str():
            raw = value.encode()
            return _header(len(raw), (31, 0xA0), (0xD9, 0xDA, 0xDB)) + raw
        case bytes():
            return _header(len(value), None, (0xC4, 0xC5, 0xC6)) + value
        case list() | tuple():
            return _header(len(value), (15, 0x90), (None, 0xDC, 0xDD)) + b"".join(map(pack, value))
        case dict():
            items = b"".join(pack(part) for item in value.items() for part in item)
            return _header(len(value), (15, 0x80), (None, 0xDE, 0xDF)) + items
    raise TypeError(type(value))


def _integer(value: int) -> bytes:
    if value >= 0:
        if value < 0x80:
            return bytes([value])
        for code, form in ((0xCC, ">B"), (0xCD, ">H"), (0xCE, ">I"), (0xCF, ">Q")):
            if value < 1 << 8 * struct.calcsize(form):
                return bytes([code]) + struct.pack(form, value)
        raise OverflowError(value)
    if value >= -32:
        return struct.pack("b", value)
    for code, form in ((0xD0, ">b"), (0xD1, ">h"), (0xD2, ">i"), (0xD3, ">q")):
        if value >= -1 << (8 * struct.calcsize(form) - 1):
            return bytes([code]) + struct.pack(form, value)
    raise OverflowError(value)


def _header(size: int, fixed: tuple[int, int] | None, codes: tuple[int | None, int, int]) -> bytes:
    if fixed is not None and size <= fixed[0]:
        return bytes([fixed[1] | size])
    for code, form in zip(codes, (">B", ">H", ">I"), strict=True):
        if code is not None and size < 1 << 8 * struct.calcsize(form):
            return bytes([code]) + struct.pack(form, size)
    raise OverflowError(size)
