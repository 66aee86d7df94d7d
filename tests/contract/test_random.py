"""Random sequences of operations: a model in Python predicts every exit code and every payment."""

from __future__ import annotations

import os
import random

import pytest

from cocoon_sdk.devnet.blockchain_config import FEES_2024, FEES_2026
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Builder
from cocoon_sdk.ton.contract.channel import (
    ATTACHED,
    MIN_OPENING,
    RENT_RESERVE,
    ContractError,
    Op,
    deposit_body,
)

from .world import CLIENT, COIN, PROVIDER, STRANGER, Outcome, World, opcode, payout_total

pytestmark = pytest.mark.contract

SEEDS = range(2000 if os.environ.get("COCOON_CAMPAIGN") else 40)
STEPS = 40
PARTIES = (CLIENT, PROVIDER, STRANGER)


class Model:
    """What the specification says, without cells: the state, and the code that an act must give."""

    def __init__(self) -> None:
        self.exists = False
        self.epoch = 0
        self.close_at = 0
        self.redeemed = 0

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]

    def deposit(self, sender: Address, value: int, *, bare: bool) -> int:
        if self.close_at:
            return ContractError.CLOSING
        if self.epoch:
            return 0
        if bare:
            return ContractError.NOT_OPEN
        if sender != CLIENT:
            return ContractError.NOT_CLIENT
        return 0 if value >= MIN_OPENING else ContractError.LOW_VALUE

    def redeem(self, sender: Address, value: int, claim: int, top: int, held: int) -> int:
        if not self.epoch:
            return ContractError.NOT_OPEN
        if value < ATTACHED:
            return ContractError.LOW_VALUE
        if claim > top:
            return ContractError.ABOVE_VOUCHER
        if sender != PROVIDER and claim != top:
            return ContractError.NOT_PROVIDER
        if claim <= self.redeemed:
            return ContractError.STALE
        return 0 if held > RENT_RESERVE else ContractError.NO_FUNDS

    def request_close(self, sender: Address, value: int) -> int:
        if self.close_at:
            return ContractError.CLOSING
        return self._by(CLIENT, sender, value, ContractError.NOT_CLIENT)

    def cancel_close(self, sender: Address, value: int) -> int:
        if not self.close_at:
            return ContractError.NOT_CLOSING
        return self._by(CLIENT, sender, value, ContractError.NOT_CLIENT)

    def finalize(self, value: int, now: int) -> int:
        if not self.close_at:
            return ContractError.NOT_CLOSING
        if now < self.close_at:
            return ContractError.TOO_EARLY
        return 0 if value >= ATTACHED else ContractError.LOW_VALUE

    def provider_close(
        self, sender: Address, value: int, claim: int, top: int | None, held: int
    ) -> int:
        if not self.epoch:
            return ContractError.NOT_OPEN
        code = self._by(PROVIDER, sender, value, ContractError.NOT_PROVIDER)
        if code:
            return code
        if claim > (self.redeemed if top is None else top):
            return ContractError.ABOVE_VOUCHER
        if claim < self.redeemed:
            return ContractError.STALE
        return 0 if claim - self.redeemed <= held else ContractError.NO_FUNDS

    def coop_close(self, sender: Address, value: int, final: int, held: int) -> int:
        if not self.epoch:
            return ContractError.NOT_OPEN
        code = self._by(CLIENT, sender, value, ContractError.NOT_CLIENT)
        if code:
            return code
        if final < self.redeemed:
            return ContractError.STALE
        return 0 if final - self.redeemed <= held else ContractError.NO_FUNDS

    @staticmethod
    def _by(wanted: Address, sender: Address, value: int, otherwise: int) -> int:
        if sender != wanted:
            return otherwise
        return 0 if value >= ATTACHED else ContractError.LOW_VALUE


