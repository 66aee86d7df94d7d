"""Transfers are stored before they leave and judged once, whoever finishes them (payments.md §2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cocoon_sdk.errors import (
    ChainDataError,
    ChainUnavailableError,
    ConfigError,
    PaymentError,
    TransactionFailedError,
)
from cocoon_sdk.payments import channels, moves, transfers
from cocoon_sdk.payments.accounting import ChannelStatus
from cocoon_sdk.payments.amounts import MAX_NANO, format_amount, parse_amount
from cocoon_sdk.payments.moves import TYPICAL_FEES, MoveKind
from cocoon_sdk.payments.sending import finish, send_moves
from cocoon_sdk.payments.transfers import Outcome
from cocoon_sdk.store.database import Database
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import TransactionInfo
from cocoon_sdk.ton.contract.channel import ATTACHED
from cocoon_sdk.ton.transfer import OutMessage, SignedTransfer, fees_at_most
from tests.unit.payments.ledger_kit import NETWORK, STATE, add_channel, open_ledger

pytestmark = pytest.mark.anyio

OTHER = Address(0, b"o" * 32)


class FakeChain:
    network = NETWORK

    async def time(self) -> int:
        return 2000


class ScriptedWallet:
    """Counts what it signs, and executes each signed message at most once, as the chain would."""

    address = STATE.client
    network = NETWORK

    def __init__(self) -> None:
        self.signed: list[list[OutMessage]] = []
        self.executed: set[int] = set()
        self.script: list[Exception | str | None] = []
        self.failing: set[Address] = set()
        self.skipped: set[Address] = set()
        self.own_failure = False

    async def sign(self, chain: FakeChain, messages: list[OutMessage]) -> SignedTransfer:
        self.signed.append(messages)
        number = len(self.signed) - 1
        return SignedTransfer(bytes([number]), number, 90)

    async def deliver(
        self, chain: FakeChain, transfer: SignedTransfer
    ) -> tuple[TransactionInfo, ...] | None:
        step = self.script.pop(0) if self.script else None
        if step == "void":
            return None
        if step == "lost":
            self.executed.add(transfer.seqno)
            raise ChainUnavailableError("no answer")
        if isinstance(step, Exception):
            raise step
        self.executed.add(transfer.seqno)
        rows = [(self.address, not self.own_failure)]
        for message in self.signed[transfer.seqno]:
            if message.to not in self.skipped:
                rows.append((message.to, message.to not in self.failing))
        return tuple(
            TransactionInfo(account, lt, 0, ok, 0 if ok else 113, 1, 0, None)
            for lt, (account, ok) in enumerate(rows)
        )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_ledger(tmp_path) as opened:
        yield opened


@pytest.fixture
def wallet() -> ScriptedWallet:
    return ScriptedWallet()


async def pending(database: Database) -> list[transfers.StoredTransfer]:
    return await database.run(lambda c: transfers.pending(c, network=NETWORK, wallet=STATE.client))


def top_up(database: Database, nano: int = 7) -> list[moves.Move]:
    return [moves.topping_up(add_channel(database).state, nano)]


async def deposit(database: Database) -> int:
    (state,) = await channels.list_channels(database)
    return state.deposit - STATE.deposit


async def test_it_is_in_the_ledger_before_it_leaves(database, wallet):
    plan, seen = top_up(database), []
    honest = wallet.deliver

    async def look(chain, transfer):
        seen.extend(await pending(database))
        return await honest(chain, transfer)

    wallet.deliver = look
    sent = await send_moves(FakeChain(), wallet, database, plan)
    (stored,) = seen
    assert (stored.transfer.boc, stored.created_at) == (b"\x00", 2000)
    assert [one.wish for one in stored.moves] == [plan[0].wish]
    assert (sent.outcome, sent.failed, sent.earlier) == (Outcome.DONE, (), False)
    assert await pending(database) == []
    assert await deposit(database) == 7


async def test_a_lost_answer_is_finished_and_entered_once(database, wallet):
    plan = top_up(database)
    wallet.script = ["lost"]
    with pytest.raises(ChainUnavailableError, match="The message is kept"):
        await send_moves(FakeChain(), wallet, database, plan)
    assert await deposit(database) == 0
    again = await send_moves(FakeChain(), wallet, database, plan)
    assert (again.earlier, again.outcome, len(wallet.signed)) == (True, Outcome.DONE, 1)
    assert await deposit(database) == 7
    await send_moves(FakeChain(), wallet, database, plan)  # a new wish
    assert (len(wallet.signed), await deposit(database)) == (2, 14)


async def test_another_wish_is_sent_after_the_unfinished_one(database, wallet):
    plan = top_up(database)
    wallet.script = ["lost"]
    with pytest.raises(ChainUnavailableError):
        await send_moves(FakeChain(), wallet, database, plan)
    other = [moves.requesting_close(replace(plan[0].channel))]
    sent = await send_moves(FakeChain(), wallet, database, other)
    assert (sent.moves[0].kind, len(wallet.signed)) == (MoveKind.REQUEST_CLOSE, 2)
    assert await deposit(database) == 7


async def test_what_expired_is_void_and_sent_anew(database, wallet):
    plan = top_up(database)
    wallet.script = [ChainUnavailableError("?"), "void"]
    with pytest.raises(ChainUnavailableError):
        await send_moves(FakeChain(), wallet, database, plan)
    sent = await send_moves(FakeChain(), wallet, database, plan)
    assert (sent.earlier, len(wallet.signed), await deposit(database)) == (False, 2, 7)


@pytest.mark.parametrize("error", [ChainUnavailableError("?"), ChainDataError("?")])
async def test_nothing_is_signed_while_an_outcome_is_unknown(database, wallet, error):
    plan = top_up(database)
    wallet.script = [error, error]
    for _ in range(2):
        with pytest.raises(type(error)):
            await send_moves(FakeChain(), wallet, database, plan)
    assert (len(wallet.signed), len(await pending(database))) == (1, 1)


@pytest.mark.parametrize(
    "error", [ConfigError("key refused"), TransactionFailedError("no", exit_code=135)]
)
async def test_a_refusal_is_final_the_first_time_only(database, wallet, error):
    """A second refusal says nothing of the copy that went out before."""
    plan = top_up(database)
    wallet.script = [error]
    with pytest.raises(type(error)):
        await send_moves(FakeChain(), wallet, database, plan)
    assert await pending(database) == []
    wallet.script = ["lost", error]
    for _ in range(2):
        with pytest.raises(ChainUnavailableError):
            await send_moves(FakeChain(), wallet, database, plan)
    assert len(await pending(database)) == 1
    (sent,) = await finish(FakeChain(), wallet, database)
    assert sent.outcome is Outcome.DONE
    assert await deposit(database) == 7


async def test_two_commands_at_once(database, wallet):
    """The second finds the first's transfer in the ledger and does not store its own."""
    plan = top_up(database)
    await database.run(lambda c: store(c, plan))
    with pytest.raises(PaymentError, match="another command"):
        await database.run(lambda c: store(c, plan))
    wallet.signed.append([plan[0].message])
    one, two = await pending(database), await pending(database)
    for stored in (*one, *two):
        await database.run(lambda c, s=stored: transfers.conclude(c, s, Outcome.DONE, ()))
    assert await deposit(database) == 7


