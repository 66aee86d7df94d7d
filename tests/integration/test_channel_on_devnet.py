"""A payment channel from opening to its end through Wallet and ToncenterClient, on a real devnet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from cocoon_sdk.errors import TransactionFailedError
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Cell
from cocoon_sdk.ton.chain import DEVNET_NETWORK, AccountState
from cocoon_sdk.ton.contract import channel as contract
from cocoon_sdk.ton.contract.channel import ATTACHED, ChannelData, ChannelTerms, ContractError
from cocoon_sdk.ton.toncenter import ToncenterClient
from cocoon_sdk.ton.wallet import OutMessage, Wallet
from tests.integration.devnet_process import Devnet, running

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.xdist_group("devnet")]

COIN = 10**9
CLOSE_DELAY = 3_600


@pytest.fixture(scope="module")
def devnet() -> Iterator[Devnet]:
    with running() as devnet:
        yield devnet


class Parties:
    """A client and a provider with funded wallets, and one channel between them."""

    def __init__(self, devnet: Devnet, chain: ToncenterClient) -> None:
        self.devnet = devnet
        self.chain = chain
        self.voucher_key = Ed25519Key.generate()
        self.client = Wallet(Ed25519Key.generate(), DEVNET_NETWORK)
        self.provider = Wallet(Ed25519Key.generate(), DEVNET_NETWORK)
        for wallet in (self.client, self.provider):
            devnet.faucet(wallet.address, 5 * COIN)
        identity = Ed25519Key.generate()
        self.terms = ChannelTerms(
            self.voucher_key.public_key, identity.public_key, CLOSE_DELAY, salt=7
        )
        parties = (self.client.address, self.provider.address)
        self.init = contract.state_init(self.terms, *parties)
        self.address = contract.channel_address(self.terms, *parties)

    async def open(self, deposit: int) -> None:
        body = contract.deposit_body()
        message = OutMessage(self.address, deposit + ATTACHED, body, state_init=self.init)
        await self.client.send(self.chain, [message])

    async def act(self, wallet: Wallet, body: Cell, value: int = ATTACHED) -> None:
        await wallet.send(self.chain, [OutMessage(self.address, value, body)])

    async def account(self) -> AccountState:
        return await self.chain.get_account(self.address)

    async def data(self) -> ChannelData:
        state = await self.account()
        assert state.code_hash == contract.CODE_HASH
        assert state.data is not None
        return contract.parse_channel_data(state.data)

    async def redeem_body(self, cumulative: int) -> Cell:
        epoch = (await self.data()).epoch
        voucher = contract.voucher_cell(DEVNET_NETWORK, self.address, epoch, cumulative)
        signature = self.voucher_key.sign(contract.signing_input(voucher))
        return contract.redeem_body(1, cumulative, signature, voucher)

    async def balance(self, address: Address) -> int:
        return (await self.chain.get_account(address)).balance


@pytest.fixture
async def parties(devnet: Devnet) -> AsyncIterator[Parties]:
    chain = ToncenterClient(devnet.url, network=DEVNET_NETWORK)
    yield Parties(devnet, chain)
    await chain.aclose()
    devnet.assert_balanced()


async def test_open_redeem_and_close(parties: Parties) -> None:
    await parties.open(COIN)
    opened = await parties.data()
    assert opened.epoch > 0
    assert (opened.client, opened.provider) == (parties.client.address, parties.provider.address)
    assert opened.terms == parties.terms
    held = await parties.balance(parties.address)
    assert 0.99 * COIN < held <= COIN + ATTACHED

    before = await parties.balance(parties.provider.address)
    await parties.act(parties.provider, await parties.redeem_body(COIN // 4))
    assert (await parties.data()).redeemed == COIN // 4
    earned = await parties.balance(parties.provider.address) - before
    assert COIN // 4 - 5_000_000 < earned < COIN // 4
    assert await parties.balance(parties.address) == pytest.approx(held - COIN // 4, abs=1_000)

    await parties.act(parties.client, contract.request_close_body())
    close_at = (await parties.data()).close_at
    assert close_at == pytest.approx(await parties.chain.time() + CLOSE_DELAY, abs=30)
    with pytest.raises(TransactionFailedError) as early:
        await parties.act(parties.client, contract.finalize_body())
    assert early.value.exit_code == ContractError.TOO_EARLY
    parties.devnet.post("/devnet/clock", {"advance": CLOSE_DELAY}).raise_for_status()
    before = await parties.balance(parties.client.address)
    await parties.act(parties.client, contract.finalize_body())
    assert await parties.balance(parties.client.address) > before + COIN // 2
    ended = await parties.account()
    assert (ended.balance, ended.code_hash) == (0, None)


async def test_top_up_by_a_bare_transfer(parties: Parties) -> None:
    await parties.open(COIN)
    held = await parties.balance(parties.address)
    await parties.provider.send(parties.chain, [OutMessage(parties.address, COIN)])
    assert await parties.balance(parties.address) == pytest.approx(held + COIN, abs=1_000_000)


async def test_a_refused_redeem_costs_only_fees(parties: Parties) -> None:
    await parties.open(COIN)
    body = await parties.redeem_body(COIN // 2)
    await parties.act(parties.provider, body)
    before = await parties.balance(parties.provider.address)
    with pytest.raises(TransactionFailedError) as stale:
        await parties.act(parties.provider, body)
    assert stale.value.exit_code == ContractError.STALE
    assert await parties.balance(parties.provider.address) > before - 5_000_000


async def test_redeems_of_several_channels_in_one_send(devnet: Devnet, parties: Parties) -> None:
    channels = [parties, Parties(devnet, parties.chain)]
    for channel in channels:
        await channel.open(COIN)
    messages = [
        OutMessage(channel.address, ATTACHED, await channel.redeem_body(amount))
        for channel, amount in zip(channels, (COIN // 10, 3 * COIN), strict=True)
    ]
    trace = await parties.provider.send(parties.chain, messages)
    assert {channels[0].address, channels[1].address} <= {row.account for row in trace}
    assert (await channels[0].data()).redeemed == COIN // 10
    paid = (await channels[1].data()).redeemed  # underfunded: all but the rent reserve
    assert 0.98 * COIN < paid < COIN + ATTACHED
