"""Leaving a channel (payments.md §1): alone after the delay, or at once for exactly what the receipts say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cocoon_sdk.errors import (
    ChannelDesyncError,
    PaymentError,
    TransactionFailedError,
)
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.payments import channels, closing
from cocoon_sdk.payments.accounting import ChannelStatus
from cocoon_sdk.payments.meter import Counts
from cocoon_sdk.payments.voucher import CloseAuth, sign_close_auth
from cocoon_sdk.protocol import messages
from cocoon_sdk.store.database import Database
from cocoon_sdk.ton.contract.channel import (
    Op,
)
from tests.unit.payments.chain_kit import OURS, FakeChain, FakeWallet
from tests.unit.payments.ledger_kit import (
    CLIENT,
    NETWORK,
    PRICE,
    PROVIDER,
    STATE,
    add_channel,
    open_ledger,
    receipt,
    request_id,
    settle,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def database(ledger_folder: Path) -> Iterator[Database]:
    with open_ledger(ledger_folder) as opened:
        yield opened


@pytest.fixture
def chain() -> FakeChain:
    return FakeChain()


@pytest.fixture
def wallet(chain: FakeChain, database: Database) -> FakeWallet:
    return FakeWallet(chain, database)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "_POLL_PAUSE", 0)


async def test_leaving_alone(chain, wallet, database):
    channel = add_channel(database)
    parts = {"chain": chain, "wallet": wallet, "database": database}
    state = await closing.request_close(**parts, state=channel.state)
    assert (state.status, state.close_at) == (ChannelStatus.CLOSING, 5600)
    assert await closing.request_close(**parts, state=state) == state
    with pytest.raises(PaymentError, match="closing"):
        await channel.open_stream(request_id(1), price=PRICE, prompt_bound=1, max_tokens=1)
    with pytest.raises(PaymentError, match="for 1 hour more"):
        await closing.finalize(**parts, state=state)
    state = await closing.cancel_close(**parts, state=state)
    assert state.status is ChannelStatus.OPEN
    with pytest.raises(PaymentError, match="not closing"):
        await closing.cancel_close(**parts, state=state)
    with pytest.raises(PaymentError, match="not closing"):
        await closing.finalize(**parts, state=state)
    await closing.request_close(**parts, state=state)
    chain.now += 3600
    state = await closing.finalize(**parts, state=state)
    assert state.status is ChannelStatus.CLOSED
    assert await closing.finalize(**parts, state=state) == state
    assert wallet.sent == [
        Op.REQUEST_CLOSE, Op.CANCEL_CLOSE, Op.REQUEST_CLOSE, Op.FINALIZE,
    ]  # fmt: skip


def consent(final: int, *, signer: Ed25519Key = PROVIDER, epoch: int = 42) -> messages.CloseAuth:
    auth = CloseAuth(NETWORK, STATE.address, epoch, final)
    return messages.CloseAuth(epoch, final, sign_close_auth(signer, auth))


async def test_a_cooperative_close_pays_exactly_what_the_receipts_say(chain, wallet, database):
    channel = add_channel(database)
    parts = {"chain": chain, "wallet": wallet, "database": database, "state": channel.state}
    await channel.open_stream(request_id(1), price=PRICE, prompt_bound=100, max_tokens=10)
    with pytest.raises(ChannelDesyncError, match="without receipts"):
        await closing.coop_close(**parts, auth=consent(0))
    await settle(channel, receipt(1, Counts(100), seq=1, spent=2000))
    for wrong in (consent(2001), consent(1999), consent(2000, signer=CLIENT)):
        with pytest.raises(ChannelDesyncError):
            await closing.coop_close(**parts, auth=wrong)
    with pytest.raises(ChannelDesyncError):
        await closing.coop_close(**parts, auth=consent(2000, epoch=43))
    state = await closing.coop_close(**parts, auth=consent(2000))
    assert state.status is ChannelStatus.CLOSED
    assert wallet.sent == [Op.COOP_CLOSE]
    with pytest.raises(PaymentError, match="closed"):
        await closing.coop_close(**parts, auth=consent(2000))


@pytest.mark.parametrize("data", [OURS, replace(OURS, close_at=5000)])
async def test_a_cooperative_close_also_ends_a_close_window(chain, wallet, database, data):
    chain.data = data
    channel = add_channel(database)
    state = await closing.coop_close(
        chain=chain, wallet=wallet, database=database, state=channel.state, auth=consent(0)
    )
    assert state.status is ChannelStatus.CLOSED


async def test_receipts_out_of_order_stop_a_cooperative_close(chain, wallet, database):
    """Their prices are owed, but `spent` does not hold them yet."""
    channel = add_channel(database)
    parts = {"chain": chain, "wallet": wallet, "database": database}
    for number in (1, 2):
        await channel.open_stream(request_id(number), price=PRICE, prompt_bound=100, max_tokens=10)
    await settle(channel, receipt(2, Counts(100), seq=2, spent=4000))
    await channel.refuse(request_id(1))
    with pytest.raises(ChannelDesyncError, match="without receipts"):
        await closing.coop_close(**parts, state=channel.state, auth=consent(0))
    assert wallet.sent == []


async def test_the_chain_decides_whatever_the_caller_remembers(chain, wallet, database):
    channel = add_channel(database)
    parts = {"chain": chain, "wallet": wallet, "database": database, "state": channel.state}
    chain.data = None
    for step in (closing.request_close, closing.cancel_close):
        with pytest.raises(PaymentError, match="closed"):
            await step(**parts)
    with pytest.raises(PaymentError, match="closed"):
        await closing.coop_close(**parts, auth=consent(0))
    assert wallet.sent == []


async def test_what_the_chain_refuses_changes_nothing(chain, wallet, database):
    channel = add_channel(database)
    wallet.fails = TransactionFailedError("no", exit_code=110)
    with pytest.raises(TransactionFailedError):
        await closing.request_close(
            chain=chain, wallet=wallet, database=database, state=channel.state
        )
    (state,) = await channels.list_channels(database)
    assert state.status is ChannelStatus.OPEN
