"""Wallet V5R1 against addresses and messages that two other libraries produced.

Addresses: tonutils 2.5.1 (Python) and @ton/ton (TypeScript) agree on all of them. Message hashes:
@ton/ton, `WalletContractV5R1.createTransfer` with the seed 42…42 on testnet.
"""

from __future__ import annotations

import pytest

from cocoon_sdk.errors import (
    ChainDataError,
    ChainUnavailableError,
    ConfigError,
    InsufficientFundsError,
    TransactionFailedError,
)
from cocoon_sdk.keys import Ed25519Key, verify_signature
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Builder, cell_from_boc, cell_to_boc
from cocoon_sdk.ton.chain import DEVNET_NETWORK, MAINNET, TESTNET, AccountState, TransactionInfo
from cocoon_sdk.ton.fees import estimate, tree_size
from cocoon_sdk.ton.message import normalised_hash, split_external, state_init
from cocoon_sdk.ton.shortage import too_little
from cocoon_sdk.ton.transfer import failure
from cocoon_sdk.ton.wallet import (
    EXPIRY_MARGIN,
    INDEX_SURE,
    LIFETIME,
    OutMessage,
    Wallet,
    wallet_id,
)
from cocoon_sdk.ton.wallet_code import WALLET_CODE_HASH, wallet_code

SEEDS = {"00": bytes(32), "0001": bytes(range(32)), "42": b"\x42" * 32}
ADDRESSES = [
    ("00", MAINNET, 0, "5d525b5095fc8541ff5d83b2bb7b2143e2659444cf213a0550a8c3aaf6d10651"),
    ("00", MAINNET, -1, "da766f420ea4d0d9d0d83d9edd38109bd0b061e7c9127af3799035afe66a0460"),
    ("00", TESTNET, 0, "f493faebb72aebc68939314c6b98883ff7cee905566099b619de11632368fcee"),
    ("00", TESTNET, -1, "623f97717711225ac4628f4cdf21140b6f6b50cba3bbd32479d1f916ae01a165"),
    ("00", DEVNET_NETWORK, 0, "8b44f1458fb81b00828e24e1ae1c0f10fe215e9c6513f8ce6f51d9de4980ab4d"),
    ("0001", MAINNET, 0, "f2801419aaa1b3704a0d50b5888dccb5511ed6e3191b99d144a04ea9ea390c52"),
    ("0001", TESTNET, 0, "8c97513be09383a69657bdbe1cbc8d5aa664317ed9ea38593bf5f9862a05f78f"),
    ("0001", DEVNET_NETWORK, 0, "30fc9390943167be14b73f51e60ff135db0c0860a595f9688cae0fca34c9e937"),
    ("42", MAINNET, 0, "3f3b5893fa6ac13361418d529488cf4ee90bfefb2ce60fd17c6c85d2ddaaba8e"),
    ("42", TESTNET, 0, "0932b4b56b67d41c9e7865f5259bced4a9267ef2aa60094d3497f7e7c02f02b3"),
    ("42", DEVNET_NETWORK, 0, "c9d540c25ef9cd36f5f6175d4d90621be3c74d1d47e254cd2b5613b8a28453fe"),
]
TO = Address(0, b"\x11" * 32)
KEY = Ed25519Key(SEEDS["42"])


def _golden_messages() -> list[OutMessage]:
    comment = Builder().store_uint(0, 32).store_bytes(b"hi").end_cell()
    code, data = (Builder().store_uint(n, 8).end_cell() for n in (1, 2))
    return [
        OutMessage(TO, 1_000_000_007, comment, bounce=False),
        OutMessage(Address(-1, b"\x22" * 32), 5, Builder().store_uint(0xDEADBEEF, 32).end_cell()),
        OutMessage(
            TO,
            1,
            Builder().store_bytes(b"\x07" * 120).end_cell(),
            state_init=state_init(code, data),
        ),
    ]


@pytest.mark.parametrize(("seed", "network", "workchain", "expected"), ADDRESSES)
def test_address_is_that_of_other_libraries(seed, network, workchain, expected):
    wallet = Wallet(Ed25519Key(SEEDS[seed]), network, workchain)
    assert wallet.address == Address(workchain, bytes.fromhex(expected))