class Run:
    """One random sequence on one channel; World.send checks the money of every transaction."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = World(fees=self.random.choice([FEES_2026, FEES_2024]))
        self.model = Model()
        self.done: set[str] = set()

    def step(self) -> None:
        world, model, pick = self.world, self.model, self.random
        if pick.random() < 0.2:
            world.now += pick.choice([1, 600, 86_400, 200_000])
        sender = pick.choice(PARTIES)
        value = pick.choice([ATTACHED, ATTACHED - 1, COIN, 2 * COIN, MIN_OPENING])
        if not model.exists:
            outcome = world.open(value, source=sender)
            model.exists = True
            self.settle("open", outcome, model.deposit(sender, value, bare=False))
            return
        around = model.redeemed
        top = max(0, pick.choice([around, around + 1, around + COIN // 8, around + 3 * COIN]))
        claim = max(0, pick.choice([top, top, top - 1, top + 1, around, around - 1]))
        held = self.held()
        name = pick.choice(
            ["bare", "deposit", "redeem", "redeem", "redeem", "request", "cancel", "finalize"]
            + (["provider", "coop"] if pick.random() < 0.3 else [])
        )
        if name in {"request", "cancel", "coop"} and pick.random() < 0.6:
            sender = CLIENT
        if name == "bare":
            code = model.deposit(sender, value, bare=True)
            outcome = world.send(sender, value, None)
        elif name == "deposit":
            code = model.deposit(sender, value, bare=False)
            outcome = world.send(sender, value, deposit_body(9))
        elif name == "redeem":
            code = model.redeem(sender, value, claim, top, held)
            outcome = world.redeem(top, claim=claim, by=sender, value=value)
        elif name == "request":
            code = model.request_close(sender, value)
            outcome = world.request_close(sender, value)
        elif name == "cancel":
            code = model.cancel_close(sender, value)
            outcome = world.cancel_close(sender, value)
        elif name == "finalize":
            code = model.finalize(value, world.now)
            outcome = world.finalize(sender, value)
        elif name == "provider":
            voucher = pick.choice([None, top])
            code = model.provider_close(sender, value, claim, voucher, held)
            outcome = world.provider_close(claim, voucher, by=sender, value=value)
        else:
            code = model.coop_close(sender, value, claim, held)
            outcome = world.coop_close(claim, by=sender, value=value)
        self.settle(name, outcome, code, sender=sender, value=value, claim=claim)

    def held(self) -> int:
        """What the channel will hold after its rent, as a throwaway copy of the world shows."""
        copy = World(fees=self.world.fees, now=self.world.now, lt=self.world.lt)
        copy.account = self.world.account
        probe = copy.send(STRANGER, COIN, _comment())
        return copy.balance if probe.code == ContractError.UNKNOWN_OP else -1

    def settle(
        self,
        name: str,
        outcome: Outcome,
        code: int,
        *,
        sender: Address = CLIENT,
        value: int = 0,
        claim: int = 0,
    ) -> None:
        """Compare with the model, then let the model take the step."""
        world, model = self.world, self.model
        assert outcome.code == code, (name, sender, value, claim, vars(model))
        if code:
            assert (
                all(m.bounced and m.destination == sender for m in outcome.outs) or name == "open"
            )
        else:
            self.done.add(name)
            held = outcome.balance_before - outcome.tx.storage_fee
            if name in {"open", "deposit"} and not model.epoch:
                model.epoch = outcome.tx.lt
            elif name == "redeem":
                delta = min(claim - model.redeemed, held - RENT_RESERVE)
                model.redeemed += delta
                assert payout_total(outcome.to(PROVIDER)) == model.redeemed
                assert world.balance == held - delta
                if sender != PROVIDER:
                    assert outcome.to(PROVIDER).value == delta
            elif name == "request":
                model.close_at = world.now + world.terms.close_delay
            elif name == "cancel":
                model.close_at = 0
            elif name in {"finalize", "provider", "coop"}:
                self.closed(name, outcome, held, value, claim)
                model.reset()
                return
        if world.state.status == "active":
            data = world.data
            assert (data.epoch, data.close_at, data.redeemed) == (
                model.epoch,
                model.close_at,
                model.redeemed,
            )
        else:
            model.reset()

    def closed(self, name: str, outcome: Outcome, held: int, value: int, claim: int) -> None:
        """Who got what at the end."""
        delta = claim - self.model.redeemed
        back = value - (outcome.spent - outcome.tx.storage_fee)
        paid = {m.destination: m.value for m in outcome.outs}
        expected = {
            "finalize": {CLIENT: held + back},
            "provider": {CLIENT: held - delta, PROVIDER: delta + back},
            "coop": {CLIENT: held - delta + back, PROVIDER: delta},
        }[name]
        assert paid == {party: amount for party, amount in expected.items() if amount}
        assert outcome.tx.destroyed
        assert self.world.state.status == "nonexist"
        kinds = {m.destination: opcode(m) for m in outcome.outs}
        assert kinds[CLIENT] == Op.EXCESSES if CLIENT in kinds else name == "provider"


def _comment():
    """A text comment: refused whatever the state, so that only rent is charged."""
    return Builder().store_uint(0, 32).end_cell()


def test_random_sequences() -> None:
    done: set[str] = set()
    for seed in SEEDS:
        run = Run(seed)
        try:
            for _ in range(STEPS):
                run.step()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        done |= run.done
    assert done == {
        *("open", "bare", "deposit", "redeem", "request", "cancel", "finalize"),
        *("provider", "coop"),
    }
