"""What the provider's books turn into on a real chain: redeems, closes and income (payments.md §3)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cocoon_provider.closing import CooperativeClose
from cocoon_provider.earnings import read_earnings
from cocoon_provider.opening import Opening
from cocoon_provider.provider import Books
from cocoon_provider.refusals import Refusal
from cocoon_provider.registration import read_channel
from cocoon_provider.tables import ChannelKey
from cocoon_sdk.errors import InsufficientFundsError
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.payments.meter import Counts, Price
from cocoon_sdk.payments.receipt import FinishReason
from cocoon_sdk.payments.voucher import Voucher, sign_voucher
from cocoon_sdk.protocol import messages
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import DEVNET_NETWORK
from cocoon_sdk.ton.contract import channel as contract
from cocoon_sdk.ton.contract.channel import ATTACHED, ChannelTerms, parse_channel_data
from cocoon_sdk.ton.toncenter import ToncenterClient
from cocoon_sdk.ton.wallet import OutMessage, Wallet
from tests.integration.devnet_process import Devnet, running
from tests.provider_world import make_config

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.xdist_group("devnet")]

COIN = 10**9
PRICE = Price(1_000_000_000, 1_000_000_000, 1_000_000_000)  # 1,000 nano a token


@pytest.fixture(scope="module")
def devnet() -> Iterator[Devnet]:
    with running() as devnet:
        yield devnet


@dataclass
class Payer:
    """A client with one open channel."""

    stage: Stage
    key: Ed25519Key
    address: Address
    channel: ChannelKey | None = None

    async def enrol(self) -> ChannelKey:
        self.channel = await self.stage.books.mirror.usable(self.address, self.key.public_key)
        return self.channel

    def voucher(self, cumulative: int) -> messages.Voucher:
        assert self.channel is not None
        epoch = self.channel.epoch
        fields = Voucher(DEVNET_NETWORK, self.address, epoch, cumulative)
        return messages.Voucher(epoch, cumulative, sign_voucher(self.key, fields), 0)

    async def start(self, tokens: int, ceiling: int) -> Opening:
        """A stream whose first step is `tokens` prompt tokens, under a voucher of `ceiling`."""
        key = await self.enrol()
        begin = Opening(
            request_id=secrets.token_bytes(16),
            request_hash=b"q" * 32,
            session_id=b"s" * 16,
            model_hash=b"m" * 32,
            price=PRICE,
            window=10**12,
            first=Counts(prompt=tokens),
            response_hash=b"0" * 32,
        )
        await self.stage.books.book.open_stream(
            key, begin, self.voucher(ceiling), self.key.public_key
        )
        return begin

    async def spend(self, tokens: int, ceiling: int) -> None:
        """One request of `tokens` at 1,000 nano each."""
        begin = await self.start(tokens, ceiling)
        assert self.channel is not None
        await self.stage.books.book.finish(
            self.channel, begin.request_id, Counts(prompt=tokens), b"1" * 32, FinishReason.STOP
        )

    async def redeemed(self) -> int:
        state = await self.stage.chain.get_account(self.address)
        assert state.data is not None
        return parse_channel_data(state.data).redeemed


class Stage:
    """The provider's books on a devnet, and clients to pay it."""

    def __init__(self, devnet: Devnet, folder: Path) -> None:
        self.devnet = devnet
        self.chain = ToncenterClient(devnet.url, network=DEVNET_NETWORK)
        self.identity = Ed25519Key.generate()
        self.books = Books(
            make_config(channels={"mirror_ttl": 3600.0}),
            identity=self.identity,
            wallet_key=Ed25519Key.generate(),
            chain=self.chain,
            database_url=f"sqlite:///{folder / 'ledger.sqlite'}",
        )
        self.client = Wallet(Ed25519Key.generate(), DEVNET_NETWORK)
        devnet.faucet(self.client.address, 20 * COIN)

    @property
    def payout(self) -> Address:
        return self.books.wallet.address

    async def payer(self, deposit: int = COIN) -> Payer:
        key = Ed25519Key.generate()
        terms = ChannelTerms(key.public_key, self.identity.public_key, 86_400, secrets.randbits(63))
        parties = (self.client.address, self.payout)
        address = contract.channel_address(terms, *parties)
        init = contract.state_init(terms, *parties)
        body = contract.deposit_body()
        await self.client.send(self.chain, [OutMessage(address, deposit, body, state_init=init)])
        return Payer(self, key, address)

    async def act(self, payer: Payer, body: contract.Cell) -> None:
        await self.client.send(self.chain, [OutMessage(payer.address, ATTACHED, body)])

    def income(self) -> int:
        found = self.books.database.run_sync(lambda c: read_earnings(c, now=0))
        return found.redeemed_nano


