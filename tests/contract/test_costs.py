"""The numbers in the documentation are those that the executor measures."""

from __future__ import annotations

from pathlib import Path

import pytest

from cocoon_sdk.ton.contract.constants import (
    ATTACHED,
    MIN_OPENING,
    RENT_RESERVE,
    ContractError,
    Op,
)

from .costs import measure, table

pytestmark = pytest.mark.contract

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "contract.md"


def test_the_table_in_the_docs_is_what_is_measured() -> None:
    page = PAGE.read_text("utf-8")
    documented = page.split("<!-- costs -->\n")[1].split("\n<!-- end of costs -->")[0]
    assert documented == table(), "run: python scripts/contract_costs.py --write"


def test_the_docs_name_every_opcode_error_and_amount() -> None:
    page = PAGE.read_text("utf-8")
    for op in Op:
        assert f"`{op:#010x}`" in page, op.name
    for error in ContractError:
        assert f"\n| {error.value} |" in page, error.name
    for amount in (ATTACHED, MIN_OPENING, RENT_RESERVE):
        assert f"{amount:,} nano" in page


def test_every_operation_stays_far_below_the_attached_value() -> None:
    for name, gas, new, old in measure():
        assert gas < 9_000, name
        assert new * 20 < ATTACHED, name
        assert old * 4 < ATTACHED, name
