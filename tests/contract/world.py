"""A tiny network around one channel: the real executor, plain senders, and a check of every nano."""

from __future__ import annotations

from dataclasses import dataclass, field

from cocoon_sdk.devnet.blockchain_config import FEES_2026, Fees, blockchain_config
from cocoon_sdk.devnet.executor import FIRST_LT, Executor
from cocoon_sdk.devnet.records import (
    Account,
    Message,
    Transaction,
    empty_account,
    read_account,
    read_transaction,
)
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Builder, Cell, cell_to_boc
from cocoon_sdk.ton.contract import channel as layouts
from cocoon_sdk.ton.contract.channel import ChannelData, ChannelTerms, Op, parse_channel_data

NETWORK = -217
COIN = 1_000_000_000
START = 1_790_000_000

CLIENT = Address(0, b"\xc1" * 32)
PROVIDER = Address(0, b"\xb0" * 32)
STRANGER = Address(0, b"\x5e" * 32)

CLIENT_KEY = Ed25519Key(b"client voucher key".ljust(32, b"."))
PROVIDER_KEY = Ed25519Key(b"provider identity".ljust(32, b"."))

TERMS = ChannelTerms(CLIENT_KEY.public_key, PROVIDER_KEY.public_key, close_delay=86_400, salt=1)

_EXECUTORS: dict[tuple[int, Fees], Executor] = {}


def executor(network: int, fees: Fees) -> Executor:
    """One executor for each configuration, shared by all tests of this process."""
    found = _EXECUTORS.get((network, fees))
    if found is None:
        found = _EXECUTORS[network, fees] = Executor(blockchain_config(network, fees=fees))
    return found


@dataclass(frozen=True)
class Outcome:
    """One transaction of the channel and what came out of it."""

    tx: Transaction
    balance_before: int
    balance_after: int

    @property
    def code(self) -> int:
        """The exit code; an action phase that failed counts as its result code."""
        if self.tx.action is not None and not self.tx.action.success:
            return self.tx.action.result_code
        return self.tx.exit_code

    @property
    def outs(self) -> tuple[Message, ...]:
        return self.tx.out_messages

    def to(self, party: Address) -> Message:
        """The single message to `party`."""
        (message,) = (m for m in self.outs if m.destination == party)
        return message

    @property
    def spent(self) -> int:
        """All that the transaction cost: gas, rent, and both shares of forwarding."""
        return self.tx.total_fees + sum(m.forward_fee for m in self.outs)