@pytest.fixture
async def stage(devnet: Devnet, tmp_path: Path) -> AsyncIterator[Stage]:
    made = Stage(devnet, tmp_path)
    yield made
    await made.books.aclose()
    devnet.assert_balanced()


async def test_what_was_spent_is_claimed_and_never_the_ceiling(stage: Stage) -> None:
    stage.devnet.faucet(stage.payout, COIN)
    payer = await stage.payer()
    await payer.spend(50_000, ceiling=600_000_000)
    settlement = stage.books.settlement
    assert await settlement.redeem() == 0  # below the threshold, and young
    assert await settlement.redeem(everything=True) == 50_000_000
    assert await payer.redeemed() == 50_000_000
    assert stage.income() == 50_000_000
    assert await settlement.redeem(everything=True) == 0
    await payer.spend(300_000, ceiling=600_000_000)
    assert await settlement.redeem() == 300_000_000  # above the threshold of a quarter
    assert stage.income() == await payer.redeemed() == 350_000_000


async def test_durable_dues_of_running_streams_are_claimed_too(stage: Stage) -> None:
    stage.devnet.faucet(stage.payout, COIN)
    payer = await stage.payer()
    begin = await payer.start(100_000, ceiling=500_000_000)
    assert payer.channel is not None
    done = Counts(prompt=80_000)
    await stage.books.book.advance(
        payer.channel, begin.request_id, done, b"1" * 32, window=0, granted=begin.first, targets=[]
    )
    assert await stage.books.settlement.redeem(everything=True) == 80_000_000


async def test_several_channels_are_redeemed_in_one_wallet_message(stage: Stage) -> None:
    stage.devnet.faucet(stage.payout, COIN)
    payers = [await stage.payer() for _ in range(3)]
    for number, payer in enumerate(payers, 1):
        await payer.spend(number * 10_000, ceiling=500_000_000)
    assert await stage.books.settlement.redeem(everything=True) == 60_000_000
    assert await stage.books.wallet.seqno(stage.chain) == 1
    assert [await payer.redeemed() for payer in payers] == [10**7, 2 * 10**7, 3 * 10**7]


async def test_a_wallet_too_small_for_all_redeems_the_urgent_and_the_large_first(
    stage: Stage,
) -> None:
    payers = [await stage.payer() for _ in range(4)]
    for number, payer in enumerate(payers, 1):
        await payer.spend(number * 10_000, ceiling=500_000_000)
    await stage.act(payers[0], contract.request_close_body())
    await stage.books.settlement.refresh()
    stage.devnet.faucet(stage.payout, 2 * ATTACHED)  # for one at a time, not for all together
    order: list[int] = []
    send = stage.books.wallet.send

    async def noted(chain: ToncenterClient, batch: list[OutMessage], **options: bool) -> object:
        order.extend(index for m in batch for index, p in enumerate(payers) if p.address == m.to)
        return await send(chain, batch, **options)

    stage.books.wallet.send = noted  # type: ignore[assignment]
    assert await stage.books.settlement.redeem(everything=True) == 100_000_000
    assert order == [0, 3, 2, 1]


