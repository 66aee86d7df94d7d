"""Incremental decoding: text as soon as it is certain, together with exactly the ids it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

REPLACEMENT = "\ufffd"
# More ids than this without certain text are broken bytes, not a character in the making ...
MAX_PENDING = 16
# ... of which the last few may still begin one: UTF-8 takes at most four bytes, so three are open.
OPEN_TAIL = 4
# Ids before the pending ones that decide how they decode (a leading space, in some tokenizers).
CONTEXT = 4


class Decoded(NamedTuple):
    """Text and the ids that it decodes from."""

    text: str
    ids: tuple[int, ...]


class StreamDecoder:
    """Decodes ids one at a time.

    All texts given out, joined, are the decoding of all their ids, joined.

    Args:
        decode: Text of a whole list of ids.
        after: Ids that came before, as context; their text is not given out.
    """

    def __init__(self, decode: Callable[[Iterable[int]], str], after: Sequence[int] = ()) -> None:
        self._decode = decode
        self._context = list(after[-CONTEXT:])
        self._pending: list[int] = []

    def push(self, token: int) -> str | None:
        """The text that this id completes, or None while a character is incomplete."""
        decoded = self.push_ids(token)
        return decoded.text if decoded else None

    def push_ids(self, token: int) -> Decoded | None:
        """Like `push`, with the ids that the text comes from."""
        self._pending.append(token)
        text = self._text(len(self._pending))
        if text and not text.endswith(REPLACEMENT):
            return self._take(len(self._pending), text)
        if len(self._pending) > MAX_PENDING:
            return self._broken(text)
        return None

    @property
    def pending(self) -> tuple[int, ...]:
        """Ids whose text is not certain yet."""
        return tuple(self._pending)

    def _broken(self, whole: str) -> Decoded | None:
        """Give out the part of a run of broken bytes that no later byte can change."""
        for cut in range(len(self._pending) - OPEN_TAIL, 0, -1):
            head = self._text(cut)
            rest = self._decode(self._pending[cut:])
            if head and head + rest == whole:
                return self._take(cut, head)
        return None

    def _text(self, count: int) -> str:
        before = self._decode(self._context) if self._context else ""
        return self._decode(self._context + self._pending[:count])[len(before) :]

    def _take(self, count: int, text: str) -> Decoded:
        ids = tuple(self._pending[:count])
        self._context = [*self._context, *ids][-CONTEXT:]
        del self._pending[:count]
        return Decoded(text, ids)