def test_wallet_ids():
    assert wallet_id(MAINNET) == 2147483409
    assert wallet_id(TESTNET) == 2147483645
    assert wallet_id(MAINNET, -1) == 8388369


def test_code_is_the_published_one():
    assert wallet_code().hash == WALLET_CODE_HASH


@pytest.mark.parametrize(
    ("count", "seqno", "body_hash", "message_hash"),
    [
        (
            1,
            0,
            "22b69d23481cdd90d04c87086bedf48287063e91c5362ffde4c982ead64ce6f2",
            "d4080b772bf81eeae7fdfc35886ba5de08c695246375b77146190e343ca035bc",
        ),
        (
            3,
            7,
            "d57bf79fbc97d5a535a600f4275b680eb4db7ec93ad5e6b62265ff016cc632ce",
            "b91e42afa684ee4ac0e535b9c6619b36871bbb5ea827a9a6b34bfbe551258771",
        ),
    ],
)
def test_transfer_is_that_of_another_library(count, seqno, body_hash, message_hash):
    wallet = Wallet(KEY, TESTNET)
    boc = wallet.build_transfer(_golden_messages()[:count], seqno, 1_800_000_000, deploy=seqno == 0)
    message = cell_from_boc(boc)
    destination, init, body = split_external(message)
    assert destination == wallet.address
    assert body.hash.hex() == body_hash
    assert normalised_hash(message).hex() == message_hash
    assert (init is not None and init.hash == wallet.address.hash) == (seqno == 0)


def test_transfer_of_255_messages_is_that_of_another_library():
    messages = [OutMessage(TO, number + 1) for number in range(255)]
    boc = Wallet(KEY, TESTNET).build_transfer(messages, 9, 1_800_000_000, deploy=False)
    message = cell_from_boc(boc)
    assert split_external(message)[2].hash.hex() == (
        "cec6a4b978d732fd3b387240af65ec0d4aa188c9da272b097397d8bbeefa5452"
    )
    assert message.hash == normalised_hash(message)  # without init it is in normal form already


def test_signature_covers_the_request():
    body = split_external(
        cell_from_boc(Wallet(KEY, TESTNET).build_transfer(_golden_messages(), 3, 9, deploy=False))
    )[2]
    reader = body.begin_parse()
    request = Builder().store_uint(reader.load_uint(32), 32).store_bytes(reader.load_bytes(12))
    request.store_maybe_ref(reader.load_maybe_ref()).store_bool(reader.load_bool())
    signature = reader.load_bytes(64)
    reader.end()
    assert verify_signature(KEY.public_key, request.end_cell().hash, signature)


@pytest.mark.parametrize("count", [0, 256])
def test_number_of_messages_is_limited(count):
    with pytest.raises(ConfigError, match="1 to 255"):
        Wallet(KEY, TESTNET).build_transfer([OutMessage(TO, 1)] * count, 0, 9, deploy=False)


@pytest.mark.parametrize("value", [-1, 1.5, True, "1"])
def test_amounts_are_whole_nano(value):
    with pytest.raises(ConfigError):
        OutMessage(TO, value)


@pytest.mark.parametrize("mode", [0, 1, 64, 258])
def test_modes_that_the_wallet_rejects_are_refused(mode):
    with pytest.raises(ConfigError, match="mode"):
        OutMessage(TO, 1, mode=mode)


