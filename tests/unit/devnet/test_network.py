"""The devnet's network in one process: blocks, the queue, crashes and the totals of money."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cocoon_sdk.devnet import network as module
from cocoon_sdk.devnet.blockchain_config import blockchain_config
from cocoon_sdk.devnet.executor import FIRST_LT, Executor, MessageRefusedError
from cocoon_sdk.devnet.network import FAUCET, DevNetwork
from cocoon_sdk.devnet.records import read_transaction
from cocoon_sdk.devnet.storage import Storage
from cocoon_sdk.errors import ChainDataError, ConfigError, StoreError
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import cell_from_boc
from cocoon_sdk.ton.chain import DEVNET_NETWORK
from cocoon_sdk.ton.contract import channel
from cocoon_sdk.ton.fees import estimate
from cocoon_sdk.ton.message import normalised_hash
from cocoon_sdk.ton.wallet import OutMessage, Wallet

COIN = 10**9
WALLET = Wallet(Ed25519Key(b"\x42" * 32), DEVNET_NETWORK)


@pytest.fixture(scope="module")
def executor() -> Executor:
    return Executor(blockchain_config(DEVNET_NETWORK))


def open_network(executor: Executor, file: Path | None = None) -> DevNetwork:
    return DevNetwork(DEVNET_NETWORK, Storage(file), executor)


@pytest.fixture
def network(executor: Executor) -> Iterator[DevNetwork]:
    network = open_network(executor)
    yield network
    network.close()


def transfer(
    network: DevNetwork, count: int, *, seqno: int = 0, value: int = COIN // 1000
) -> bytes:
    messages = [
        OutMessage(Address(0, number.to_bytes(32, "big")), value, bounce=False)
        for number in range(1, count + 1)
    ]
    until = network.block().time + 60
    return WALLET.build_transfer(messages, seqno, until, deploy=seqno == 0)


def assert_balanced(network: DevNetwork) -> None:
    totals = network.totals()
    assert totals["balances"] + totals["fees"] == totals["minted"]
    assert totals["queued"] == 0


def test_empty_network(network):
    assert network.totals() == {"accounts": 0, "balances": 0, "fees": 0, "minted": 0, "queued": 0}
    assert network.account(WALLET.address).status == "nonexist"
    assert network.trace_of(bytes(32)) is None


def test_faucet_leaves_a_trace_of_its_own(network):
    assert network.faucet(WALLET.address, COIN) == COIN
    (row,) = network.transactions(WALLET.address, 5)
    transaction = read_transaction(cell_from_boc(row.boc))
    assert transaction.lt >= FIRST_LT
    assert transaction.in_message.source == FAUCET
    rows, pending = network.trace_of(transaction.in_message.cell.hash)
    assert (rows, pending) == ([row], 0)
    assert_balanced(network)


@pytest.mark.parametrize("amount", [0, -1, 10**16 + 1])
def test_faucet_has_limits(network, amount):
    with pytest.raises(ConfigError, match="faucet"):
        network.faucet(WALLET.address, amount)
    assert network.totals()["minted"] == 0


def test_logical_time_orders_a_trace(network):
    network.faucet(WALLET.address, COIN)
    message = network.submit(transfer(network, 5))
    rows, _ = network.trace_of(normalised_hash(message))
    parsed = [read_transaction(cell_from_boc(row.boc)) for row in rows]
    times = [transaction.lt for transaction in parsed]
    assert times == sorted(set(times))
    assert [row.account for row in rows] == [
        WALLET.address,
        *(Address(0, number.to_bytes(32, "big")) for number in range(1, 6)),
    ]
    for transaction in parsed[1:]:
        assert transaction.lt > transaction.in_message.created_lt > parsed[0].lt
    assert_balanced(network)


def test_long_cascades_span_blocks(network, monkeypatch):
    monkeypatch.setattr(module, "MAX_PER_BLOCK", 4)
    network.faucet(WALLET.address, COIN)
    message = network.submit(transfer(network, 10))
    rows, pending = network.trace_of(message.hash) or ([], 0)
    assert (len(rows), pending) == (11, 0)
    seqnos = [row.seqno for row in rows]
    assert [seqnos.count(seqno) for seqno in sorted(set(seqnos))] == [4, 4, 3]
    assert_balanced(network)


def test_messages_left_over_are_pending_and_then_delivered(network, monkeypatch):
    monkeypatch.setattr(module, "MAX_PER_BLOCK", 2)
    monkeypatch.setattr(module, "MAX_BLOCKS", 1)
    network.faucet(WALLET.address, COIN)
    message = network.submit(transfer(network, 6))
    rows, pending = network.trace_of(message.hash) or ([], 0)
    assert (len(rows), pending) == (4, 3)
    network.faucet(WALLET.address, COIN)
    rows, pending = network.trace_of(message.hash) or ([], 0)
    assert (len(rows), pending) == (7, 0)
    assert_balanced(network)


def test_refused_message_leaves_nothing(network):
    network.faucet(WALLET.address, COIN)
    before = network.totals(), network.block().lt
    with pytest.raises(MessageRefusedError):
        network.submit(transfer(network, 1, seqno=3))  # no code there yet
    assert (network.totals(), network.block().lt) == before


def test_internal_message_cannot_be_handed_in(network):
    with pytest.raises(ChainDataError):
        network.submit(bytes.fromhex("b5ee9c72010101010002000000"))


class Crash(Exception):
    """The process dies here."""


def test_crash_loses_whole_blocks_only(executor, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_PER_BLOCK", 3)
    file = tmp_path / "devnet.sqlite"
    network = open_network(executor, file)
    network.faucet(WALLET.address, COIN)
    boc = transfer(network, 7)
    calls = 0
    execute = executor.execute

    def dying(*arguments, **keywords):
        nonlocal calls
        calls += 1
        if calls == 5:  # in the second block
            raise Crash
        return execute(*arguments, **keywords)

    monkeypatch.setattr(executor, "execute", dying)
    with pytest.raises(Crash):
        network.submit(boc)
    rows, pending = network.trace_of(normalised_hash(cell_from_boc(boc)))
    assert (len(rows), pending) == (3, 5)
    shown = network.block()
    network.close()

    monkeypatch.setattr(executor, "execute", execute)
    network = open_network(executor, file)
    rows, pending = network.trace_of(normalised_hash(cell_from_boc(boc)))
    assert (len(rows), pending) == (8, 0)
    assert network.block().seqno >= shown.seqno
    assert network.block().time >= shown.time
    assert_balanced(network)
    with pytest.raises(MessageRefusedError) as refused:
        network.submit(boc)
    assert refused.value.exit_code == 133
    network.close()


def test_blocks_number_what_anyone_has_seen(network):
    seen = network.block().seqno
    network.faucet(WALLET.address, COIN)
    assert network.transactions(WALLET.address, 1)[0].seqno > seen
    assert network.block().seqno > seen


def test_clock_goes_forward_and_stays(executor, tmp_path):
    file = tmp_path / "devnet.sqlite"
    network = open_network(executor, file)
    before = network.block()
    after = network.advance(3_600)
    assert after.time >= before.time + 3_600
    assert after.seqno > before.seqno
    network.close()
    network = open_network(executor, file)
    assert network.block().time >= after.time
    with pytest.raises(ConfigError):
        network.advance(-1)
    network.close()


def test_rent_is_charged_for_time(network):
    network.faucet(WALLET.address, COIN)
    network.submit(transfer(network, 1))
    held = network.account(WALLET.address).balance
    network.advance(365 * 86_400)
    network.submit(transfer(network, 1, seqno=1))
    (row,) = network.transactions(WALLET.address, 1)
    rent = read_transaction(cell_from_boc(row.boc)).storage_fee
    assert 100_000 < rent < 10_000_000
    assert network.account(WALLET.address).balance < held - COIN // 1000 - rent
    assert_balanced(network)


def _plain(number: int) -> OutMessage:
    return OutMessage(Address(0, number.to_bytes(32, "big")), COIN // 100, bounce=False)


def _open(number: int) -> OutMessage:
    to = Address(0, number.to_bytes(32, "big"))
    key = WALLET.address.hash
    terms = channel.ChannelTerms(key, key, 3_600, number)
    init = channel.state_init(terms, WALLET.address, to)
    address = channel.channel_address(terms, WALLET.address, to)
    return OutMessage(address, COIN, channel.deposit_body(), state_init=init)


def _redeem(number: int) -> OutMessage:
    to = Address(0, number.to_bytes(32, "big"))
    voucher = channel.voucher_cell(DEVNET_NETWORK, to, 10**13, number)
    return OutMessage(to, COIN // 50, channel.redeem_body(number, number, bytes(64), voucher))


@pytest.mark.parametrize("make", [_plain, _open, _redeem])
@pytest.mark.parametrize("count", [1, 20, 255])
def test_fee_estimate_is_above_the_real_fees(network, make, count):
    """Otherwise the wallet would skip the last messages of a send that was let through."""
    messages = [make(number) for number in range(1, count + 1)]
    needed = estimate(message.cell() for message in messages)
    network.faucet(WALLET.address, needed + sum(message.value for message in messages))
    until = network.block().time + 60
    sent = network.submit(WALLET.build_transfer(messages, 0, until, deploy=True))
    rows, _ = network.trace_of(sent.hash)
    first = read_transaction(cell_from_boc(rows[0].boc))
    assert len(first.out_messages) == count
    cost = first.total_fees + sum(out.forward_fee for out in first.out_messages)
    assert cost < needed < 8 * cost


def test_file_of_another_network_is_refused(executor, tmp_path):
    file = tmp_path / "devnet.sqlite"
    open_network(executor, file).close()
    with pytest.raises(StoreError, match="network -217, not -218"):
        DevNetwork(-218, Storage(file), executor)
