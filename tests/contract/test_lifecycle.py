"""Opening, topping up, redeeming and the one-sided close: who gets which nano."""

from __future__ import annotations

import pytest

from cocoon_sdk.ton.contract.channel import (
    ATTACHED,
    MAX_CLOSE_DELAY,
    RENT_RESERVE,
    ChannelTerms,
    Op,
    deposit_body,
)

from .world import (
    CLIENT,
    CLIENT_KEY,
    COIN,
    PROVIDER,
    PROVIDER_KEY,
    START,
    STRANGER,
    World,
    opcode,
    payout_total,
)

pytestmark = pytest.mark.contract


def test_opening_stores_the_terms_and_the_epoch() -> None:
    world = World()
    outcome = world.open(COIN)
    assert outcome.code == 0
    assert outcome.outs == ()
    data = world.data
    assert data.epoch == outcome.tx.lt
    assert (data.close_at, data.redeemed) == (0, 0)
    assert (data.client, data.provider, data.terms) == (CLIENT, PROVIDER, world.terms)
    assert world.balance == COIN - outcome.tx.total_fees


@pytest.mark.parametrize("body", [None, deposit_body(3)], ids=["bare transfer", "deposit"])
@pytest.mark.parametrize("source", [CLIENT, PROVIDER, STRANGER])
def test_anyone_tops_up(body: object, source: object) -> None:
    world = World().opened()
    before, data = world.balance, world.data
    outcome = world.send(source, COIN, body)  # type: ignore[arg-type]
    assert outcome.code == 0
    assert outcome.outs == ()
    assert world.balance == before + COIN - outcome.tx.total_fees
    assert world.data == data


def test_a_top_up_may_be_small() -> None:
    world = World().opened()
    assert world.send(CLIENT, 2_000_000, deposit_body()).code == 0


