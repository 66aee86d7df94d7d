"""Reading the phases of an ordinary transaction (block.tlb, `TransactionDescr`)."""

from __future__ import annotations

from dataclasses import dataclass

from cocoon_sdk.devnet.messages import load_currency
from cocoon_sdk.ton.cells import Slice


@dataclass(frozen=True, slots=True)
class ComputeResult:
    """The compute phase; `skip_reason` is empty where code ran."""

    skip_reason: str
    success: bool = False
    exit_code: int = 0
    gas_used: int = 0
    gas_fee: int = 0


@dataclass(frozen=True, slots=True)
class ActionResult:
    """The action phase."""

    success: bool
    valid: bool
    no_funds: bool
    result_code: int
    forward_fees: int
    action_fees: int
    total: int
    skipped: int
    created: int


def load_short(reader: Slice, length_bits: int) -> int:
    """`VarUInteger`: a length in bytes, then the number."""
    return reader.load_uint(reader.load_uint(length_bits) * 8)


def _status_change(reader: Slice) -> None:
    if reader.load_bool():
        reader.load_bool()


def read_storage_phase(reader: Slice) -> int:
    """The rent that was collected."""
    fee = reader.load_coins()
    if reader.load_bool():
        reader.load_coins()
    _status_change(reader)
    return fee


def skip_credit_phase(reader: Slice) -> None:
    """Step over the credit phase, which says nothing that the message does not."""
    if reader.load_bool():
        reader.load_coins()
    load_currency(reader)


def read_compute_phase(reader: Slice) -> ComputeResult:
    """Whether and how code ran."""
    if not reader.load_bool():
        reason = ("no_state", "bad_state", "no_gas", "suspended")[reader.load_uint(2)]
        if reason == "suspended":
            reader.load_bool()
        return ComputeResult(reason)
    success = reader.load_bool()
    reader.load_uint(2)
    fee = reader.load_coins()
    inner = reader.load_ref().begin_parse()
    gas_used = load_short(inner, 3)
    load_short(inner, 3)
    if inner.load_bool():
        load_short(inner, 2)
    inner.load_uint(8)
    return ComputeResult("", success, inner.load_int(32), gas_used, fee)


def read_action_phase(reader: Slice) -> ActionResult:
    """What became of the actions."""
    success, valid, no_funds = (reader.load_bool() for _ in range(3))
    _status_change(reader)
    forward_fees = reader.load_coins() if reader.load_bool() else 0
    action_fees = reader.load_coins() if reader.load_bool() else 0
    result_code = reader.load_int(32)
    if reader.load_bool():
        reader.load_uint(32)
    total, _, skipped, created = (reader.load_uint(16) for _ in range(4))
    return ActionResult(
        success, valid, no_funds, result_code, forward_fees, action_fees, total, skipped, created
    )


def read_bounce_phase(reader: Slice) -> bool:
    """Whether the message was sent back."""
    if reader.load_bool():
        load_short(reader, 3)
        load_short(reader, 3)
        reader.load_coins()
        reader.load_coins()
        return True
    if reader.load_bool():  # no funds for it; else the message had carried none
        load_short(reader, 3)
        load_short(reader, 3)
        reader.load_coins()
    return False
