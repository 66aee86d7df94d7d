"""Byte strings in JSON, and MessagePack values as JSON trees."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any, ClassVar

# More than the largest message, so that the refusal of oversized ones can be asked for.
MAX_BYTES = 1 << 21
SHOWN_BYTES = 4_096

_HEX = "$hex"


class CaseError(ValueError):
    """The case itself is wrong; nothing was tried."""


class Hex(bytes):
    """Bytes that a case spells as hex digits, or as a list of hex digits and {"repeat", "times"}.

    Subclasses have one fixed `size`.
    """

    __slots__ = ()
    size: ClassVar[int | None] = None


class Hex8(Hex):
    """8 bytes: the token of a PING."""

    __slots__ = ()
    size = 8


class Hex24(Hex):
    """24 bytes: the header of a record stream."""

    __slots__ = ()
    size = 24


class Hex32(Hex):
    """32 bytes: a seed, a key or a hash."""

    __slots__ = ()
    size = 32


class Hex64(Hex):
    """64 bytes: the two seeds of an ML-KEM key."""

    __slots__ = ()
    size = 64


def parse_bytes(written: object, kind: type[Hex] = Hex) -> Hex:
    """The bytes that a case spells.

    Raises:
        CaseError: not one of the two forms, more than 2 MiB, or not of the size of `kind`.
    """
    parts = written if isinstance(written, list) else [written]
    raw = bytearray()
    for part in parts:
        match part:
            case str():
                raw += _unhex(part)
            case {"repeat": str(unit), "times": int(times), **rest} if not rest:
                chunk = _unhex(unit)
                if not 0 <= times * len(chunk) <= MAX_BYTES:
                    raise CaseError(f"a byte string repeats {len(chunk)} bytes {times} times")
                raw += chunk * times
            case _:
                raise CaseError("a byte string is hex digits, or a list of parts")
        if len(raw) > MAX_BYTES:
            raise CaseError(f"a byte string is longer than {MAX_BYTES} bytes")
    if kind.size is not None and len(raw) != kind.size:
        raise CaseError(f"{len(raw)} bytes where {kind.size} are needed")
    return kind(raw)


def show_bytes(raw: bytes) -> str | dict[str, Any]:
    """Hex digits; of a longer string its size and BLAKE2b-256."""
    if len(raw) <= SHOWN_BYTES:
        return raw.hex()
    return {"size": len(raw), "blake2b": hashlib.blake2b(raw, digest_size=32).hexdigest()}


def from_tree(tree: Any) -> Any:
    """A JSON tree with {"$hex": digits} as the MessagePack value that it means.

    Raises:
        CaseError: a `$hex` that is not hex, or has company.
    """
    match tree:
        case list():
            return [from_tree(item) for item in tree]
        case {"$hex": written, **rest}:
            if rest:
                raise CaseError("a {$hex} value has no other members")
            return bytes(parse_bytes(written))
        case dict():
            return {key: from_tree(item) for key, item in tree.items()}
        case _:
            return tree


def to_tree(value: Any) -> Any:
    """A decoded MessagePack value as a JSON tree; the inverse of `from_tree`.

    Raises:
        CaseError: it holds something that JSON has no form for.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return value
        case bytes():
            return {_HEX: value.hex()}
        case list() | tuple():
            return [to_tree(item) for item in value]
        case Mapping() if all(isinstance(key, str) and key != _HEX for key in value):
            return {key: to_tree(item) for key, item in value.items()}
    raise CaseError(f"a {type(value).__name__} inside the body has no JSON form")


def _unhex(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits)
    except ValueError as error:
        raise CaseError("a byte string holds something other than hex digits") from error
