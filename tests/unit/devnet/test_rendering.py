"""What the devnet writes is what our strict reader of toncenter's answers accepts, and means the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cocoon_sdk.devnet import rendering
from cocoon_sdk.devnet.blockchain_config import blockchain_config
from cocoon_sdk.devnet.executor import Executor
from cocoon_sdk.devnet.network import Block, DevNetwork
from cocoon_sdk.devnet.records import Account
from cocoon_sdk.devnet.storage import Storage, StoredTransaction
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.ton import toncenter_types as api
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Builder, cell_from_boc
from cocoon_sdk.ton.chain import DEVNET_NETWORK, TransactionInfo
from cocoon_sdk.ton.message import normalised_hash
from cocoon_sdk.ton.toncenter_traces import confirmed
from cocoon_sdk.ton.wallet import OutMessage, Wallet

COIN = 10**9
BLOCK = Block(seqno=77, time=1_800_000_000, lt=5_000_000)
ADDRESS = Address(-1, b"\xab" * 32)
WALLET = Wallet(Ed25519Key(b"\x42" * 32), DEVNET_NETWORK)
CODE = Builder().store_uint(1, 8).end_cell()
DATA = Builder().store_uint(2, 8).end_cell()


def read(value: Any, kind: type[Any]) -> Any:
    return api.decode(json.dumps(value).encode(), kind, "a test")


@pytest.fixture(scope="module")
def executor() -> Executor:
    return Executor(blockchain_config(DEVNET_NETWORK))


@pytest.fixture
def network(executor: Executor) -> Iterator[DevNetwork]:
    network = DevNetwork(DEVNET_NETWORK, Storage(None), executor)
    network.faucet(WALLET.address, COIN)
    yield network
    network.close()


def sent(network: DevNetwork, *messages: OutMessage) -> tuple[list[StoredTransaction], int]:
    until = network.block().time + 60
    boc = WALLET.build_transfer(list(messages), 0, until, deploy=True)
    found = network.trace_of(normalised_hash(network.submit(boc)))
    assert found is not None
    return found


def infos(rows: list[StoredTransaction], pending: int = 0) -> tuple[TransactionInfo, ...]:
    found = confirmed(read(rendering.trace_v3(rows, pending), api.Trace))
    assert found is not None
    return found


def test_blocks() -> None:
    last = read({"last": rendering.block_v3(BLOCK, -217)}, api.MasterchainInfo).last
    assert (last.seqno, last.global_id, int(last.gen_utime)) == (77, -217, 1_800_000_000)
    block = read(rendering.block_v2(BLOCK), api.BlockId)
    assert (block.workchain, block.seqno) == (-1, 77)
    assert rendering.block_v2(BLOCK)["shard"] == "-9223372036854775808"


@pytest.mark.parametrize(
    ("status", "v2"),
    [
        ("active", "active"),
        ("frozen", "frozen"),
        ("uninit", "uninitialized"),
        ("nonexist", "uninitialized"),
    ],
)
def test_states_are_called_differently_in_v2(status: str, v2: str) -> None:
    account = Account(status=status, balance=5)
    assert rendering.account_v2(account, BLOCK)["state"] == v2
    assert rendering.account_v3(ADDRESS, account)["status"] == status


def test_an_active_account_with_code_and_data() -> None:
    account = Account("active", 2**60, CODE, DATA, b"", 123, b"\x01" * 32)
    told = read(rendering.account_v2(account, BLOCK), api.AddressInformation)
    assert int(told.balance) == 2**60
    assert told.code is not None
    assert cell_from_boc(api.binary(told.code, "code")).hash == CODE.hash
    assert (told.sync_utime, told.block_id.seqno) == (BLOCK.time, BLOCK.seqno)
    assert int(told.last_transaction_id.lt) == 123
    row = rendering.account_v3(ADDRESS, account)
    assert row["address"] == "-1:" + "AB" * 32
    assert row["data_hash"] == rendering.b64(DATA.hash)
    assert "code_hash" not in rendering.account_v3(ADDRESS, Account())


def test_a_trace_from_the_wallet_to_the_last_receiver(network: DevNetwork) -> None:
    note = Builder().store_uint(0xCAFE, 32).end_cell()
    rows, pending = sent(network, OutMessage(ADDRESS, 7, note, bounce=False))
    first, second = infos(rows, pending)
    assert (first.account, first.success, first.exit_code, first.in_value) == (
        *(WALLET.address, True, 0, 0),
    )
    assert (second.account, second.in_value, second.in_opcode) == (ADDRESS, 7, 0xCAFE)
    assert second.success  # no code there, but the value stays
    assert first.fees > 0


def test_a_bounce_is_shown_on_both_ends(network: DevNetwork) -> None:
    rows, _ = sent(network, OutMessage(Address(0, b"\x05" * 32), COIN // 10, bounce=True))
    refused = rendering.transaction_v3(rows[1])
    assert refused["description"]["bounce"] == {"type": "ok"}
    assert refused["description"]["aborted"]
    assert refused["description"]["compute_ph"] == {"skipped": True, "reason": "no_state"}
    back = rendering.transaction_v3(rows[2])["in_msg"]
    assert back["bounced"]
    assert back["source"] == "0:" + "05" * 32
    assert [info.success for info in infos(rows)] == [True, False, True]


def test_a_bounce_that_its_value_cannot_pay_for(network: DevNetwork) -> None:
    rows, _ = sent(network, OutMessage(Address(0, b"\x05" * 32), 1, bounce=True))
    assert rendering.transaction_v3(rows[-1])["description"]["bounce"] == {"type": "nofunds"}


def test_a_pending_trace_is_not_final(network: DevNetwork) -> None:
    rows, _ = sent(network, OutMessage(ADDRESS, 7, bounce=False))
    pending = read(rendering.trace_v3(rows[:1], 1), api.Trace)
    assert confirmed(pending) is None
    assert pending.trace_info.pending_messages == 1


def test_only_external_messages_have_a_normalised_hash(network: DevNetwork) -> None:
    rows, _ = sent(network, OutMessage(ADDRESS, 7, bounce=False))
    outer, inner = (rendering.transaction_v3(row)["in_msg"] for row in rows)
    assert (outer["source"], outer["value"], outer["created_lt"]) == (None, None, None)
    assert "hash_norm" in outer
    assert "hash_norm" not in inner
    assert rendering.transaction_v3(rows[0])["out_msgs"][0] == inner
    faucet = rendering.trace_v3([network.transactions(WALLET.address, 10)[-1]], 0)
    assert faucet["external_hash"] is None  # it began with an internal message


def test_money_is_never_written_as_a_json_number(network: DevNetwork) -> None:
    rows, _ = sent(network, OutMessage(ADDRESS, 7, bounce=False))
    for row in rows:
        told = rendering.transaction_v3(row)
        for value in (
            told["lt"],
            told["total_fees"],
            told["description"]["storage_ph"]["storage_fees_collected"],
        ):
            assert isinstance(value, str)