@dataclass
class World:
    """The chain's time, fees and the channel's account."""

    terms: ChannelTerms = TERMS
    client: Address = CLIENT
    provider: Address = PROVIDER
    fees: Fees = FEES_2026
    network: int = NETWORK
    now: int = START
    lt: int = FIRST_LT
    account: Cell = field(default_factory=empty_account)

    @property
    def address(self) -> Address:
        return layouts.channel_address(self.terms, self.client, self.provider)

    @property
    def state(self) -> Account:
        return read_account(self.account)

    @property
    def data(self) -> ChannelData:
        cell = self.state.data
        assert cell is not None
        return parse_channel_data(cell_to_boc(cell))

    @property
    def balance(self) -> int:
        return self.state.balance

    def send(
        self,
        source: Address,
        value: int,
        body: Cell | None,
        *,
        init: Cell | None = None,
        bounce: bool = True,
        bounced: bool = False,
    ) -> Outcome:
        """Deliver one internal message to the channel; fail unless every nano is accounted for."""
        self.lt += 1_000
        builder = (
            Builder()
            .store_uint(0b01, 2)
            .store_bool(bounce)
            .store_bool(bounced)
            .store_address(source)
            .store_address(self.address)
            .store_coins(value)
            .store_bool(False)
            .store_coins(0)
            .store_coins(0)
            .store_uint(self.lt, 64)
            .store_uint(self.now, 32)
        )
        if init is None:
            builder.store_bool(False)
        else:
            builder.store_uint(0b11, 2).store_ref(init)
        content = Builder().end_cell() if body is None else body
        message = builder.store_bool(True).store_ref(content).end_cell()
        before = self.balance
        self.lt += 1_000
        result = executor(self.network, self.fees).execute(
            self.account, message, now=self.now, lt=self.lt
        )
        tx = read_transaction(result.transaction)
        self.account = result.account
        after = self.balance
        leaving = sum(m.value + m.forward_fee for m in tx.out_messages)
        assert before + value == after + leaving + tx.total_fees, "money appeared or vanished"
        return Outcome(tx, before, after)

    # --- operations -------------------------------------------------------------------------

    def deploy_init(self) -> Cell:
        return layouts.state_init(self.terms, self.client, self.provider)

    def open(self, value: int = COIN, *, source: Address | None = None) -> Outcome:
        return self.send(
            source or self.client, value, layouts.deposit_body(7), init=self.deploy_init()
        )

    def opened(self, value: int = COIN) -> World:
        assert self.open(value).code == 0
        return self

    def deployed(self, value: int = COIN) -> World:
        """Deployed by a stranger but not opened: a refused deposit that does not bounce."""
        outcome = self.send(
            STRANGER, value, layouts.request_close_body(), init=self.deploy_init(), bounce=False
        )
        assert outcome.code == 102
        assert self.state.status == "active"
        return self

    def voucher(self, cumulative: int, **changes: object) -> Cell:
        fields = {
            "network": self.network,
            "channel": self.address,
            "epoch": self.data.epoch,
            "cumulative": cumulative,
        } | changes
        return layouts.voucher_cell(**fields)  # type: ignore[arg-type]

    def auth(self, final: int, **changes: object) -> Cell:
        fields = {
            "network": self.network,
            "channel": self.address,
            "epoch": self.data.epoch,
            "final": final,
        } | changes
        return layouts.close_auth_cell(**fields)  # type: ignore[arg-type]

    def redeem(
        self,
        cumulative: int,
        *,
        claim: int | None = None,
        by: Address | None = None,
        value: int = layouts.ATTACHED,
    ) -> Outcome:
        cell = self.voucher(cumulative)
        return self.redeem_cell(
            cell, sign(cell), claim=cumulative if claim is None else claim, by=by, value=value
        )

    def redeem_cell(
        self,
        cell: Cell,
        signature: bytes,
        *,
        claim: int,
        by: Address | None = None,
        value: int = layouts.ATTACHED,
    ) -> Outcome:
        body = layouts.redeem_body(9, claim, signature, cell)
        return self.send(by or self.provider, value, body)

    def request_close(self, by: Address | None = None, value: int = layouts.ATTACHED) -> Outcome:
        return self.send(by or self.client, value, layouts.request_close_body(9))

    def cancel_close(self, by: Address | None = None, value: int = layouts.ATTACHED) -> Outcome:
        return self.send(by or self.client, value, layouts.cancel_close_body(9))

    def finalize(self, by: Address = STRANGER, value: int = layouts.ATTACHED) -> Outcome:
        return self.send(by, value, layouts.finalize_body(9))

    def provider_close(
        self,
        claim: int,
        cumulative: int | None = None,
        *,
        by: Address | None = None,
        value: int = layouts.ATTACHED,
    ) -> Outcome:
        if cumulative is None:
            body = layouts.provider_close_body(9, claim)
        else:
            cell = self.voucher(cumulative)
            body = layouts.provider_close_body(9, claim, sign(cell), cell)
        return self.send(by or self.provider, value, body)

    def coop_close(
        self,
        final: int,
        *,
        key: Ed25519Key = PROVIDER_KEY,
        by: Address | None = None,
        value: int = layouts.ATTACHED,
        cell: Cell | None = None,
    ) -> Outcome:
        auth = self.auth(final) if cell is None else cell
        body = layouts.coop_close_body(9, sign(auth, key), auth)
        return self.send(by or self.client, value, body)


def sign(cell: Cell, key: Ed25519Key = CLIENT_KEY) -> bytes:
    return key.sign(layouts.signing_input(cell))


def opcode(message: Message) -> Op:
    assert message.opcode is not None
    return Op(message.opcode)


def payout_total(message: Message) -> int:
    """The `redeemed` that a payout announces."""
    assert message.body is not None
    s = message.body.begin_parse()
    assert s.load_uint(32) == Op.PAYOUT
    assert s.load_uint(64) == 9
    total = s.load_coins()
    s.end()
    return total
