"""What counts as a promise: the right key, domain, tag, shape, network, channel and epoch."""

from __future__ import annotations

import pytest

from cocoon_sdk.keys import DOMAIN_CHANNEL, DOMAIN_RECEIPT, Ed25519Key
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Builder, Cell
from cocoon_sdk.ton.contract.constants import CLOSE_AUTH_TAG, VOUCHER_TAG

from .world import (
    CLIENT_KEY,
    COIN,
    NETWORK,
    PROVIDER_KEY,
    STRANGER,
    Outcome,
    World,
    sign,
)

pytestmark = pytest.mark.contract

HALF = COIN // 2


def three_ways(world: World, cell: Cell, signature: bytes | None = None) -> list[Outcome]:
    """Redeem by the provider, by a stranger, and provider_close; none may change anything."""
    from cocoon_sdk.ton.contract.channel import ATTACHED, provider_close_body

    signed = sign(cell) if signature is None else signature
    data, balance = world.data, world.balance
    outcomes = [
        world.redeem_cell(cell, signed, claim=HALF),
        world.redeem_cell(cell, signed, claim=HALF, by=STRANGER),
        world.send(world.provider, ATTACHED, provider_close_body(9, HALF, signed, cell)),
    ]
    assert world.data == data
    assert world.balance == balance
    return outcomes


def codes(outcomes: list[Outcome]) -> set[int]:
    return {outcome.code for outcome in outcomes}


def coop(world: World, cell: Cell, key: Ed25519Key = PROVIDER_KEY) -> int:
    data, balance = world.data, world.balance
    code = world.coop_close(0, cell=cell, key=key).code
    assert world.data == data
    assert world.balance == balance
    return code


def test_wrong_signatures() -> None:
    world = World().opened()
    cell = world.voucher(HALF)
    good = sign(cell)
    flipped = [bytes([*good[:i], good[i] ^ 1, *good[i + 1 :]]) for i in (0, 31, 32, 63)]
    other = world.voucher(HALF - 1)
    forged = [
        bytes(64),
        sign(cell, PROVIDER_KEY),
        sign(cell, Ed25519Key(bytes(32))),
        sign(other),
        CLIENT_KEY.sign(cell.hash),
        CLIENT_KEY.sign(b"cocoon-channel-v2" + cell.hash),
        CLIENT_KEY.sign(DOMAIN_RECEIPT + cell.hash),
        CLIENT_KEY.sign(DOMAIN_CHANNEL + cell.hash + b"\0"),
        *flipped,
    ]
    for signature in forged:
        assert codes(three_ways(world, cell, signature)) == {104}


def test_wrong_signatures_on_a_close_auth() -> None:
    world = World().opened()
    for key in (CLIENT_KEY, Ed25519Key(bytes(32))):
        assert coop(world, world.auth(HALF), key) == 104


OTHER = Address(0, b"\x77" * 32)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"network": -239}, 105),
        ({"network": -3}, 105),
        ({"network": 217}, 105),
        ({"channel": OTHER}, 106),
        ({"channel": None}, 106),
        ({"epoch": 0}, 107),
        ({"epoch": 1}, 107),
        ({"epoch": 2**64 - 1}, 107),
        ({"network": -3, "channel": OTHER, "epoch": 1}, 105),
        ({"channel": OTHER, "epoch": 1}, 106),
    ],
)
def test_bound_to_network_channel_and_epoch(changes: dict[str, object], code: int) -> None:
    world = World().opened()
    assert codes(three_ways(world, world.voucher(HALF, **changes))) == {code}
    assert coop(world, world.auth(HALF, **changes)) == code


def test_the_same_hash_in_another_workchain_is_another_channel() -> None:
    world = World().opened()
    elsewhere = Address(-1, world.address.hash)
    assert codes(three_ways(world, world.voucher(HALF, channel=elsewhere))) == {106}
    assert coop(world, world.auth(HALF, channel=elsewhere)) == 106


def test_the_epoch_comes_before_the_claim() -> None:
    world = World().opened()
    cell = world.voucher(HALF - 1, epoch=1)  # claim above voucher as well
    assert codes(three_ways(world, cell)) == {107}


def test_another_network_runs_the_same_code() -> None:
    world = World(network=-239).opened()
    assert world.redeem(HALF).code == 0
    assert codes(three_ways(world, world.voucher(COIN, network=NETWORK))) == {105}


def _promise(world: World, tag: int) -> Builder:
    return (
        Builder()
        .store_uint(tag, 32)
        .store_int(world.network, 32)
        .store_address(world.address)
        .store_uint(world.data.epoch, 64)
        .store_coins(HALF)
    )


def test_wrong_tags() -> None:
    world = World().opened()
    for tag in (CLOSE_AUTH_TAG, 0, VOUCHER_TAG ^ 1, 2**32 - 1):
        assert codes(three_ways(world, _promise(world, tag).end_cell())) == {63}
    for tag in (VOUCHER_TAG, 0, CLOSE_AUTH_TAG ^ 1):
        assert coop(world, _promise(world, tag).end_cell()) == 63


def test_shapes() -> None:
    world = World().opened()
    empty = Builder().end_cell()
    for tag, check in (
        (VOUCHER_TAG, lambda cell: codes(three_ways(world, cell))),
        (CLOSE_AUTH_TAG, lambda cell: {coop(world, cell)}),
    ):
        whole = _promise(world, tag).end_cell()
        bits = whole.begin_parse().load_uint(whole.bit_length)
        assert check(_promise(world, tag).store_uint(0, 1).end_cell()) == {9}
        assert check(_promise(world, tag).store_ref(empty).end_cell()) == {9}
        for cut in (1, 8, 100, whole.bit_length - 32):
            length = whole.bit_length - cut
            assert check(Builder().store_uint(bits >> cut, length).end_cell()) == {9}
        for length in (0, 1, 31):
            short = Builder().store_uint(bits >> (whole.bit_length - length), length).end_cell()
            assert check(short) == {63}


def test_the_signature_comes_before_the_shape() -> None:
    world = World().opened()
    assert codes(three_ways(world, Builder().end_cell(), bytes(64))) == {104}
