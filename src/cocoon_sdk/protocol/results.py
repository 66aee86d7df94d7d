"""RESULTs in parts: a list too long for one body, cut by the provider and put together by the client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cocoon_sdk.protocol.frames import MAX_STRUCTURED
from cocoon_sdk.protocol.messages import Result, encode_body

_FIXED = (
    1 + 3 * 5 + 5 + 5
)  # MessagePack: array header, three numbers, headers of the kind and of the data

_AROUND = len(encode_body(Result(0, 0, 1, "", None))) - 1  # nil is one byte


def split_result(
    first_seq: int, kind: str, items: Sequence[Any], *, limit: int = MAX_STRUCTURED
) -> list[Result]:
    """The fewest RESULTs, numbered from `first_seq`, whose data are these items in order.

    Raises:
        ValueError: one item alone is above `limit` bytes.
    """
    room = limit - _FIXED - len(kind.encode())
    groups: list[list[Any]] = [[]]
    left = room
    for item in items:
        size = len(encode_body(Result(0, 0, 1, "", item))) - _AROUND
        if size > room:
            raise ValueError(f"an item of {size} bytes does not fit a RESULT of {limit}")
        if size > left:
            groups.append([])
            left = room
        groups[-1].append(item)
        left -= size
    return [
        Result(first_seq + part, part, len(groups), kind, group)
        for part, group in enumerate(groups)
    ]


class ResultParts:
    """Puts parts of one stream together. Parts of a kind come in order; those of kinds may mix.

    Args:
        limit: Parts that all values in the making may have together, so that a provider cannot fill
            our memory with one value or with many.
    """

    def __init__(self, *, limit: int = 64) -> None:
        self._limit = limit
        self._open: dict[str, list[Result]] = {}

    @property
    def complete(self) -> bool:
        """Whether no value lacks a part."""
        return not self._open

    def add(self, result: Result) -> Any | None:
        """The whole value once its last part is there, else None. A value in one part may be anything.

        Raises:
            ValueError: a part out of order, of another count, above the limit, or that is no list.
        """
        parts = self._open.get(result.kind, [])
        if result.of == 1 and not parts:
            return result.data
        others = sum(held[0].of for kind, held in self._open.items() if kind != result.kind)
        if others + result.of > self._limit:
            raise ValueError(f"RESULTs in {others + result.of} parts; the limit is {self._limit}")
        if result.part != len(parts) or any(part.of != result.of for part in parts):
            raise ValueError(f"part {result.part} of {result.of} where {len(parts)} was due")
        if not isinstance(result.data, list):
            raise ValueError("a part of a RESULT that is no list")  # noqa: TRY004 - what came is foreign
        parts.append(result)
        if len(parts) < result.of:
            self._open[result.kind] = parts
            return None
        self._open.pop(result.kind)
        return [item for part in parts for item in part.data]
