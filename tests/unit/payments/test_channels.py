"""The ledger against the chain: what counts as our channel, stale states, lost and failed openings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cocoon_sdk.errors import (
    ChainDataError,
    ChainUnavailableError,
    ConfigError,
    InsufficientFundsError,
    PaymentError,
    TransactionFailedError,
)
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.payments import channels, closing
from cocoon_sdk.payments.accounting import ChannelStatus
from cocoon_sdk.store.database import Database
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.contract.channel import (
    CODE_HASH,
    ChannelTerms,
    Op,
)
from tests.unit.payments.chain_kit import OURS, PAYOUT, FakeChain, FakeWallet
from tests.unit.payments.ledger_kit import (
    MASTER,
    PRICE,
    PROVIDER,
    STATE,
    add_channel,
    open_ledger,
    request_id,
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


async def open_one(chain: FakeChain, wallet: FakeWallet, database: Database, **changes):
    arguments = {
        "provider_key": PROVIDER.public_key,
        "payout": PAYOUT,
        "close_delay": 3600,
        "deposit": 200_000_000,
    }
    return await channels.open_channel(
        chain=chain, wallet=wallet, database=database, master=MASTER, **{**arguments, **changes}
    )


async def test_an_opened_channel_pays_and_is_found_again(chain, wallet, database):
    channel = await open_one(chain, wallet, database)
    assert (channel.epoch, channel.state.status, channel.state.deposit) == (77, "open", 200_000_000)
    assert [state.status for state in wallet.known_before] == [ChannelStatus.OPENING]
    (again,) = await channels.load_channels(database, MASTER)
    assert (again.address, again.signer.public_key) == (channel.address, channel.client_key)
    voucher = await again.open_stream(request_id(1), price=PRICE, prompt_bound=1, max_tokens=1)
    assert voucher.epoch == 77
    assert await channels.load_channels(database, Ed25519Key.generate()) == []


async def test_each_channel_has_a_key_and_an_address_of_its_own(chain, wallet, database):
    chain.data = None
    wallet.fails = TransactionFailedError("no", exit_code=110)
    for _ in range(2):
        with pytest.raises(TransactionFailedError):
            await open_one(chain, wallet, database)
    one, two = await channels.list_channels(database)
    assert one.client_key != two.client_key
    assert one.address != two.address


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"close_delay": 7 * 86400 + 1}, "7 days"),
        ({"provider_key": bytes([1]) + bytes(31)}, "valid Ed25519"),
        ({"deposit": 29_999_999}, "too small"),
        ({"min_deposit": 190_000_000}, "at least 0.205"),
        ({"payout": Address(-1, b"p" * 32)}, "workchain 0"),
    ],
)
async def test_terms_that_nobody_should_accept(chain, wallet, database, changes, why: str):
    with pytest.raises(ConfigError, match=why):
        await open_one(chain, wallet, database, **changes)
    assert wallet.sent == []
    assert await channels.list_channels(database) == []


@pytest.mark.parametrize(
    "error", [TransactionFailedError("no"), InsufficientFundsError("no"), ConfigError("no")]
)
async def test_an_opening_that_failed_is_closed(chain, wallet, database, error: Exception):
    wallet.fails = error
    with pytest.raises(type(error)):
        await open_one(chain, wallet, database)
    (state,) = await channels.list_channels(database)
    assert state.status is ChannelStatus.CLOSED


async def test_an_opening_that_cannot_be_paid_leaves_no_trace(chain, wallet, database):
    wallet.lacks = InsufficientFundsError("no")
    with pytest.raises(InsufficientFundsError):
        await open_one(chain, wallet, database)
    assert (wallet.sent, await channels.list_channels(database)) == ([], [])


async def test_an_opening_of_unknown_outcome_is_found_later_or_expires(chain, wallet, database):
    wallet.fails, chain.data = ChainUnavailableError("?"), None
    with pytest.raises(ChainUnavailableError):
        await open_one(chain, wallet, database)
    (state,) = await channels.list_channels(database)
    chain.now += 600
    state = await channels.refresh(chain, database, state)
    assert state.status is ChannelStatus.OPENING
    terms = ChannelTerms(state.client_key, state.provider_key, state.close_delay, state.salt)
    chain.data = replace(OURS, terms=terms, epoch=0)
    assert (await channels.refresh(chain, database, state)).status is ChannelStatus.OPENING
    chain.data = replace(OURS, terms=terms, epoch=99)
    state = await channels.refresh(chain, database, state)
    assert (state.status, state.epoch) == (ChannelStatus.OPEN, 99)


async def test_an_opening_that_never_came_is_given_up(chain, wallet, database):
    wallet.fails, chain.data = ChainUnavailableError("?"), None
    with pytest.raises(ChainUnavailableError):
        await open_one(chain, wallet, database)
    (state,) = await channels.list_channels(database)
    chain.now += 601
    assert (await channels.refresh(chain, database, state)).status is ChannelStatus.CLOSED


async def test_refresh_takes_what_the_chain_says(chain, database):
    channel = add_channel(database)
    chain.data = replace(OURS, redeemed=5000)
    state = await channels.refresh(chain, database, channel.state)
    assert (state.balance, state.redeemed, state.signed) == (150_000_000, 5000, 5000)
    assert state.limit == 5000 + 150_000_000 - 12_000_000


async def test_an_older_block_changes_nothing(chain, database):
    channel = add_channel(database)
    chain.now, chain.data = 999, None
    assert await channels.refresh(chain, database, channel.state) == channel.state


@pytest.mark.parametrize("data", [None, replace(OURS, epoch=43), replace(OURS, epoch=0)])
async def test_a_destroyed_or_reopened_channel_is_closed(chain, database, data):
    channel = add_channel(database)
    await channel.open_stream(request_id(1), price=PRICE, prompt_bound=1, max_tokens=1)
    chain.data = data
    state = await channels.refresh(chain, database, channel.state)
    assert (state.status, state.balance, state.streams) == (ChannelStatus.CLOSED, 0, ())
    chain.now -= 1
    chain.data = OURS  # from a machine that is a block behind
    assert (await channels.refresh(chain, database, state)).status is ChannelStatus.CLOSED
    with pytest.raises(PaymentError, match="closed"):
        await channel.open_stream(request_id(2), price=PRICE, prompt_bound=1, max_tokens=1)


async def test_a_channel_that_was_never_gone_is_within_reach_again(chain, wallet, database):
    channel = add_channel(database)
    signed = await channel.open_stream(request_id(1), price=PRICE, prompt_bound=9, max_tokens=9)
    chain.data = None  # a wrong answer
    state = await channels.refresh(chain, database, channel.state)
    assert state.status is ChannelStatus.CLOSED
    chain.data = OURS
    chain.now += 1
    state = await channels.refresh(chain, database, state)
    assert (state.status, state.balance) == (ChannelStatus.OPEN, 150_000_000)
    assert state.signed == signed.cumulative  # what was signed stays signed
    state = await closing.request_close(chain=chain, wallet=wallet, database=database, state=state)
    assert state.status is ChannelStatus.CLOSING


async def test_an_opening_wrongly_reported_as_failed_is_found(chain, wallet, database):
    wallet.fails = TransactionFailedError("no")
    with pytest.raises(TransactionFailedError):
        await open_one(chain, wallet, database)
    (state,) = await channels.list_channels(database)
    terms = ChannelTerms(state.client_key, state.provider_key, state.close_delay, state.salt)
    chain.data = replace(OURS, terms=terms, epoch=99)
    state = await channels.refresh(chain, database, state)
    assert (state.status, state.epoch) == (ChannelStatus.OPEN, 99)


@pytest.mark.parametrize(
    "change",
    [
        {"client": Address(0, b"x" * 32)},
        {"provider": Address(0, b"x" * 32)},
        {"terms": replace(OURS.terms, salt=1)},
        {"terms": replace(OURS.terms, close_delay=1)},
        {"terms": replace(OURS.terms, client_key=b"x" * 32)},
        {"terms": replace(OURS.terms, provider_key=b"x" * 32)},
    ],
)
async def test_other_terms_are_not_our_channel(chain, database, change):
    channel = add_channel(database)
    chain.data = replace(OURS, **change)
    with pytest.raises(ChainDataError, match="other terms"):
        await channels.refresh(chain, database, channel.state)


async def test_other_code_frozen_accounts_and_networks_are_refused(chain, database):
    channel = add_channel(database)
    chain.code_hash = bytes(32)
    with pytest.raises(ChainDataError, match="not a channel"):
        await channels.refresh(chain, database, channel.state)
    chain.code_hash, chain.status = CODE_HASH, "frozen"
    with pytest.raises(ChainDataError, match="frozen"):
        await channels.refresh(chain, database, channel.state)
    chain.network = -239
    with pytest.raises(ConfigError, match="network"):
        await channels.refresh(chain, database, channel.state)


async def test_top_up_only_while_open(chain, wallet, database):
    state = add_channel(database).state
    parts = {"chain": chain, "wallet": wallet, "database": database}
    state = await channels.top_up(**parts, state=state, amount=50)
    assert state.deposit == STATE.deposit + 50
    chain.data = replace(OURS, close_at=5000)
    with pytest.raises(PaymentError, match="closing"):
        await channels.top_up(**parts, state=state, amount=50)
    assert wallet.sent == [Op.DEPOSIT]
