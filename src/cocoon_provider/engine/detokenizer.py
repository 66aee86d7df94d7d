"""Tokens to pieces of text, with stop strings found across token borders.

Text that may be the beginning of a stop string is held back until it is certain. Whatever is given out
keeps the invariant of `Piece`: the ids given out decode to the text given out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from cocoon_sdk.tokens.stream import Decoded
from cocoon_sdk.tokens.tokenizer import Tokenizer


class Detokenizer:
    """One answer's text.

    Args:
        tokenizer: The model's.
        stops: Strings that end the answer; they and what follows are not given out.
        given: Ids of a resume, whose text was delivered before.
    """

    def __init__(
        self, tokenizer: Tokenizer, stops: Sequence[str] = (), given: Sequence[int] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self._stops = tuple(stops)
        self._stream = tokenizer.stream(after=given)
        self._held: deque[Decoded] = deque()
        self.stopped = False

    def push(self, token: int) -> list[Decoded]:
        """Take a token; return what is certain now. Sets `stopped` at a stop string."""
        decoded = self._stream.push_ids(token)
        if decoded is None:
            return []
        self._held.append(decoded)
        text = "".join(part.text for part in self._held)
        found = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self.stopped = True
            return self._cut(min(found))
        return self._release(len(text) - self._open(text))

    def finish(self) -> list[Decoded]:
        """The answer ends here: what was held back is text. An unfinished character is dropped."""
        return self._release(sum(len(part.text) for part in self._held))

    def _open(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        return max((_overlap(text, stop) for stop in self._stops), default=0)

    def _release(self, chars: int) -> list[Decoded]:
        """Whole parts within the first `chars` characters."""
        released: list[Decoded] = []
        while self._held and len(self._held[0].text) <= chars:
            part = self._held.popleft()
            chars -= len(part.text)
            released.append(part)
        return released

    def _cut(self, chars: int) -> list[Decoded]:
        """What stands before a stop string, which may begin inside of a part."""
        released = self._release(chars)
        left = chars - sum(len(part.text) for part in released)
        if left:
            text = self._held[0].text[:left]
            # Encoded anew, it may take more ids than were chosen; then its end is given up. So it is
            # where a tokenizer that normalises does not give the text back.
            ids = self._tokenizer.encode(text)[: sum(len(part.ids) for part in self._held)]
            while ids and not text.startswith(self._tokenizer.decode(ids)):
                ids.pop()
            if ids:
                released.append(Decoded(self._tokenizer.decode(ids), tuple(ids)))
        self._held.clear()
        return released


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`, less than all of it."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
