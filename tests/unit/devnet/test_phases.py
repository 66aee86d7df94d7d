"""Each phase as block.tlb lays it out, built here bit by bit."""

from __future__ import annotations

import pytest

from cocoon_sdk.devnet.phases import (
    ActionResult,
    ComputeResult,
    load_short,
    read_action_phase,
    read_bounce_phase,
    read_compute_phase,
    read_storage_phase,
    skip_credit_phase,
)
from cocoon_sdk.ton.cells import Builder, Slice

END = 0b1011  # follows each phase here: what a reader has to leave untouched


def parse(builder: Builder) -> Slice:
    return builder.store_uint(END, 4).end_cell().begin_parse()


def used(reader: Slice) -> bool:
    return reader.load_uint(4) == END


def short(builder: Builder, value: int, length_bits: int) -> Builder:
    size = (value.bit_length() + 7) // 8
    builder.store_uint(size, length_bits)
    return builder.store_uint(value, size * 8) if size else builder


@pytest.mark.parametrize(("value", "bits"), [(0, 2), (1, 3), (255, 3), (256, 2), (2**56 - 1, 3)])
def test_numbers_of_variable_length(value: int, bits: int) -> None:
    reader = parse(short(Builder(), value, bits))
    assert load_short(reader, bits) == value
    assert used(reader)


@pytest.mark.parametrize("due", [None, 9])
@pytest.mark.parametrize("change", ["0", "10", "11"])
def test_storage(due: int | None, change: str) -> None:
    builder = Builder().store_coins(1234).store_bool(due is not None)
    if due is not None:
        builder.store_coins(due)
    reader = parse(builder.store_uint(int(change, 2), len(change)))
    assert read_storage_phase(reader) == 1234
    assert used(reader)


@pytest.mark.parametrize("due", [None, 9])
def test_credit(due: int | None) -> None:
    builder = Builder().store_bool(due is not None)
    if due is not None:
        builder.store_coins(due)
    reader = parse(builder.store_coins(500).store_bool(False))
    skip_credit_phase(reader)
    assert used(reader)


@pytest.mark.parametrize(
    ("bits", "reason"),
    [("00", "no_state"), ("01", "bad_state"), ("10", "no_gas"), ("110", "suspended")],
)
def test_code_that_did_not_run(bits: str, reason: str) -> None:
    reader = parse(Builder().store_bool(False).store_uint(int(bits, 2), len(bits)))
    assert read_compute_phase(reader) == ComputeResult(reason)
    assert used(reader)


@pytest.mark.parametrize("credit", [None, 10_000])
def test_code_that_ran(credit: int | None) -> None:
    inner = short(short(Builder(), 4321, 3), 1_000_000, 3).store_bool(credit is not None)
    if credit is not None:
        short(inner, credit, 2)
    inner.store_int(0, 8).store_int(-14, 32).store_bool(False).store_uint(99, 32)
    outer = Builder().store_uint(0b1_0_01, 4).store_coins(777).store_ref(inner.end_cell())
    reader = parse(outer)
    assert read_compute_phase(reader) == ComputeResult("", False, -14, 4321, 777)
    assert used(reader)


@pytest.mark.parametrize("fees", [None, (60, 40)])
@pytest.mark.parametrize("argument", [None, 7])
def test_actions(fees: tuple[int, int] | None, argument: int | None) -> None:
    builder = Builder().store_uint(0b101_0, 4)
    for number in (0, 1):
        builder.store_bool(fees is not None)
        if fees is not None:
            builder.store_coins(fees[number])
    builder.store_int(-32, 32).store_bool(argument is not None)
    if argument is not None:
        builder.store_int(argument, 32)
    for count in (5, 4, 3, 2):  # all, special, skipped, messages created
        builder.store_uint(count, 16)
    forward, action = fees or (0, 0)
    assert read_action_phase(builder.end_cell().begin_parse()) == ActionResult(
        *(True, False, True, -32, forward, action, 5, 3, 2)
    )


def sizes(builder: Builder) -> Builder:
    return short(short(builder, 1, 3), 300, 3)


@pytest.mark.parametrize(
    ("builder", "bounced"),
    [
        (Builder().store_uint(0b00, 2), False),
        (sizes(Builder().store_uint(0b01, 2)).store_coins(5), False),
        (sizes(Builder().store_bool(True)).store_coins(5).store_coins(6), True),
    ],
)
def test_bounces(builder: Builder, bounced: bool) -> None:
    reader = parse(builder)
    assert read_bounce_phase(reader) is bounced
    assert used(reader)
