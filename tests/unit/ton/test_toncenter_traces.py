"""When a trace is final, and whether each transaction of it did what it was sent for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cocoon_sdk.errors import ChainDataError
from cocoon_sdk.ton import toncenter_types as api
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.toncenter_traces import confirmed

ACCOUNT = Address(0, b"\x33" * 32)
RAN = {"compute_ph": {"success": True, "exit_code": 0}}


def row(lt: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "account": ACCOUNT.raw.upper(),
        "lt": str(lt),
        "now": 1_780_000_000,
        "total_fees": "5",
        "end_status": "active",
        "description": RAN,
    } | changes


def trace(*rows: dict[str, Any], **changes: Any) -> api.Trace:
    fields = {
        "is_incomplete": False,
        "trace_info": {"trace_state": "complete"},
        "transactions": {str(number): value for number, value in enumerate(rows)},
    }
    return msgspec.convert(fields | changes, api.Trace)


@pytest.mark.parametrize(
    "changes",
    [
        {"is_incomplete": True},
        {"trace_info": {"trace_state": "pending"}},
        {"trace_info": {"trace_state": "complete", "pending_messages": 1}},
        {"transactions": {}},
        {"transactions": {"a": row(), "b": row(emulated=True)}},
        {"transactions": {"a": row(), "b": row(finality="confirmed")}},
        {"transactions": {"a": row(), "b": row(finality=2)}},
    ],
)
def test_not_final_yet(changes: dict[str, Any]) -> None:
    assert confirmed(trace(row(), **changes)) is None


@pytest.mark.parametrize("finality", [{}, {"finality": None}, {"finality": "finalized"}])
def test_final(finality: dict[str, Any]) -> None:
    found = confirmed(trace(row(3, **finality), row(1), row(2)))
    assert found is not None
    assert [info.lt for info in found] == [1, 2, 3]


def outcome(**changes: Any) -> tuple[bool, int | None]:
    found = confirmed(trace(row(**changes)))
    assert found is not None
    return found[0].success, found[0].exit_code


SKIPPED = {"skipped": True}


@pytest.mark.parametrize(
    ("description", "status", "expected"),
    [
        (RAN, "active", (True, 0)),
        (RAN | {"action": {"success": True}}, "active", (True, 0)),
        (RAN | {"action": {"success": True}}, "nonexist", (True, 0)),  # destroyed on purpose
        (RAN | {"action": {"success": True, "skipped_actions": 1}}, "active", (False, 0)),
        (RAN | {"action": {"success": False, "result_code": 37}}, "active", (False, 37)),
        ({"compute_ph": {"exit_code": 108}}, "active", (False, 108)),
        ({"compute_ph": SKIPPED}, "uninit", (True, None)),  # a plain wallet keeps the value
        ({"compute_ph": SKIPPED | {"exit_code": 5}}, "uninit", (True, None)),
        ({"compute_ph": SKIPPED, "bounce": {}}, "uninit", (False, None)),
        ({"compute_ph": SKIPPED}, "frozen", (False, None)),
        ({}, "active", (False, None)),
    ],
)
def test_success_means_that_everything_was_carried_out(
    description: dict[str, Any], status: str, expected: tuple[bool, int | None]
) -> None:
    assert outcome(description=description, end_status=status) == expected


@pytest.mark.parametrize(
    ("opcode", "expected"),
    [
        (None, None),
        ("0x6d1a3f02", 0x6D1A3F02),
        ("0X6d1a3f02", None),
        ("0x0", 0),
        (-1, 0xFFFFFFFF),
        ("-2147483648", 0x80000000),
        (0xFFFFFFFF, 0xFFFFFFFF),
    ],
)
def test_opcodes_in_both_spellings(opcode: int | str | None, expected: int | None) -> None:
    message = {"hash": "", "value": "7", "opcode": opcode}
    if opcode == "0X6d1a3f02":
        with pytest.raises(ChainDataError, match="opcode"):
            confirmed(trace(row(in_msg=message)))
        return
    found = confirmed(trace(row(in_msg=message)))
    assert found is not None
    assert (found[0].in_opcode, found[0].in_value) == (expected, 7)


@pytest.mark.parametrize(
    "changes",
    [
        {"account": "x" * 500},
        {"lt": "-1"},
        {"total_fees": "1.5"},
        {"in_msg": {"hash": "", "value": "-7"}},
        {"in_msg": {"hash": "", "opcode": "-2147483649"}},
    ],
)
def test_contradictions_are_errors(changes: dict[str, Any]) -> None:
    with pytest.raises(ChainDataError) as caught:
        confirmed(trace(row(**changes)))
    assert len(str(caught.value)) < 200


def test_an_external_message_brings_no_value() -> None:
    found = confirmed(trace(row(in_msg={"hash": "", "value": None}), row(2)))
    assert found is not None
    assert [(info.in_value, info.in_opcode, info.account) for info in found] == [
        (0, None, ACCOUNT)
    ] * 2
