"""Cells of TON, typed and strict, on pytoniq-core.

With `mnemonic` the only module that imports pytoniq-core. Its reader returns short numbers where bits are missing
and its serialiser takes exponential time on shared sub-trees; here a short read is an error and a
bag of cells is written by a serialiser of our own. Never parse a bag of cells that a peer sent
(payments.md §2): only what we made ourselves, package data, and chain API answers, up to `MAX_BOC`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytoniq_core import Builder as _RawBuilder
from pytoniq_core import Cell as _RawCell
from pytoniq_core import HashMap as _RawHashMap
from pytoniq_core import Slice as _RawSlice
from pytoniq_core.crypto.crc import crc32c

from cocoon_sdk.errors import ChainDataError
from cocoon_sdk.ton.address import Address

MAX_BOC = 1 << 20
MAX_CELL_BITS = 1023
MAX_CELL_REFS = 4
MAX_COINS = (1 << 120) - 1

_MAGIC = b"\xb5\xee\x9c\x72"


class Cell:
    """An immutable cell: at most 1023 bits and four references to other cells."""

    __slots__ = ("raw",)

    def __init__(self, raw: _RawCell) -> None:
        self.raw: Any = raw

    @property
    def hash(self) -> bytes:
        """The representation hash, 32 bytes."""
        return bytes(self.raw.hash)

    @property
    def bit_length(self) -> int:
        """How many bits of data it holds."""
        return len(self.raw.bits)

    @property
    def refs(self) -> tuple[Cell, ...]:
        """The referenced cells."""
        return tuple(Cell(ref) for ref in self.raw.refs)

    def begin_parse(self) -> Slice:
        """A reader at the start of this cell.

        Raises:
            ChainDataError: an exotic cell (library, proof), which never holds our data.
        """
        if self.raw.is_exotic:
            raise ChainDataError("an exotic cell stands where an ordinary one was expected")
        return Slice(self.raw.begin_parse())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"Cell({self.bit_length} bits, {len(self.raw.refs)} refs, {self.hash.hex()[:16]}…)"


class Slice:
    """A reader of one cell. Every read past the end is a ChainDataError."""

    __slots__ = ("_raw",)

    def __init__(self, raw: _RawSlice) -> None:
        self._raw: Any = raw

    @property
    def bits_left(self) -> int:
        """How many bits are still unread."""
        return int(self._raw.remaining_bits)

    @property
    def refs_left(self) -> int:
        """How many references are still unread."""
        return int(self._raw.remaining_refs)

    def _need(self, bits: int) -> None:
        if self.bits_left < bits:
            raise ChainDataError(f"a cell ends early: {bits} bits wanted, {self.bits_left} left")

    def load_uint(self, bits: int) -> int:
        """An unsigned big-endian number."""
        self._need(bits)
        return int(self._raw.load_uint(bits)) if bits else 0

    def load_int(self, bits: int) -> int:
        """A signed big-endian number."""
        self._need(bits)
        return int(self._raw.load_int(bits)) if bits else 0

    def load_bool(self) -> bool:
        """One bit."""
        return self.load_uint(1) == 1

    def load_bytes(self, count: int) -> bytes:
        """`count` whole bytes."""
        self._need(count * 8)
        return bytes(self._raw.load_bytes(count))

    def load_coins(self) -> int:
        """An amount in nano: four bits of length, then that many bytes."""
        return self.load_uint(self.load_uint(4) * 8)

    def load_address(self) -> Address | None:
        """A standard internal address, or None for the empty one.

        Raises:
            ChainDataError: an external, anycast or variable address.
        """
        tag = self.load_uint(2)
        if tag == 0:
            return None
        if tag != 2 or self.load_bool():
            raise ChainDataError("an address is not a standard internal one")
        return Address(self.load_int(8), self.load_bytes(32))

    def load_ref(self) -> Cell:
        """The next reference."""
        if self.refs_left < 1:
            raise ChainDataError("a cell lacks a reference that its layout names")
        return Cell(self._raw.load_ref())

    def load_maybe_ref(self) -> Cell | None:
        """A reference behind a presence bit."""
        return self.load_ref() if self.load_bool() else None

    def load_dict(self, key_bits: int) -> dict[int, Slice]:
        """A hashmap with unsigned keys behind a presence bit.

        Only for cells that we or the devnet's executor made: the time is not bounded by the size.

        Raises:
            ChainDataError: malformed.
        """
        root = self.load_maybe_ref()
        if root is None:
            return {}
        try:
            parsed = _RawHashMap.parse(root.raw.begin_parse(), key_bits)
        except Exception as error:  # as in `cell_from_boc`
            raise ChainDataError("a dictionary is malformed") from error
        if parsed is None:
            raise ChainDataError("a dictionary has an exotic root")
        return {key: Slice(value) for key, value in parsed.items()}

    def rest(self) -> Cell:
        """Everything unread, as a cell of its own."""
        return Cell(self._raw.to_cell())

    def end(self) -> None:
        """Assert that nothing is left.

        Raises:
            ChainDataError: bits or references remain.
        """
        if self.bits_left or self.refs_left:
            raise ChainDataError(
                f"a cell is longer than its layout: {self.bits_left} bits and "
                f"{self.refs_left} references remain"
            )


class Builder:
    """A writer of one cell; calls chain. What does not fit is a ChainDataError."""

    __slots__ = ("_bits", "_raw")

    def __init__(self) -> None:
        self._raw: Any = _RawBuilder()
        self._bits = 0

    def _take(self, bits: int) -> None:
        self._bits += bits
        if self._bits > MAX_CELL_BITS:
            raise ChainDataError(f"a cell holds {MAX_CELL_BITS} bits, {self._bits} were stored")

    def store_uint(self, value: int, bits: int) -> Builder:
        """An unsigned big-endian number."""
        if not 0 <= value < 1 << bits:
            raise ChainDataError(f"{value} does not fit in {bits} unsigned bits")
        self._take(bits)
        if bits:
            self._raw.store_uint(value, bits)
        return self

    def store_int(self, value: int, bits: int) -> Builder:
        """A signed big-endian number."""
        if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
            raise ChainDataError(f"{value} does not fit in {bits} signed bits")
        self._take(bits)
        self._raw.store_int(value, bits)
        return self

    def store_bool(self, value: bool) -> Builder:
        """One bit."""
        return self.store_uint(int(value), 1)

    def store_bytes(self, value: bytes) -> Builder:
        """Whole bytes."""
        self._take(len(value) * 8)
        self._raw.store_bytes(value)
        return self

    def store_coins(self, nano: int) -> Builder:
        """An amount in nano, below 2^120."""
        size = (nano.bit_length() + 7) // 8
        if not 0 <= nano <= MAX_COINS:
            raise ChainDataError(f"{nano} nano is outside what a chain amount can hold")
        return self.store_uint(size, 4).store_uint(nano, size * 8)

    def store_address(self, address: Address | None) -> Builder:
        """A standard internal address, or the empty one for None."""
        if address is None:
            return self.store_uint(0, 2)
        return self.store_uint(0b100, 3).store_int(address.workchain, 8).store_bytes(address.hash)

    def store_ref(self, cell: Cell) -> Builder:
        """A reference."""
        if len(self._raw.refs) >= MAX_CELL_REFS:
            raise ChainDataError(f"a cell holds {MAX_CELL_REFS} references")
        self._raw.store_ref(cell.raw)
        return self

    def store_maybe_ref(self, cell: Cell | None) -> Builder:
        """A reference behind a presence bit; also how a dictionary is stored."""
        self.store_bool(cell is not None)
        return self if cell is None else self.store_ref(cell)

    def store_cell(self, cell: Cell) -> Builder:
        """The bits and references of `cell`, in place."""
        self._take(cell.bit_length)
        self._raw.store_bits(cell.raw.bits)
        for ref in cell.refs:
            self.store_ref(ref)
        return self

    def end_cell(self) -> Cell:
        """The finished cell."""
        return Cell(self._raw.end_cell())


def dict_cell(entries: Mapping[int, Cell], key_bits: int) -> Cell | None:
    """The root of a hashmap whose values are the contents of the given cells; None when empty."""
    hashmap = _RawHashMap(key_bits)
    for key, value in entries.items():
        if not 0 <= key < 1 << key_bits:
            raise ChainDataError(f"the dictionary key {key} does not fit in {key_bits} bits")
        hashmap.set_int_key(key, value.raw)
    root = hashmap.serialize()
    return None if root is None else Cell(root)


def cell_to_boc(cell: Cell) -> bytes:
    """A bag of cells with one root, no index, with CRC32C; linear in the number of distinct cells."""
    order: list[Any] = []
    seen: set[bytes] = set()
    stack: list[tuple[Any, bool]] = [(cell.raw, False)]
    while stack:
        raw, done = stack.pop()
        if done:
            order.append(raw)
        elif raw.hash not in seen:
            seen.add(raw.hash)
            stack.append((raw, True))
            stack.extend((ref, False) for ref in raw.refs)
    order.reverse()  # children were finished before their parents, so now parents come first
    index = {raw.hash: position for position, raw in enumerate(order)}
    width = (len(order).bit_length() + 7) // 8
    body = bytearray()
    for raw in order:
        body += raw.get_descriptors(raw.level_mask) + raw.data
        for ref in raw.refs:
            body += index[ref.hash].to_bytes(width, "big")
    offset_width = (len(body).bit_length() + 7) // 8
    head = _MAGIC + bytes((0x40 | width, offset_width))
    head += len(order).to_bytes(width, "big") + (1).to_bytes(width, "big") + bytes(width)
    head += len(body).to_bytes(offset_width, "big") + bytes(width)
    bag = head + bytes(body)
    return bag + bytes(crc32c(bag))


def cell_from_boc(boc: bytes) -> Cell:
    """The single root of a bag of cells that we made, or that a chain API answered.

    Raises:
        ChainDataError: too large, malformed, or not exactly one root.
    """
    if len(boc) > MAX_BOC:
        raise ChainDataError(f"a bag of cells of {len(boc)} bytes exceeds {MAX_BOC}")
    try:
        roots = _RawCell.from_boc(boc)
    except Exception as error:  # pytoniq-core raises plain Exceptions and whatever Python gives
        raise ChainDataError("a bag of cells is malformed") from error
    if len(roots) != 1:
        raise ChainDataError(f"a bag of cells has {len(roots)} roots, expected one")
    return Cell(roots[0])
