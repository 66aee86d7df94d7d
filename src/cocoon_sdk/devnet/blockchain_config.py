"""The blockchain configuration that the executor runs under: version, global id and fees.

Only the parameters that transactions read are built: 0, 1, 8, 12, 18, 19, 20, 21, 24, 25 and 31.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from cocoon_sdk.errors import ChainDataError
from cocoon_sdk.ton.cells import Builder, Cell, dict_cell

GLOBAL_VERSION = 11
"""The newest that tonpy's executor implements, and the newest that the contract needs."""

_CAPABILITIES = 0x2E  # bounce bodies, message hashes, code in c7 and short dequeue, as on mainnet
_CONFIG_ADDRESS = bytes([0x55]) * 32
_ELECTOR_ADDRESS = bytes([0x33]) * 32
_FIXED = 1 << 16  # unit of gas, storage, bit and cell prices: 2^-16 nano
_MASTERCHAIN_FACTOR = 25  # what the masterchain costs more


@dataclass(frozen=True, slots=True)
class Fees:
    """Prices in the basic workchain, in nano or 2^-16 nano as the chain stores them.

    Attributes:
        gas: 2^-16 nano for one unit of gas.
        flat_gas: nano for the first 100 units together.
        lump: nano for any message.
        message_bit: 2^-16 nano for a bit of a message outside its root.
        message_cell: 2^-16 nano for a cell of a message outside its root.
        storage_bit: 2^-16 nano for a bit a second.
        storage_cell: 2^-16 nano for a cell a second.
    """

    gas: int
    flat_gas: int
    lump: int
    message_bit: int
    message_cell: int
    storage_bit: int
    storage_cell: int

    def times(self, factor: int) -> Fees:
        """All prices multiplied, for tests of what breaks when fees rise."""
        return Fees(*(getattr(self, field.name) * factor for field in fields(self)))


FEES_2026 = Fees(
    gas=4_369_067,
    flat_gas=6_667,
    lump=66_667,
    message_bit=4_369_067,
    message_cell=436_906_667,
    storage_bit=0,
    storage_cell=135,
)
"""Since May 2026: 66.67 nano a unit of gas."""

FEES_2024 = Fees(
    gas=26_214_400,
    flat_gas=40_000,
    lump=400_000,
    message_bit=26_214_400,
    message_cell=2_621_440_000,
    storage_bit=1,
    storage_cell=500,
)
"""Before May 2026: 400 nano a unit of gas."""


def blockchain_config(
    network: int, *, fees: Fees = FEES_2026, version: int = GLOBAL_VERSION
) -> Cell:
    """The root of the configuration dictionary for a chain with this global id."""
    special = dict_cell(
        {
            int.from_bytes(address, "big"): Builder().end_cell()
            for address in (_CONFIG_ADDRESS, _ELECTOR_ADDRESS)
        },
        256,
    )
    parameters = {
        0: Builder().store_bytes(_CONFIG_ADDRESS).end_cell(),
        1: Builder().store_bytes(_ELECTOR_ADDRESS).end_cell(),
        8: Builder()
        .store_uint(0xC4, 8)
        .store_uint(version, 32)
        .store_uint(_CAPABILITIES, 64)
        .end_cell(),
        12: Builder().store_maybe_ref(dict_cell({0: _workchain()}, 32)).end_cell(),
        18: _storage_prices(fees),
        19: Builder().store_int(network, 32).end_cell(),
        20: _gas_prices(fees, _MASTERCHAIN_FACTOR),
        21: _gas_prices(fees, 1),
        24: _message_prices(fees, _MASTERCHAIN_FACTOR),
        25: _message_prices(fees, 1),
        31: Builder().store_maybe_ref(special).end_cell(),
    }
    root = dict_cell(
        {key: Builder().store_ref(value).end_cell() for key, value in parameters.items()}, 32
    )
    if root is None:
        raise ChainDataError("the configuration is empty")
    return root


def _workchain() -> Cell:
    """The basic workchain: active since ever, not split, accepting messages."""
    return (
        Builder()
        .store_uint(0xA6, 8)
        .store_uint(0, 32)  # enabled since
        .store_uint(0, 8)  # monitor_min_split
        .store_uint(0, 8)  # min_split
        .store_uint(0, 8)  # max_split
        .store_uint(0b111, 3)  # basic, active, accepts messages
        .store_uint(0, 13)
        .store_bytes(bytes(64))  # hashes of its first state
        .store_uint(0, 32)
        .store_uint(1, 4)  # basic format
        .store_int(-1, 32)
        .store_uint(0, 64)
        .end_cell()
    )


def _storage_prices(fees: Fees) -> Cell:
    prices = (
        Builder()
        .store_uint(0xCC, 8)
        .store_uint(0, 32)
        .store_uint(fees.storage_bit, 64)
        .store_uint(fees.storage_cell, 64)
        .store_uint(fees.storage_bit * 1000, 64)
        .store_uint(fees.storage_cell * 1000, 64)
        .end_cell()
    )
    root = dict_cell({0: prices}, 32)
    return Builder().store_cell(root if root is not None else prices).end_cell()


def _gas_prices(fees: Fees, factor: int) -> Cell:
    return (
        Builder()
        .store_uint(0xD1, 8)
        .store_uint(100, 64)  # flat gas limit
        .store_uint(fees.flat_gas * factor, 64)
        .store_uint(0xDE, 8)
        .store_uint(fees.gas * factor, 64)
        .store_uint(1_000_000, 64)  # gas limit
        .store_uint(1_000_000, 64)  # of special contracts
        .store_uint(10_000, 64)  # credit of external messages
        .store_uint(10_000_000, 64)  # of a block
        .store_uint(100_000_000, 64)  # debt that freezes
        .store_uint(1_000_000_000, 64)  # debt that deletes
        .end_cell()
    )


def _message_prices(fees: Fees, factor: int) -> Cell:
    return (
        Builder()
        .store_uint(0xEA, 8)
        .store_uint(fees.lump * factor, 64)
        .store_uint(fees.message_bit * factor, 64)
        .store_uint(fees.message_cell * factor, 64)
        .store_uint(98_304, 32)  # instant routing, unused
        .store_uint(_FIXED // 3, 16)  # the share of the first validator set
        .store_uint(_FIXED // 3, 16)
        .end_cell()
    )