class FakeChain:
    """A chain of one wallet: executes what it accepts at once, or loses answers as told."""

    def __init__(self, wallet: Wallet, *, balance: int = 10**9, seqno: int | None = None):
        self.network = TESTNET
        self.wallet = wallet
        self.balance = balance
        self.seqno = seqno
        self.block_time = 1_000
        self.sent: list[bytes] = []
        self.executed: set[bytes] = set()
        self.lose_answer = self.drop = False
        self.hide_traces = 0
        self.refuse: TransactionFailedError | None = None
        self.rows: tuple[TransactionInfo, ...] = (self.row(self.wallet.address),)

    @staticmethod
    def row(account, *, success=True, lt=1):
        return TransactionInfo(account, lt, 1_000, success, 0 if success else 9, 5, 0, None)

    def data(self):
        builder = Builder().store_bool(True).store_uint(self.seqno, 32)
        builder.store_uint(wallet_id(self.network), 32).store_bytes(KEY.public_key)
        return cell_to_boc(builder.store_bool(False).end_cell())

    async def get_account(self, address):
        active = self.seqno is not None
        return AccountState(
            address,
            self.balance,
            "active" if active else "uninit",
            WALLET_CODE_HASH if active else None,
            self.data() if active else None,
            1,
            7,
            self.block_time,
        )

    async def send_boc(self, boc):
        self.sent.append(boc)
        if self.refuse is not None:
            raise self.refuse
        if not self.drop:
            self.executed.add(normalised_hash(cell_from_boc(boc)))
            self.seqno = (self.seqno or 0) + 1
        if self.lose_answer:
            raise ChainUnavailableError("no answer")
        return normalised_hash(cell_from_boc(boc))

    async def wait_message(self, msg_hash, *, timeout=60.0):
        if msg_hash not in self.executed or self.hide_traces:
            self.hide_traces -= 1
            raise ChainUnavailableError("not found")
        return self.rows

    async def time(self):
        return self.block_time

    async def aclose(self):
        pass


@pytest.fixture
def wallet() -> Wallet:
    return Wallet(KEY, TESTNET)


@pytest.mark.anyio
async def test_first_send_deploys_and_the_next_does_not(wallet):
    chain = FakeChain(wallet)
    for expected_seqno in (0, 1):
        await wallet.send(chain, [OutMessage(TO, 5)])
        _, init, body = split_external(cell_from_boc(chain.sent[-1]))
        assert (init is not None) == (expected_seqno == 0)
        reader = body.begin_parse()
        reader.load_uint(64)
        assert (reader.load_uint(32), reader.load_uint(32)) == (1_000 + LIFETIME, expected_seqno)
    assert await wallet.seqno(chain) == 2


@pytest.mark.anyio
async def test_lost_answer_is_not_a_second_transfer(wallet):
    chain = FakeChain(wallet, seqno=4)
    chain.lose_answer = True
    assert await wallet.send(chain, [OutMessage(TO, 5)]) == chain.rows
    assert len(chain.sent) == 1
    assert chain.seqno == 5


@pytest.mark.anyio
async def test_late_trace_is_found_by_the_sequence_number(wallet):
    chain = FakeChain(wallet, seqno=4)
    chain.hide_traces = 1
    assert await wallet.send(chain, [OutMessage(TO, 5)]) == chain.rows
    assert len(chain.sent) == 1


@pytest.mark.anyio
async def test_unknown_outcome_is_said_with_its_deadline(wallet):
    chain = FakeChain(wallet, seqno=4)
    chain.drop = chain.lose_answer = True
    with pytest.raises(ChainUnavailableError, match=rf"until {1_000 + LIFETIME}"):
        await wallet.send(chain, [OutMessage(TO, 5)])
    assert len(chain.sent) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("error", [ConfigError("key refused"), ChainDataError("malformed")])
async def test_failing_search_after_sending_is_unknown_too(wallet, monkeypatch, error):
    """Callers take ConfigError for proof that nothing was sent."""
    chain = FakeChain(wallet, seqno=4)

    async def fail(*arguments, **keywords):
        raise error

    monkeypatch.setattr(chain, "wait_message", fail)
    with pytest.raises(ChainUnavailableError, match="can still be executed"):
        await wallet.send(chain, [OutMessage(TO, 5)])


@pytest.mark.anyio
async def test_expired_message_is_told_apart(wallet, monkeypatch):
    chain = FakeChain(wallet, seqno=4)
    chain.drop = True

    async def expire(msg_hash, *, timeout):
        chain.block_time += LIFETIME + EXPIRY_MARGIN + 1
        raise ChainUnavailableError("not found")

    monkeypatch.setattr(chain, "wait_message", expire)
    with pytest.raises(ChainUnavailableError, match="nothing was sent"):
        await wallet.send(chain, [OutMessage(TO, 5)])


