"""Reading messages as the network stores them (block.tlb, `Message Any`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Cell, Slice


@dataclass(frozen=True, slots=True)
class Message:
    """A message in or out of a transaction. External ones have no source, value or fees."""

    cell: Cell
    kind: Literal["internal", "external", "event"]
    source: Address | None
    destination: Address | None
    value: int = 0
    forward_fee: int = 0
    created_lt: int = 0
    created_at: int = 0
    bounce: bool = False
    bounced: bool = False
    body: Cell | None = None

    @property
    def opcode(self) -> int | None:
        """The first 32 bits of the body, if it has as many."""
        if self.body is None or self.body.bit_length < 32:
            return None
        return self.body.begin_parse().load_uint(32)


def read_message(cell: Cell) -> Message:
    """A message with its envelope; an init is skipped over."""
    reader = cell.begin_parse()
    if not reader.load_bool():
        reader.load_bool()
        bounce, bounced = reader.load_bool(), reader.load_bool()
        source, destination = reader.load_address(), reader.load_address()
        value = load_currency(reader)
        reader.load_coins()
        forward_fee = reader.load_coins()
        created_lt, created_at = reader.load_uint(64), reader.load_uint(32)
        body = _body(reader)
        return Message(
            cell, "internal", source, destination, value, forward_fee, created_lt, created_at,
            bounce, bounced, body,
        )  # fmt: skip
    if reader.load_bool():
        source = reader.load_address()
        return Message(cell, "event", source, None)
    _skip_external_address(reader)
    destination = reader.load_address()
    reader.load_coins()
    return Message(cell, "external", None, destination, body=_body(reader))


def load_currency(reader: Slice) -> int:
    """An amount in nano; extra currencies beside it are skipped."""
    nano = reader.load_coins()
    reader.load_maybe_ref()
    return nano


def _skip_external_address(reader: Slice) -> None:
    if reader.load_uint(2) == 1:
        reader.load_uint(reader.load_uint(9))


def _body(reader: Slice) -> Cell:
    if reader.load_bool():
        if reader.load_bool():
            reader.load_ref()
        else:
            if reader.load_bool():
                reader.load_uint(5)
            if reader.load_bool():
                reader.load_uint(2)
            for _ in range(3):
                reader.load_maybe_ref()
    return reader.load_ref() if reader.load_bool() else reader.rest()
