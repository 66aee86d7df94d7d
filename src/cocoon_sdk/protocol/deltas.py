"""Cutting streamed text into DELTA frames that fit one cell each (wire.md, "Frames")."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cocoon_sdk.protocol.frames import MAX_DELTA
from cocoon_sdk.protocol.messages import Channel, Delta

# MessagePack: array header and channel 1 byte each, `seq` at most 5, string header 2, ids header 3.
_FIXED = 1 + 1 + 5 + 2 + 3


def split_delta(
    first_seq: int, choice: int, channel: Channel, pieces: Iterable[tuple[str, Sequence[int]]]
) -> list[Delta]:
    """The fewest DELTAs, numbered from `first_seq`, that carry these (text, token ids) in order.

    A piece stays whole where it fits one DELTA, so that the ids of each DELTA decode to its text.
    One that does not fit is cut: all of its text first, then its ids with the text's last part.
    """
    deltas: list[Delta] = []
    text, ids = "", list[int]()
    room = MAX_DELTA - _FIXED - _int_size(choice)
    left = room

    def flush() -> None:
        nonlocal text, ids, left
        if text or ids:
            deltas.append(Delta(first_seq + len(deltas), choice, channel, text, ids))
        text, ids, left = "", [], room

    for piece, piece_ids in pieces:
        need = _text_size(piece) + _ids_size(piece_ids)
        if need > left:
            flush()
        if need <= room:
            text += piece
            ids.extend(piece_ids)
            left -= need
            continue
        for atom, atom_ids in _atoms(piece, piece_ids):
            size = _text_size(atom) + _ids_size(atom_ids)
            if size > left:
                flush()
            text += atom
            ids.extend(atom_ids)
            left -= size
    flush()
    return deltas


def _atoms(text: str, ids: Sequence[int]) -> Iterable[tuple[str, Sequence[int]]]:
    for char in text:
        yield char, ()
    for token in ids:
        yield "", (token,)


def _text_size(text: str) -> int:
    return len(text.encode())


def _ids_size(ids: Sequence[int]) -> int:
    return sum(map(_int_size, ids))


def _int_size(value: int) -> int:
    """Bytes of a non-negative integer in MessagePack."""
    if value < 0x80:
        return 1
    if value < 0x100:
        return 2
    return 3 if value < 0x10000 else 5
