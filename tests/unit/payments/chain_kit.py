"""A chain of one account and a wallet that plays the contract's part."""

from __future__ import annotations

from dataclasses import replace

from cocoon_sdk.payments import channels
from cocoon_sdk.payments.accounting import ChannelState
from cocoon_sdk.store.database import Database
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Cell, cell_to_boc
from cocoon_sdk.ton.chain import AccountState, TransactionInfo
from cocoon_sdk.ton.contract.channel import (
    CODE_HASH,
    ChannelData,
    ChannelTerms,
    Op,
    data_cell,
)
from cocoon_sdk.ton.wallet import OutMessage, SignedTransfer
from tests.unit.payments.ledger_kit import (
    NETWORK,
    STATE,
)

PAYOUT = STATE.payout
OURS = ChannelData(
    epoch=STATE.epoch,
    close_at=0,
    redeemed=0,
    client=STATE.client,
    provider=PAYOUT,
    terms=ChannelTerms(STATE.client_key, STATE.provider_key, STATE.close_delay, STATE.salt),
)


class FakeChain:
    """Answers with one account, whatever is asked for."""

    network = NETWORK

    def __init__(self) -> None:
        self.now = 2000
        self.data: ChannelData | None = OURS
        self.balance = 150_000_000
        self.code_hash = CODE_HASH
        self.status = "active"

    async def time(self) -> int:
        return self.now

    async def get_account(self, address: Address) -> AccountState:
        if self.data is None:
            return AccountState(address, 0, "nonexist", None, None, 0, 1, self.now)
        data = cell_to_boc(data_cell(self.data))
        return AccountState(
            address, self.balance, self.status, self.code_hash, data, 1, 1, self.now
        )


class FakeWallet:
    """Remembers what it was told to send, and plays the contract's part."""

    address = STATE.client
    network = NETWORK

    def __init__(self, chain: FakeChain, database: Database) -> None:
        self.chain, self.database = chain, database
        self.sent: list[Op] = []
        self.fails: Exception | None = None
        self.lacks: Exception | None = None
        self.messages: list[OutMessage] = []
        self.known_before: list[ChannelState] = []

    async def sign(self, chain: FakeChain, messages: list[OutMessage]) -> SignedTransfer:
        if self.lacks is not None:
            raise self.lacks
        self.messages = messages
        return SignedTransfer(b"signed", len(self.sent), chain.now + 90)

    async def deliver(
        self, chain: FakeChain, transfer: SignedTransfer
    ) -> tuple[TransactionInfo, ...]:
        (message,) = self.messages
        assert isinstance(message.body, Cell)
        op = Op(message.body.begin_parse().load_uint(32))
        self.known_before = await channels.list_channels(self.database)
        if self.fails is not None:
            raise self.fails
        self.sent.append(op)
        if op is Op.DEPOSIT and message.state_init is not None:
            (opening,) = self.known_before
            terms = ChannelTerms(
                opening.client_key, opening.provider_key, opening.close_delay, opening.salt
            )
            chain.data = ChannelData(77, 0, 0, self.address, PAYOUT, terms)
            chain.balance = message.value
        elif op is Op.REQUEST_CLOSE:
            assert chain.data is not None
            chain.data = replace(chain.data, close_at=chain.now + 3600)
        elif op is Op.CANCEL_CLOSE:
            assert chain.data is not None
            chain.data = replace(chain.data, close_at=0)
        elif op in {Op.FINALIZE, Op.COOP_CLOSE}:
            chain.data = None
        return tuple(
            TransactionInfo(account, lt, chain.now, True, 0, 1, 0, None)
            for lt, account in enumerate((self.address, message.to))
        )
