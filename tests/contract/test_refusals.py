"""Who may do what, when, and in which order the contract looks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cocoon_sdk.devnet.executor import MessageRefusedError
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Builder, Cell
from cocoon_sdk.ton.contract.channel import (
    ATTACHED,
    MIN_OPENING,
    ChannelTerms,
    cancel_close_body,
    coop_close_body,
    deposit_body,
    finalize_body,
    provider_close_body,
    redeem_body,
    request_close_body,
)
from cocoon_sdk.ton.message import external_message

from .world import (
    CLIENT,
    CLIENT_KEY,
    COIN,
    PROVIDER,
    PROVIDER_KEY,
    STRANGER,
    World,
    executor,
    sign,
)

pytestmark = pytest.mark.contract

LOW = ATTACHED - 1


def deployed() -> World:
    return World().deployed()


def opened() -> World:
    return World().opened()


def closing() -> World:
    world = World().opened()
    assert world.request_close().code == 0
    return world


def due() -> World:
    world = closing()
    world.now = world.data.close_at
    return world


def refused(world: World, act: Callable[[World], object], code: int) -> None:
    """`act` fails with `code`, changes nothing, and the value bounces back."""
    account, data = world.state, world.data
    outcome = act(world)
    assert outcome.code == code  # type: ignore[attr-defined]
    assert world.data == data
    assert world.balance == account.balance - outcome.tx.storage_fee  # type: ignore[attr-defined]
    assert all(message.bounced for message in outcome.outs)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda w: w.redeem(COIN), 100),
        (lambda w: w.redeem(COIN, value=LOW), 100),
        (lambda w: w.provider_close(0), 100),
        (lambda w: w.provider_close(0, by=STRANGER, value=LOW), 100),
        (lambda w: w.coop_close(0), 100),
        (lambda w: w.coop_close(0, by=STRANGER, value=LOW), 100),
        (lambda w: w.send(CLIENT, COIN, None), 100),
        (lambda w: w.send(STRANGER, COIN, None), 100),
        (lambda w: w.open(source=STRANGER), 102),
        (lambda w: w.open(source=PROVIDER), 102),
        (lambda w: w.open(MIN_OPENING - 1, source=STRANGER), 102),
        (lambda w: w.open(MIN_OPENING - 1), 110),
        (lambda w: w.request_close(STRANGER), 102),
        (lambda w: w.cancel_close(), 112),
        (lambda w: w.finalize(), 112),
    ],
)
def test_before_it_is_open(act: Callable[[World], object], code: int) -> None:
    refused(World().deployed(), act, code)


def test_the_opening_minimum_is_enough() -> None:
    assert World().deployed().open(MIN_OPENING).code == 0


def test_low_value_comes_before_the_close_delay() -> None:
    terms = ChannelTerms(CLIENT_KEY.public_key, PROVIDER_KEY.public_key, 2**32 - 1, 1)
    refused(World(terms).deployed(), lambda w: w.open(MIN_OPENING - 1), 110)
    refused(World(terms).deployed(), lambda w: w.open(MIN_OPENING), 115)


@pytest.mark.parametrize("make", [closing, due], ids=["closing", "due"])
@pytest.mark.parametrize(
    "act",
    [
        lambda w: w.send(CLIENT, COIN, None),
        lambda w: w.send(STRANGER, COIN, None),
        lambda w: w.send(CLIENT, COIN, deposit_body()),
        lambda w: w.send(STRANGER, COIN, deposit_body()),
        lambda w: w.request_close(),
        lambda w: w.request_close(STRANGER, LOW),
    ],
)
def test_no_deposit_and_no_second_request_while_closing(
    make: Callable[[], World], act: Callable[[World], object]
) -> None:
    refused(make(), act, 111)


def test_no_deposit_while_closing_before_it_was_opened() -> None:
    world = World().deployed()
    assert world.request_close().code == 0
    refused(world, lambda w: w.open(), 111)
    refused(world, lambda w: w.open(source=STRANGER), 111)
    refused(world, lambda w: w.send(CLIENT, COIN, None), 111)


@pytest.mark.parametrize(
    ("make", "act", "code"),
    [
        (opened, lambda w: w.cancel_close(), 112),
        (opened, lambda w: w.cancel_close(STRANGER, LOW), 112),
        (opened, lambda w: w.finalize(), 112),
        (opened, lambda w: w.finalize(value=LOW), 112),
        (closing, lambda w: w.finalize(), 113),
        (closing, lambda w: w.finalize(CLIENT), 113),
        (closing, lambda w: w.finalize(value=LOW), 113),
        (due, lambda w: w.finalize(value=LOW), 110),
        (opened, lambda w: w.request_close(STRANGER), 102),
        (opened, lambda w: w.request_close(PROVIDER, LOW), 102),
        (opened, lambda w: w.request_close(value=LOW), 110),
        (closing, lambda w: w.cancel_close(STRANGER), 102),
        (closing, lambda w: w.cancel_close(PROVIDER, LOW), 102),
        (closing, lambda w: w.cancel_close(value=LOW), 110),
        (opened, lambda w: w.provider_close(0, by=CLIENT), 103),
        (opened, lambda w: w.provider_close(0, by=STRANGER, value=LOW), 103),
        (opened, lambda w: w.provider_close(0, value=LOW), 110),
        (opened, lambda w: w.coop_close(0, by=PROVIDER), 102),
        (opened, lambda w: w.coop_close(0, by=STRANGER, value=LOW), 102),
        (opened, lambda w: w.coop_close(0, value=LOW), 110),
        (opened, lambda w: w.coop_close(0, value=LOW, key=CLIENT_KEY), 110),
        (opened, lambda w: w.coop_close(0, key=CLIENT_KEY), 104),
        (opened, lambda w: w.redeem(COIN, value=LOW), 110),
        (opened, lambda w: w.redeem(COIN, claim=COIN + 1), 114),
        (opened, lambda w: w.redeem(COIN, claim=COIN + 1, by=STRANGER), 114),
        (opened, lambda w: w.redeem(COIN, claim=COIN - 1, by=STRANGER), 103),
        (opened, lambda w: w.redeem(COIN, claim=COIN - 1, by=CLIENT), 103),
        (opened, lambda w: w.redeem(COIN, claim=0, by=STRANGER), 103),
        (opened, lambda w: w.redeem(0), 108),
        (opened, lambda w: w.provider_close(COIN, COIN - 1), 114),
        (opened, lambda w: w.provider_close(1), 114),
    ],
)
def test_after_it_is_open(
    make: Callable[[], World], act: Callable[[World], object], code: int
) -> None:
    refused(make(), act, code)


def test_exactly_the_attached_minimum_is_enough_for_every_operation() -> None:
    for make, act in (
        (opened, lambda w: w.redeem(COIN // 2, value=ATTACHED)),
        (opened, lambda w: w.redeem(COIN // 2, by=STRANGER, value=ATTACHED)),
        (opened, lambda w: w.request_close(value=ATTACHED)),
        (closing, lambda w: w.cancel_close(value=ATTACHED)),
        (due, lambda w: w.finalize(value=ATTACHED)),
        (opened, lambda w: w.provider_close(COIN // 2, COIN // 2, value=ATTACHED)),
        (opened, lambda w: w.coop_close(COIN // 2, value=ATTACHED)),
    ):
        assert act(make()).code == 0


def test_a_replayed_or_lower_voucher_is_stale() -> None:
    world = World().opened()
    assert world.redeem(COIN // 2).code == 0
    refused(world, lambda w: w.redeem(COIN // 2), 108)
    refused(world, lambda w: w.redeem(COIN // 2 - 1), 108)
    refused(world, lambda w: w.redeem(COIN, claim=COIN // 2), 108)
    refused(world, lambda w: w.provider_close(COIN // 2 - 1, COIN), 108)


def test_closing_above_the_balance() -> None:
    world = World().opened()
    refused(world, lambda w: w.provider_close(2 * COIN, 2 * COIN), 109)
    refused(world, lambda w: w.coop_close(2 * COIN), 109)


def _bodies(world: World) -> dict[str, tuple[Address, Cell]]:
    voucher, auth = world.voucher(COIN // 2), world.auth(COIN // 2)
    return {
        "deposit": (CLIENT, deposit_body(1)),
        "redeem": (PROVIDER, redeem_body(1, COIN // 2, sign(voucher), voucher)),
        "request_close": (CLIENT, request_close_body(1)),
        "cancel_close": (CLIENT, cancel_close_body(1)),
        "finalize": (STRANGER, finalize_body(1)),
        "provider_close": (
            PROVIDER,
            provider_close_body(1, COIN // 2, sign(voucher), voucher),
        ),
        "coop_close": (CLIENT, coop_close_body(1, sign(auth, PROVIDER_KEY), auth)),
    }


def _world_for(name: str) -> World:
    return {"cancel_close": closing, "finalize": due}.get(name, opened)()


@pytest.mark.parametrize(
    "name",
    [
        "deposit",
        "redeem",
        "request_close",
        "cancel_close",
        "finalize",
        "provider_close",
        "coop_close",
    ],
)
def test_short_bodies_and_long_ones(name: str) -> None:
    # A missing bit or reference is malformed, whatever the state; a tail is ignored.
    for world in (World().deployed(), _world_for(name)):
        source, body = _bodies(world)[name]
        bits = body.bit_length
        short = Builder().store_uint(body.begin_parse().load_uint(bits) >> 1, bits - 1)
        for ref in body.refs:
            short.store_ref(ref)
        refused(world, lambda w, s=source, b=short: w.send(s, ATTACHED, b.end_cell()), 9)
        if body.refs:
            bare = Builder().store_uint(body.begin_parse().load_uint(bits), bits).end_cell()
            refused(world, lambda w, s=source, b=bare: w.send(s, ATTACHED, b), 9)
    source, body = _bodies(world)[name]
    tail = Builder().store_cell(body).store_uint(5, 9).store_ref(body).end_cell()
    assert world.send(source, ATTACHED, tail).code == 0


@pytest.mark.parametrize(
    "body",
    [
        Builder().store_uint(0, 32).store_bytes(b"hello").end_cell(),
        Builder().store_uint(0, 32).end_cell(),
        Builder().store_uint(0x6D1A3F00, 32).store_uint(0, 64).end_cell(),
        Builder().store_uint(0x6D1A3F08, 32).store_uint(0, 64).end_cell(),
        Builder().store_uint(0x6D1A3F10, 32).store_uint(0, 64).end_cell(),
        Builder().store_uint(0xD53276DB, 32).store_uint(0, 64).end_cell(),
        Builder().store_uint(0xFFFFFFFF, 32).store_uint(0, 64).end_cell(),
        Builder().store_uint(0, 31).end_cell(),
        Builder().store_uint(1, 1).end_cell(),
        Builder().store_ref(Builder().end_cell()).end_cell(),
    ],
)
@pytest.mark.parametrize("make", [deployed, opened, closing])
def test_unknown_operations_and_comments(make: Callable[[], World], body: Cell) -> None:
    refused(make(), lambda w: w.send(CLIENT, COIN, body), 65535)


def test_external_messages_are_refused() -> None:
    world = World().opened()
    voucher = world.voucher(COIN // 2)
    for body in (
        Builder().end_cell(),
        deposit_body(),
        redeem_body(1, COIN // 2, sign(voucher), voucher),
    ):
        with pytest.raises(MessageRefusedError) as error:
            executor(world.network, world.fees).execute(
                world.account,
                external_message(world.address, body),
                now=world.now,
                lt=world.lt + 1000,
            )
        assert error.value.exit_code == 11


def test_what_claims_to_be_a_bounce_changes_nothing() -> None:
    world = World().opened()
    data, before = world.data, world.balance
    for source, body in _bodies(world).values():
        returned = Builder().store_uint(0xFFFFFFFF, 32).store_cell(body).end_cell()
        for content in (body, returned, None):
            outcome = world.send(source, COIN, content, bounce=False, bounced=True)
            assert outcome.code == 0
            assert outcome.outs == ()
    assert world.data == data
    assert world.balance > before