def store(connection, plan):
    transfer = SignedTransfer(b"\x00", 0, 90)
    return transfers.store(
        connection, network=NETWORK, wallet=STATE.client, transfer=transfer, moves=plan, now=1
    )


async def test_transfers_of_other_wallets_and_networks_are_not_ours(database, wallet):
    plan = top_up(database)
    await database.run(
        lambda c: transfers.store(
            c,
            network=-3,
            wallet=STATE.client,
            transfer=SignedTransfer(b"a", 0, 9),
            moves=plan,
            now=1,
        )
    )
    await database.run(
        lambda c: transfers.store(
            c, network=NETWORK, wallet=OTHER, transfer=SignedTransfer(b"b", 0, 9), moves=plan, now=1
        )
    )
    assert await finish(FakeChain(), wallet, database) == ()


async def test_a_batch_is_judged_message_by_message(database, wallet):
    states = [
        add_channel(database, replace(STATE, address=Address(0, bytes([n]) * 32))).state
        for n in (1, 2, 3)
    ]
    wallet.failing, wallet.skipped = {states[1].address}, {states[2].address}
    sent = await send_moves(
        FakeChain(), wallet, database, [moves.topping_up(one, 5) for one in states]
    )
    assert sent.outcome is Outcome.FAILED
    assert [one.channel_id for one in sent.failed] == [states[1].id, states[2].id]
    deposits = [one.deposit - STATE.deposit for one in await channels.list_channels(database)]
    assert deposits == [5, 0, 0]
    with pytest.raises(TransactionFailedError, match="113"):
        sent.check()
    with pytest.raises(TransactionFailedError, match="left out the message"):
        replace(sent, failed=sent.failed[1:]).check()


async def test_a_wallet_that_fails_did_nothing(database, wallet):
    wallet.own_failure = True
    sent = await send_moves(FakeChain(), wallet, database, top_up(database))
    assert sent.outcome is Outcome.FAILED
    with pytest.raises(TransactionFailedError):
        sent.check()
    assert await deposit(database) == 0


async def test_an_opening_that_never_was_closes_its_channel(database, wallet):
    state = replace(STATE, id=0, epoch=0, status=ChannelStatus.OPENING)
    wallet.script = ["void"]
    sent = await send_moves(
        FakeChain(), wallet, database, [moves.opening(state, moves.empty_auth())]
    )
    with pytest.raises(ChainUnavailableError, match="nothing was sent"):
        sent.check()
    (known,) = await channels.list_channels(database)
    assert known.status is ChannelStatus.CLOSED


@given(st.integers(0, MAX_NANO))
def test_every_amount_survives_its_text(nano):
    assert parse_amount(format_amount(nano)) == nano


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=8))
def test_what_a_batch_needs_is_the_sum_of_its_parts(amounts):
    """Nothing is lost or made by putting moves into one transaction."""
    plan = [moves.topping_up(STATE, nano) for nano in amounts]
    plan += [moves.requesting_close(STATE), moves.finalizing(STATE)]
    assert sum(one.message.value for one in plan if not one.returned) == sum(amounts)
    assert sum(one.message.value for one in plan if one.returned) == 2 * ATTACHED
    together = fees_at_most([one.message for one in plan])
    assert together <= sum(fees_at_most([one.message]) for one in plan)
    assert together > max(fees_at_most([one.message]) for one in plan)


def test_every_kind_has_a_price():
    assert set(TYPICAL_FEES) == set(MoveKind)


def test_a_sweep_carries_all_and_its_comment():
    move = moves.sweeping(OTHER, bounce=False, comment="account 17")
    assert (move.message.carries_all, move.message.value, move.message.bounce) == (True, 0, False)
    assert move.message.body is not None
    reader = move.message.body.begin_parse()
    assert reader.load_uint(32) == 0
    assert reader.load_bytes(10) == b"account 17"
    assert moves.sweeping(OTHER, bounce=True).message.body is None
    with pytest.raises(Exception, match=r".+"):
        moves.sweeping(OTHER, bounce=True, comment="x" * 200)