async def test_the_settlement_loop_outlives_any_failure(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settlement, rounds = stage.books.settlement, 0

    async def broken() -> None:
        nonlocal rounds
        rounds += 1
        raise OverflowError("Python int too large to convert to SQLite INTEGER")

    monkeypatch.setattr(settlement, "refresh", broken)
    task = asyncio.create_task(settlement.run(0.001))
    async with asyncio.timeout(5):
        while rounds < 3:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert "OverflowError" in caplog.text


async def test_nothing_below_its_cost_is_redeemed(stage: Stage) -> None:
    stage.devnet.faucet(stage.payout, COIN)
    payer = await stage.payer()
    await payer.spend(1_500, ceiling=500_000_000)  # exactly the cost
    assert await stage.books.settlement.redeem(everything=True) == 0
    await payer.spend(1, ceiling=500_000_000)
    assert await stage.books.settlement.redeem(everything=True) == 1_501_000


async def test_a_channel_that_is_being_closed_is_redeemed_at_once(stage: Stage) -> None:
    stage.devnet.faucet(stage.payout, COIN)
    payer = await stage.payer()
    await payer.spend(10_000, ceiling=500_000_000)
    await stage.act(payer, contract.request_close_body())
    settlement = stage.books.settlement
    assert await settlement.redeem() == 0  # the mirror has not seen it yet
    await settlement.refresh()
    assert await settlement.redeem() == 10_000_000
    with pytest.raises(Refusal):
        await payer.spend(1, ceiling=600_000_000)


async def test_old_vouchers_are_redeemed_below_the_threshold(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.devnet.faucet(stage.payout, COIN)
    payer = await stage.payer()
    await payer.spend(10_000, ceiling=500_000_000)
    now = stage.books.book.clock()
    monkeypatch.setattr(stage.books.book, "clock", lambda: now + 6 * 3_600 - 5)
    assert await stage.books.settlement.redeem() == 0
    monkeypatch.setattr(
        "cocoon_provider.mirror.read_channel",
        lambda state, policy, *, now: read_channel(state, policy, now=min(now, state.block_time)),
    )
    monkeypatch.setattr(stage.books.book, "clock", lambda: now + 6 * 3_600 + 5)
    assert await stage.books.settlement.redeem() == 10_000_000


async def test_a_redeem_by_someone_else_is_income_too(stage: Stage) -> None:
    payer = await stage.payer()
    await payer.spend(40_000, ceiling=40_000_000)
    voucher = payer.voucher(40_000_000)
    cell = contract.voucher_cell(DEVNET_NETWORK, payer.address, voucher.epoch, voucher.cumulative)
    await stage.act(payer, contract.redeem_body(0, 40_000_000, voucher.signature, cell))
    await stage.books.settlement.refresh()
    assert stage.income() == 40_000_000
    assert await stage.books.settlement.redeem(everything=True) == 0


async def test_a_partial_payout_is_booked_and_the_rest_follows_a_top_up(stage: Stage) -> None:
    stage.devnet.faucet(stage.payout, COIN)
    payer = await stage.payer(deposit=100_000_000)
    await payer.spend(80_000, ceiling=80_000_000)
    state = await stage.chain.get_account(payer.address)
    assert state.balance < 100_000_000
    assert await stage.books.settlement.redeem(everything=True) == 80_000_000


async def test_a_wallet_without_coins_is_an_alarm(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    payer = await stage.payer()
    await payer.spend(10_000, ceiling=500_000_000)
    await stage.books.settlement.refresh()
    assert "ALARM" in caplog.text
    with pytest.raises(InsufficientFundsError):
        await stage.books.settlement.redeem(everything=True)
    assert stage.income() == 0


async def test_a_destroyed_channel_is_given_up(stage: Stage) -> None:
    stage.devnet.faucet(stage.payout, COIN)
    payer = await stage.payer()
    await payer.spend(10_000, ceiling=500_000_000)
    assert payer.channel is not None
    await stage.act(payer, contract.request_close_body())
    stage.devnet.post("/devnet/clock", {"advance": 86_401}).raise_for_status()
    await stage.act(payer, contract.finalize_body())
    assert await stage.books.settlement.redeem(everything=True) == 0
    found = stage.books.database.run_sync(lambda c: read_earnings(c, now=0))
    assert (found.lost_nano, found.unredeemed_nano) == (10_000_000, 0)


async def test_a_cooperative_close_pays_exactly_what_was_spent(stage: Stage) -> None:
    payer = await stage.payer()
    await payer.spend(20_000, ceiling=500_000_000)
    assert payer.channel is not None
    auth = await CooperativeClose(stage.books.book, stage.identity).authorise(
        payer.channel, payer.channel.epoch
    )
    cell = contract.close_auth_cell(DEVNET_NETWORK, payer.address, auth.epoch, auth.final)
    await stage.act(payer, contract.coop_close_body(0, auth.signature, cell))
    assert (await stage.chain.get_account(stage.payout)).balance == 20_000_000
    await stage.books.settlement.refresh()
    assert stage.income() == 20_000_000
    found = stage.books.database.run_sync(lambda c: read_earnings(c, now=0))
    assert (found.lost_nano, found.unredeemed_nano, found.channels) == (0, 0, 0)


@pytest.mark.parametrize("selling", [True, False])
async def test_an_empty_wallet_is_said_as_soon_as_a_seller_starts(
    stage: Stage, caplog: pytest.LogCaptureFixture, selling: bool
) -> None:
    task = asyncio.create_task(stage.books.settlement.run(3_600, selling=selling))
    await asyncio.wait({task}, timeout=1.0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (f"ALARM: the wallet {stage.payout} holds 0 coins" in caplog.text) is selling