@pytest.mark.anyio
async def test_refusal_is_raised_at_once(wallet):
    chain = FakeChain(wallet, seqno=4)
    chain.refuse = TransactionFailedError("refused", exit_code=133)
    with pytest.raises(TransactionFailedError):
        await wallet.send(chain, [OutMessage(TO, 5)])


@pytest.mark.anyio
async def test_failure_downstream_is_raised_unless_unchecked(wallet):
    chain = FakeChain(wallet, seqno=4)
    chain.rows = (chain.row(wallet.address), chain.row(TO, success=False, lt=2))
    with pytest.raises(TransactionFailedError) as caught:
        await wallet.send(chain, [OutMessage(TO, 5)])
    assert caught.value.exit_code == 9
    assert await wallet.send(chain, [OutMessage(TO, 5)], check=False) == chain.rows


@pytest.mark.anyio
async def test_own_failure_is_raised_also_when_unchecked(wallet):
    chain = FakeChain(wallet, seqno=4)
    chain.rows = (chain.row(wallet.address, success=False),)
    with pytest.raises(TransactionFailedError):
        await wallet.send(chain, [OutMessage(TO, 5)], check=False)


@pytest.mark.anyio
async def test_funds_are_checked_before_anything_is_sent(wallet):
    messages = [OutMessage(TO, 300), OutMessage(TO, 400)]
    needed = 700 + estimate(message.cell() for message in messages)
    chain = FakeChain(wallet, balance=needed - 1, seqno=0)
    with pytest.raises(InsufficientFundsError, match=r"send it 0\.000000001 coins more") as caught:
        await wallet.send(chain, messages)
    assert caught.value.needed == needed
    assert not chain.sent
    chain.balance += 1
    await wallet.send(chain, messages)


@pytest.mark.anyio
async def test_carrying_the_whole_balance_needs_only_the_fees(wallet):
    message = OutMessage(TO, 0, mode=128 + 2)
    chain = FakeChain(wallet, balance=estimate([message.cell()]), seqno=0)
    await wallet.send(chain, [message])


def test_shared_cells_are_counted_once():
    leaf = Builder().store_uint(1, 8).end_cell()
    pair = Builder().store_uint(2, 4).store_ref(leaf).store_ref(leaf).end_cell()
    for _ in range(200):  # a tree of 2^200 paths
        pair = Builder().store_ref(pair).store_ref(pair).end_cell()
    assert tree_size(pair) == (202, 12)


@pytest.mark.anyio
async def test_lagging_replica_does_not_reuse_a_number(wallet, monkeypatch):
    chain = FakeChain(wallet, seqno=4)
    await wallet.send(chain, [OutMessage(TO, 5)])
    chain.seqno = 4
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)
        chain.seqno = 5

    monkeypatch.setattr("cocoon_sdk.ton.wallet.asyncio.sleep", sleep)
    assert await wallet.seqno(chain) == 5
    assert len(pauses) == 1


@pytest.mark.anyio
async def test_foreign_account_state_is_refused(wallet, monkeypatch):
    chain = FakeChain(wallet, seqno=4)
    real = await chain.get_account(wallet.address)
    other = Builder().store_bool(True).store_uint(4, 32).store_uint(wallet_id(TESTNET), 32)
    data = cell_to_boc(other.store_bytes(b"\x01" * 32).store_bool(False).end_cell())
    for change in ({"code_hash": bytes(32)}, {"data": data}, {"status": "frozen"}):
        fields = {name: getattr(real, name) for name in real.__slots__} | change

        async def get_account(address, fields=fields):
            return AccountState(**fields)

        monkeypatch.setattr(chain, "get_account", get_account)
        with pytest.raises(ChainDataError):
            await wallet.send(chain, [OutMessage(TO, 5)])
    assert not chain.sent


@pytest.mark.anyio
async def test_wrong_network_is_refused(wallet):
    chain = FakeChain(wallet)
    chain.network = MAINNET
    with pytest.raises(ConfigError, match="network"):
        await wallet.send(chain, [OutMessage(TO, 5)])


