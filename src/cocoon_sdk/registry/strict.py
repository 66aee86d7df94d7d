"""JSON that means one thing only: sized, valid UTF-8, shallow, without duplicate keys, then typed.

msgspec keeps the last of two equal keys and says nothing. Whoever signs a file with two `entries`
could show one list to a reviewer's tool and another to clients, so a pass of its own refuses them.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn, TypeVar

import msgspec

from cocoon_sdk.errors import RegistryFormatError

MAX_DEPTH = 16

# The closing quote is optional, or each quote after an unclosed one would start a search to the end of
# the file of its own: quadratic time, before any signature has been looked at.
_STRING = re.compile(rb'"[^"]*"?')
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

T = TypeVar("T")


def decode_strict(
    raw: bytes, kind: type[T], *, what: str, limit: int, values: int | None = None
) -> T:
    """Decode one JSON document into `kind`; `what` names it in errors, `limit` is in bytes.

    `values` bounds the objects, lists, members and strings, for files that no signature vouches for
    yet: parsed, `{},{},…` takes 25 times its size in memory. It is judged before any parser builds
    something, and roughly: what stands inside strings is counted, too.

    Raises:
        RegistryFormatError: too large, not UTF-8, nested too deeply, duplicate keys, wrong fields.
    """
    if len(raw) > limit:
        raise RegistryFormatError(f"{what} has {len(raw)} bytes, the limit is {limit}")
    if values is not None and _counts_above(raw, values):
        raise RegistryFormatError(f"{what} holds more than {values} JSON values")
    try:
        value = msgspec.json.decode(raw, type=kind)
        if msgspec.json.encode(value) == raw:
            return value  # what is written back byte for byte held nothing twice and nothing else
    except (ValueError, RecursionError):
        pass  # the slower look says what is wrong
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RegistryFormatError(f"{what} is not valid UTF-8 (byte {error.start})") from None
    _check_depth(raw, what)

    def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            raise RegistryFormatError(f"{what} holds the same JSON key twice in one object")
        return members

    try:
        json.loads(text, object_pairs_hook=refuse_duplicates, parse_constant=_refuse_constant)
        return msgspec.json.decode(raw, type=kind)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise RegistryFormatError(f"{what} does not parse: {error}") from None


def _counts_above(raw: bytes, values: int) -> bool:
    separators = sum(map(raw.count, (b"[", b"{", b",")))
    return separators > values or raw.count(b'"') > 4 * values  # a member has two strings


def _check_depth(raw: bytes, what: str) -> None:
    """Follow the brackets outside strings before any parser recurses."""
    depth = 0
    unescaped = raw.replace(rb"\\", b"").replace(rb"\"", b"")
    outside = _STRING.sub(b"", unescaped)
    for bracket in outside.translate(None, _NOT_BRACKETS):
        if bracket in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise RegistryFormatError(f"{what} nests deeper than {MAX_DEPTH} levels")
        else:
            depth -= 1


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
