"""The configuration cell, read back parameter by parameter."""

from __future__ import annotations

from cocoon_sdk.devnet.blockchain_config import (
    FEES_2024,
    FEES_2026,
    Fees,
    blockchain_config,
)
from cocoon_sdk.ton.cells import Builder, Slice, cell_from_boc, cell_to_boc


def parameter(number: int, *, fees: Fees = FEES_2026) -> Slice:
    config = Builder().store_bool(True).store_ref(blockchain_config(-217, fees=fees)).end_cell()
    parameters = config.begin_parse().load_dict(32)
    return parameters[number].load_ref().begin_parse()


def test_the_configuration_is_a_dictionary_of_its_parameters() -> None:
    config = cell_from_boc(cell_to_boc(blockchain_config(-239, version=11)))
    parameters = Builder().store_bool(True).store_ref(config).end_cell().begin_parse().load_dict(32)
    assert sorted(parameters) == [0, 1, 8, 12, 18, 19, 20, 21, 24, 25, 31]
    assert parameters[19].load_ref().begin_parse().load_int(32) == -239
    version = parameters[8].load_ref().begin_parse()
    assert (version.load_uint(8), version.load_uint(32)) == (0xC4, 11)


def gas_price(number: int, fees: Fees) -> tuple[int, int]:
    reader = parameter(number, fees=fees)
    assert (reader.load_uint(8), reader.load_uint(64)) == (0xD1, 100)
    flat = reader.load_uint(64)
    assert reader.load_uint(8) == 0xDE
    return flat, reader.load_uint(64)


def message_prices(number: int, fees: Fees) -> tuple[int, int, int]:
    reader = parameter(number, fees=fees)
    assert reader.load_uint(8) == 0xEA
    return reader.load_uint(64), reader.load_uint(64), reader.load_uint(64)


def test_fees_of_both_workchains() -> None:
    """payments.md §1: 66.67 nano per gas, message lump 66,667 nano; the masterchain asks 25 times that."""
    flat, gas = gas_price(21, FEES_2026)
    assert (flat, round(gas / 65_536, 2)) == (6_667, 66.67)
    assert gas_price(20, FEES_2026) == (25 * flat, 25 * gas)
    lump, bit, cell = message_prices(25, FEES_2026)
    assert (lump, cell) == (66_667, 100 * bit - 33)
    assert message_prices(24, FEES_2026) == (25 * lump, 25 * bit, 25 * cell)


def test_storage_prices_are_per_cell_since_2026() -> None:
    for fees, expected in ((FEES_2026, (0, 135)), (FEES_2024, (1, 500))):
        root = parameter(18, fees=fees).rest()
        reader = Builder().store_bool(True).store_ref(root).end_cell().begin_parse()
        prices = reader.load_dict(32)[0]
        assert (prices.load_uint(8), prices.load_uint(32)) == (0xCC, 0)
        assert (prices.load_uint(64), prices.load_uint(64)) == expected


def test_before_2026_everything_was_six_times_dearer() -> None:
    assert round(FEES_2024.gas / FEES_2026.gas) == 6
    assert round(FEES_2024.lump / FEES_2026.lump) == 6


def test_fees_can_be_raised_together() -> None:
    raised = FEES_2026.times(10)
    assert (raised.gas, raised.lump, raised.storage_bit) == (43_690_670, 666_670, 0)