@pytest.mark.parametrize(
    ("network", "advice"), [(MAINNET, "coins more"), (DEVNET_NETWORK, "cocoon devnet fund {} 2")]
)
def test_a_lack_of_coins_says_what_to_do(network: int, advice: str):
    said = str(too_little(TO, network, holds=500_000_000, needed=1_600_000_000))
    name = TO.friendly(bounceable=False, testnet=network != MAINNET)
    assert "holds 0.5 coins" in said
    assert "need 1.6; send it 1.1 coins more" in said
    assert said.endswith(advice.format(name))


@pytest.mark.anyio
async def test_what_was_signed_is_executed_once_however_often_it_is_delivered(wallet):
    chain = FakeChain(wallet, seqno=4)
    transfer = await wallet.sign(chain, [OutMessage(TO, 5)])
    assert (transfer.seqno, transfer.valid_until) == (4, 1_000 + LIFETIME)
    assert chain.sent == []
    for _ in range(3):  # by whoever, also after it has expired
        assert await Wallet(KEY, TESTNET).deliver(chain, transfer) == chain.rows
        chain.block_time += LIFETIME
    assert chain.sent == [transfer.boc]
    assert chain.seqno == 5


@pytest.mark.anyio
async def test_a_delivery_that_lost_its_answer_is_finished_by_the_next(wallet):
    chain = FakeChain(wallet, seqno=4)
    transfer = await wallet.sign(chain, [OutMessage(TO, 5)])
    chain.drop = chain.lose_answer = True
    with pytest.raises(ChainUnavailableError):
        await wallet.deliver(chain, transfer)
    chain.drop, chain.lose_answer, chain.hide_traces = False, False, 0
    assert await Wallet(KEY, TESTNET).deliver(chain, transfer) == chain.rows
    assert chain.sent == [transfer.boc] * 2


@pytest.mark.anyio
async def test_what_expired_is_neither_sent_nor_waited_for(wallet):
    chain = FakeChain(wallet, seqno=4)
    transfer = await wallet.sign(chain, [OutMessage(TO, 5)])
    chain.block_time += LIFETIME + EXPIRY_MARGIN  # a shard may still be behind
    chain.drop = True
    with pytest.raises(ChainUnavailableError):
        await wallet.deliver(chain, transfer)
    chain.block_time += 1
    assert await wallet.deliver(chain, transfer) is None
    assert chain.sent == [transfer.boc]


@pytest.mark.anyio
async def test_another_message_in_its_place_makes_it_void_once_the_index_must_know(wallet):
    chain = FakeChain(wallet, seqno=4)
    transfer = await wallet.sign(chain, [OutMessage(TO, 5)])
    await wallet.send(chain, [OutMessage(TO, 6)])
    with pytest.raises(ChainUnavailableError):
        await Wallet(KEY, TESTNET).deliver(chain, transfer)
    chain.block_time += LIFETIME + INDEX_SURE + 1
    assert await Wallet(KEY, TESTNET).deliver(chain, transfer) is None
    assert len(chain.sent) == 1


@pytest.mark.anyio
async def test_a_refusal_after_it_was_executed_is_no_refusal(wallet):
    """Two processes hand in the same message; the later one is told that the number has moved on."""
    chain = FakeChain(wallet, seqno=4)
    transfer = await wallet.sign(chain, [OutMessage(TO, 5)])
    honest = chain.send_boc

    async def taken(boc):
        await honest(boc)
        raise TransactionFailedError("refused", exit_code=133)

    chain.send_boc = taken
    assert await wallet.deliver(chain, transfer) == chain.rows
    chain.send_boc, chain.refuse = honest, TransactionFailedError("refused", exit_code=135)
    fresh = await wallet.sign(chain, [OutMessage(TO, 5)])
    with pytest.raises(TransactionFailedError):
        await wallet.deliver(chain, fresh)


def test_failures_are_told_in_words(wallet):
    row = TransactionInfo(TO, 7, 1_000, False, 113, 5, 0, None)
    assert "exit code 113: the close delay has not passed" in str(failure(row))