def test_redeem_by_the_provider_pays_in_one_message() -> None:
    world = World().opened()
    before = world.balance
    outcome = world.redeem(COIN // 4)
    assert outcome.code == 0
    (payout,) = outcome.outs
    assert opcode(payout) == Op.PAYOUT
    assert payout.destination == PROVIDER
    assert not payout.bounce
    assert payout_total(payout) == COIN // 4
    assert payout.value == COIN // 4 + ATTACHED - outcome.spent
    assert world.balance == before - COIN // 4  # the channel pays the amount moved, no fees
    assert world.data.redeemed == COIN // 4


def test_redeem_by_a_stranger_pays_exactly_and_returns_the_rest() -> None:
    world = World().opened()
    before = world.balance
    outcome = world.redeem(COIN // 4, by=STRANGER)
    assert outcome.code == 0
    assert len(outcome.outs) == 2
    payout, excesses = outcome.to(PROVIDER), outcome.to(STRANGER)
    assert payout.value == COIN // 4
    assert payout_total(payout) == COIN // 4
    assert opcode(excesses) == Op.EXCESSES
    assert not payout.bounce
    assert not excesses.bounce
    assert excesses.value == ATTACHED - outcome.spent
    assert world.balance == before - COIN // 4


def test_the_provider_may_claim_less_and_the_rest_later() -> None:
    world = World().opened()
    assert world.redeem(COIN // 2, claim=COIN // 5).code == 0
    assert world.data.redeemed == COIN // 5
    assert world.redeem(COIN // 2).code == 0
    assert world.data.redeemed == COIN // 2


def test_an_underfunded_voucher_pays_what_is_there_and_the_rest_after_a_top_up() -> None:
    world = World().opened()
    held = world.balance
    outcome = world.redeem(3 * COIN)
    assert outcome.code == 0
    assert world.data.redeemed == held - RENT_RESERVE
    assert payout_total(outcome.to(PROVIDER)) == held - RENT_RESERVE
    assert world.balance == RENT_RESERVE
    assert world.redeem(3 * COIN).code == 109
    assert world.send(STRANGER, 3 * COIN, None).code == 0
    assert world.redeem(3 * COIN).code == 0
    assert world.data.redeemed == 3 * COIN
    assert world.redeem(3 * COIN).code == 108


def test_one_nano_can_be_redeemed() -> None:
    world = World().opened()
    assert world.redeem(1, by=STRANGER).code == 0
    assert world.data.redeemed == 1


def test_request_close_then_finalize_returns_all_to_the_client() -> None:
    world = World().opened()
    assert world.redeem(COIN // 4).code == 0
    held = world.balance
    outcome = world.request_close()
    assert outcome.code == 0
    assert world.data.close_at == START + world.terms.close_delay
    assert world.balance == held
    assert opcode(outcome.to(CLIENT)) == Op.EXCESSES
    assert outcome.to(CLIENT).value == ATTACHED - outcome.spent

    world.now = world.data.close_at
    outcome = world.finalize(STRANGER)
    assert outcome.code == 0
    (rest,) = outcome.outs
    assert rest.destination == CLIENT
    assert opcode(rest) == Op.EXCESSES
    assert rest.value == held + ATTACHED - outcome.spent
    assert outcome.tx.destroyed
    assert world.state.status == "nonexist"


def test_cancel_close_reopens() -> None:
    world = World().opened()
    assert world.request_close().code == 0
    held = world.balance
    outcome = world.cancel_close()
    assert outcome.code == 0
    assert world.data.close_at == 0
    assert world.balance == held
    assert outcome.to(CLIENT).value == ATTACHED - outcome.spent
    assert world.send(STRANGER, COIN, None).code == 0


@pytest.mark.parametrize("late", [-1, 0, 1_000_000])
def test_redeem_works_until_finalize(late: int) -> None:
    world = World().opened()
    assert world.request_close().code == 0
    world.now = world.data.close_at + late
    assert world.redeem(COIN // 4).code == 0


def test_a_message_after_the_end_bounces_back() -> None:
    world = World().opened()
    cell = world.voucher(COIN // 4)
    assert world.request_close().code == 0
    world.now = world.data.close_at
    assert world.finalize().code == 0
    from .world import sign

    outcome = world.redeem_cell(cell, sign(cell), claim=COIN // 4)
    assert outcome.tx.skip_reason == "no_state"
    assert outcome.to(PROVIDER).bounced
    assert world.state.status in {"nonexist", "uninit"}
    assert world.balance == 0


def test_redeployed_at_the_same_address_the_old_voucher_is_dead() -> None:
    from .world import sign

    world = World().opened()
    old, epoch = world.voucher(COIN // 4), world.data.epoch
    assert world.request_close().code == 0
    world.now = world.data.close_at
    assert world.finalize().code == 0
    assert world.open().code == 0
    assert world.data.epoch > epoch
    assert world.data.redeemed == 0
    assert world.redeem_cell(old, sign(old), claim=COIN // 4).code == 107
    assert world.redeem(COIN // 4).code == 0


def test_provider_close_takes_its_claim_and_returns_the_rest() -> None:
    world = World().opened()
    assert world.redeem(COIN // 10).code == 0
    held = world.balance
    outcome = world.provider_close(COIN // 4, COIN // 2)
    assert outcome.code == 0
    delta = COIN // 4 - COIN // 10
    assert outcome.outs[0].destination == CLIENT
    assert outcome.to(CLIENT).value == held - delta
    assert opcode(outcome.to(CLIENT)) == Op.EXCESSES
    assert payout_total(outcome.to(PROVIDER)) == COIN // 4
    assert outcome.to(PROVIDER).value == delta + ATTACHED - outcome.spent
    assert world.state.status == "nonexist"


def test_provider_close_without_a_voucher() -> None:
    world = World().opened()
    assert world.redeem(COIN // 10).code == 0
    held = world.balance
    assert world.provider_close(COIN // 10 + 1).code == 114
    assert world.provider_close(COIN // 10 - 1).code == 108
    outcome = world.provider_close(COIN // 10)
    assert outcome.code == 0
    assert outcome.to(CLIENT).value == held
    assert world.state.status == "nonexist"


def test_provider_close_of_the_whole_balance_sends_nothing_to_the_client() -> None:
    world = World().opened()
    held = world.balance
    assert world.provider_close(held + 1, 2 * COIN).code == 109
    outcome = world.provider_close(held, 2 * COIN)
    assert outcome.code == 0
    assert [m.destination for m in outcome.outs] == [PROVIDER]
    assert world.state.status == "nonexist"


def test_provider_close_works_while_closing() -> None:
    world = World().opened()
    assert world.request_close().code == 0
    assert world.provider_close(COIN // 4, COIN // 4).code == 0


def test_coop_close_pays_both_at_once() -> None:
    world = World().opened()
    assert world.redeem(COIN // 10).code == 0
    held = world.balance
    outcome = world.coop_close(COIN // 4)
    assert outcome.code == 0
    delta = COIN // 4 - COIN // 10
    assert outcome.to(PROVIDER).value == delta
    assert payout_total(outcome.to(PROVIDER)) == COIN // 4
    assert outcome.to(CLIENT).value == held - delta + ATTACHED - outcome.spent
    assert opcode(outcome.to(CLIENT)) == Op.EXCESSES
    assert world.state.status == "nonexist"


def test_coop_close_at_redeemed_sends_nothing_to_the_provider() -> None:
    world = World().opened()
    assert world.redeem(COIN // 10).code == 0
    outcome = world.coop_close(COIN // 10)
    assert outcome.code == 0
    assert [m.destination for m in outcome.outs] == [CLIENT]


def test_coop_close_bounds() -> None:
    world = World().opened()
    assert world.redeem(COIN // 10).code == 0
    held = world.balance
    assert world.coop_close(COIN // 10 - 1).code == 108
    assert world.coop_close(COIN // 10 + held + 1).code == 109
    outcome = world.coop_close(COIN // 10 + held)
    assert outcome.code == 0
    assert outcome.to(PROVIDER).value == held


def test_close_delay_is_capped_at_seven_days() -> None:
    def world(delay: int) -> World:
        return World(ChannelTerms(CLIENT_KEY.public_key, PROVIDER_KEY.public_key, delay, 1))

    assert world(MAX_CLOSE_DELAY).open().code == 0
    assert world(MAX_CLOSE_DELAY + 1).open().code == 115
    assert world(2**32 - 1).open().code == 115


def test_a_channel_that_can_never_open_gives_the_money_back() -> None:
    world = World(ChannelTerms(CLIENT_KEY.public_key, PROVIDER_KEY.public_key, 2**32 - 1, 1))
    world.deployed()
    held = world.balance
    assert world.request_close().code == 0
    assert world.data.close_at == START + MAX_CLOSE_DELAY
    assert world.cancel_close().code == 0
    assert world.request_close().code == 0
    world.now += MAX_CLOSE_DELAY
    outcome = world.finalize()
    assert outcome.code == 0
    assert outcome.to(CLIENT).value == held + ATTACHED - outcome.spent
