"""Messages of TON: external ones that we send, internal ones that wallets put into them.

Layouts are those of block.tlb: `ext_in_msg_info$10`, `int_msg_info$0`, `StateInit`.
"""

from __future__ import annotations

from cocoon_sdk.errors import ChainDataError
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import MAX_CELL_BITS, MAX_CELL_REFS, Builder, Cell, Slice

_EXTERNAL_IN = 0b10


def state_init(code: Cell, data: Cell) -> Cell:
    """`StateInit` with code and data and nothing else; an address is its hash."""
    return Builder().store_uint(0b00110, 5).store_ref(code).store_ref(data).end_cell()


def external_message(destination: Address, body: Cell, init: Cell | None = None) -> Cell:
    """An external message from nobody, import fee 0, body in a reference.

    Without `init` this already is the normal form, so that its own hash is the normalised one.
    """
    builder = Builder().store_uint(_EXTERNAL_IN, 2).store_address(None).store_address(destination)
    builder.store_coins(0)
    if init is None:
        builder.store_bool(False)
    else:
        builder.store_uint(0b11, 2).store_ref(init)
    return builder.store_bool(True).store_ref(body).end_cell()


def internal_message(
    destination: Address, value: int, *, bounce: bool, body: Cell | None, init: Cell | None
) -> Cell:
    """A message that a contract sends; source, fees and time are filled in by the network.

    Init and body go in place where they fit, else into references.
    """
    builder = (
        Builder()
        .store_uint(0b01, 2)  # internal, hypercube routing disabled
        .store_bool(bounce)
        .store_bool(False)  # not bounced
        .store_address(None)
        .store_address(destination)
        .store_coins(value)
        .store_bool(False)  # no extra currencies
        .store_coins(0)
        .store_coins(0)
        .store_uint(0, 64)
        .store_uint(0, 32)
    )
    head = builder.end_cell()
    bits, refs = head.bit_length + 1, 0
    builder = Builder().store_cell(head).store_bool(init is not None)
    if init is not None:
        in_place = bits + 2 + init.bit_length <= MAX_CELL_BITS
        builder.store_bool(not in_place)
        if in_place:
            builder.store_cell(init)
            bits, refs = bits + 1 + init.bit_length, len(init.refs)
        else:
            builder.store_ref(init)
            bits, refs = bits + 1, 1
    content = body if body is not None else Builder().end_cell()
    in_place = (
        bits + 1 + content.bit_length <= MAX_CELL_BITS and refs + len(content.refs) <= MAX_CELL_REFS
    )
    builder.store_bool(not in_place)
    return (builder.store_cell(content) if in_place else builder.store_ref(content)).end_cell()


def split_external(message: Cell) -> tuple[Address, Cell | None, Cell]:
    """Destination, state init and body of an external message.

    Raises:
        ChainDataError: not an external inbound message to a standard address.
    """
    reader = message.begin_parse()
    if reader.load_uint(2) != _EXTERNAL_IN:
        raise ChainDataError("not an external inbound message")
    _skip_external_address(reader)
    destination = reader.load_address()
    if destination is None:
        raise ChainDataError("an external message has no destination")
    reader.load_coins()
    init = None
    if reader.load_bool():
        init = reader.load_ref() if reader.load_bool() else _inline_init(reader)
    body = reader.load_ref() if reader.load_bool() else reader.rest()
    return destination, init, body


def normalised_hash(message: Cell) -> bytes:
    """The hash by which an external message is known in whatever form it was sent (TEP-467).

    It is that of the form without source, import fee and state init and with the body in a
    reference.
    """
    destination, _, body = split_external(message)
    return external_message(destination, body).hash


def _skip_external_address(reader: Slice) -> None:
    tag = reader.load_uint(2)
    if tag == 0b01:
        reader.load_uint(reader.load_uint(9))
    elif tag != 0:
        raise ChainDataError("an external message has an internal source")


def _inline_init(reader: Slice) -> Cell:
    """A `StateInit` that stands in place: optional depth and special bits, then three references."""
    builder = Builder()
    for width in (5, 2):
        present = reader.load_bool()
        builder.store_bool(present)
        if present:
            builder.store_uint(reader.load_uint(width), width)
    for _ in range(3):
        builder.store_maybe_ref(reader.load_maybe_ref())
    return builder.end_cell()
