"""The two getters, run by name on the account's own code and data."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from cocoon_sdk.ton.cells import Cell, cell_to_boc
from cocoon_sdk.ton.contract.channel import RENT_RESERVE

from .world import CLIENT_KEY, COIN, PROVIDER_KEY, World

pytestmark = pytest.mark.contract


def run_getter(world: World, name: str) -> list[Any]:
    from tonpy.tvm.c7 import C7
    from tonpy.tvm.tvm import TVM, method_name_to_id
    from tonpy.types import Cell as NativeCell

    def native(cell: Cell | None) -> NativeCell:
        assert cell is not None
        return NativeCell(base64.b64encode(cell_to_boc(cell)).decode())

    vm = TVM(code=native(world.state.code), data=native(world.state.data))
    vm.set_c7(C7(time=world.now, rand_seed=0, balance_grams=world.balance))
    vm.set_stack([method_name_to_id(name)])
    vm.set_gas_limit(1_000_000, 1_000_000)
    return list(vm.run())


def test_channel_state() -> None:
    world = World().opened()
    assert world.redeem(COIN // 4).code == 0
    assert world.request_close().code == 0
    data = world.data
    expected = [data.epoch, data.close_at, COIN // 4, world.balance - RENT_RESERVE]
    assert run_getter(world, "channel_state") == expected
    assert data.close_at > 0


def test_available_is_never_negative() -> None:
    world = World().opened(30_000_000)
    assert world.redeem(COIN).code == 0
    assert run_getter(world, "channel_state")[3] == 0
    world.now += 10 * 365 * 24 * 3600
    assert world.redeem(COIN).code == 109  # the rent has been taken from the reserve
    assert world.balance < RENT_RESERVE
    assert run_getter(world, "channel_state")[3] == 0


def test_channel_terms() -> None:
    world = World().opened()
    result = run_getter(world, "channel_terms")
    assert result[:4] == [
        int.from_bytes(CLIENT_KEY.public_key, "big"),
        int.from_bytes(PROVIDER_KEY.public_key, "big"),
        world.terms.close_delay,
        world.terms.salt,
    ]
    for found, expected in zip(result[4:], (world.client, world.provider), strict=True):
        assert found.load_uint(3) == 0b100
        assert found.load_int(8) == 0
        assert found.load_uint(256) == int.from_bytes(expected.hash, "big")
