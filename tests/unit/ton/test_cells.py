"""Cells: exact hashes, strict reads and writes, and bags of cells that others can read."""

from __future__ import annotations

import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytoniq_core import Cell as PeerCell

from cocoon_sdk.errors import ChainDataError
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import MAX_BOC, Builder, Cell, cell_from_boc, cell_to_boc, dict_cell

EMPTY_HASH = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"


def test_hash_of_the_empty_cell_and_of_a_written_one() -> None:
    assert Builder().end_cell().hash.hex() == EMPTY_HASH
    cell = Builder().store_uint(0xABCD, 16).end_cell()
    assert cell.hash == hashlib.sha256(b"\x00\x04\xab\xcd").digest()


def test_all_kinds_round_trip() -> None:
    address = Address(-1, bytes(range(32)))
    inner = Builder().store_bytes(b"inner").end_cell()
    cell = (
        Builder()
        .store_uint(5, 3)
        .store_int(-5, 32)
        .store_bool(value=True)
        .store_coins(10**18)
        .store_coins(0)
        .store_address(address)
        .store_address(None)
        .store_maybe_ref(None)
        .store_maybe_ref(inner)
        .end_cell()
    )
    s = cell_from_boc(cell_to_boc(cell)).begin_parse()
    assert s.load_uint(3) == 5
    assert s.load_int(32) == -5
    assert s.load_bool()
    assert s.load_coins() == 10**18
    assert s.load_coins() == 0
    assert s.load_address() == address
    assert s.load_address() is None
    assert s.load_maybe_ref() is None
    assert s.load_maybe_ref() == inner
    s.end()


def test_short_reads_are_errors() -> None:
    cell = Builder().store_uint(0b1000000, 7).end_cell()
    for read in (
        lambda s: s.load_uint(8),
        lambda s: s.load_int(8),
        lambda s: s.load_bytes(1),
        lambda s: s.load_address(),
        lambda s: s.load_ref(),
    ):
        with pytest.raises(ChainDataError):
            read(cell.begin_parse())
    with pytest.raises(ChainDataError):
        cell.begin_parse().end()
    with pytest.raises(ChainDataError):  # length 15 with no bytes behind it
        Builder().store_uint(15, 4).end_cell().begin_parse().load_coins()


def test_external_and_anycast_addresses_are_refused() -> None:
    for bits in (0b01, 0b11):
        with pytest.raises(ChainDataError):
            Builder().store_uint(bits, 2).store_uint(0, 300).end_cell().begin_parse().load_address()
    anycast = Builder().store_uint(0b101, 3).store_uint(0, 300).end_cell()
    with pytest.raises(ChainDataError):
        anycast.begin_parse().load_address()


def test_what_does_not_fit_is_an_error() -> None:
    for write in (
        lambda b: b.store_uint(256, 8),
        lambda b: b.store_uint(-1, 8),
        lambda b: b.store_int(128, 8),
        lambda b: b.store_int(-129, 8),
        lambda b: b.store_coins(1 << 120),
        lambda b: b.store_coins(-1),
        lambda b: b.store_bytes(bytes(128)),
    ):
        with pytest.raises(ChainDataError):
            write(Builder())
    full = Builder()
    for _ in range(4):
        full.store_ref(Builder().end_cell())
    with pytest.raises(ChainDataError):
        full.store_ref(Builder().end_cell())


@given(st.dictionaries(st.integers(0, 2**15 - 1), st.integers(0, 2**32 - 1), max_size=20))
def test_dictionaries_round_trip(entries: dict[int, int]) -> None:
    root = dict_cell({k: Builder().store_uint(v, 32).end_cell() for k, v in entries.items()}, 15)
    s = Builder().store_maybe_ref(root).end_cell().begin_parse()
    assert {key: value.load_uint(32) for key, value in s.load_dict(15).items()} == entries


def test_no_bits_are_zero() -> None:
    s = Builder().end_cell().begin_parse()
    assert s.load_int(0) == s.load_uint(0) == 0


def test_a_malformed_dictionary_is_refused() -> None:
    leaf = Builder().store_uint(0, 2).end_cell()
    s = Builder().store_maybe_ref(leaf).end_cell().begin_parse()
    with pytest.raises(ChainDataError, match="dictionary"):
        s.load_dict(8)


def test_dictionary_keys_must_fit() -> None:
    with pytest.raises(ChainDataError):
        dict_cell({16: Builder().end_cell()}, 4)


def _ladder(depth: int) -> Cell:
    cell = Builder().store_uint(7, 8).end_cell()
    for level in range(depth):
        cell = Builder().store_uint(level, 16).store_ref(cell).store_ref(cell).end_cell()
    return cell


def test_a_shared_tree_is_written_once_and_quickly() -> None:
    cell = _ladder(200)  # 2^200 paths
    start = time.monotonic()
    boc = cell_to_boc(cell)
    assert time.monotonic() - start < 5
    assert len(boc) < 201 * 8 + 40
    assert cell_from_boc(boc) == cell


def test_an_independent_reader_and_writer_agree() -> None:
    cell = _ladder(5)
    assert PeerCell.one_from_boc(cell_to_boc(cell)).hash == cell.hash
    assert cell_from_boc(cell.raw.to_boc()) == cell


def test_malformed_bags_are_refused() -> None:
    boc = cell_to_boc(_ladder(3))
    flipped = bytearray(boc)
    flipped[-10] ^= 1
    for bad in (
        b"",
        b"\xb5\xee\x9c\x72",
        boc[:-1],
        boc + b"\0",
        bytes(flipped),
        bytes(MAX_BOC + 1),
    ):
        with pytest.raises(ChainDataError):
            cell_from_boc(bad)


def test_exotic_cells_are_never_parsed() -> None:
    library = PeerCell(Builder().store_uint(2, 8).store_bytes(bytes(32)).end_cell().raw.bits, [], 2)
    with pytest.raises(ChainDataError):
        Cell(library).begin_parse()
