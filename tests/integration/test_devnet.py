"""The devnet as a real process, used through ToncenterClient and Wallet like any other network."""

from __future__ import annotations

import base64
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from cocoon_sdk.devnet.server import serve
from cocoon_sdk.errors import (
    ChainDataError,
    ConfigError,
    InsufficientFundsError,
    TransactionFailedError,
)
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Builder, cell_to_boc
from cocoon_sdk.ton.chain import DEVNET_NETWORK, TESTNET
from cocoon_sdk.ton.message import internal_message
from cocoon_sdk.ton.toncenter import ToncenterClient
from cocoon_sdk.ton.wallet import OutMessage, Wallet
from tests.integration.devnet_process import Devnet, running

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.xdist_group("devnet")]

COIN = 10**9
STRANGER = Address(0, b"\x77" * 32)


@pytest.fixture(scope="module")
def devnet() -> Iterator[Devnet]:
    with running() as devnet:
        yield devnet


@asynccontextmanager
async def client(devnet: Devnet, network: int = DEVNET_NETWORK):
    chain = ToncenterClient(devnet.url, network=network)
    try:
        yield chain
    finally:
        await chain.aclose()


def new_wallet() -> Wallet:
    return Wallet(Ed25519Key.generate(), DEVNET_NETWORK)


async def test_wallet_deploys_itself_and_pays(devnet):
    sender, receiver = new_wallet(), new_wallet()
    async with client(devnet) as chain:
        before = await chain.get_account(sender.address)
        assert (before.status, before.balance) == ("nonexist", 0)
        devnet.faucet(sender.address, 2 * COIN)
        assert (await chain.get_account(sender.address)).status == "uninit"
        trace = await sender.send(
            chain, [OutMessage(receiver.address, COIN, bounce=False)], timeout=5
        )
        assert [row.account for row in trace] == [sender.address, receiver.address]
        assert all(row.success for row in trace)
        assert trace[1].in_value == COIN
        state = await chain.get_account(sender.address)
        assert state.status == "active"
        assert await sender.seqno(chain) == 1
        spent = 2 * COIN - COIN - state.balance
        assert 0 < spent < 4_000_000
        assert (await chain.get_account(receiver.address)).balance == COIN
    devnet.assert_balanced()


async def test_255_messages_in_one_send(devnet):
    wallet = new_wallet()
    devnet.faucet(wallet.address, 2 * COIN)
    targets = [Address(0, bytes([9]) * 31 + bytes([number])) for number in range(255)]
    async with client(devnet) as chain:
        trace = await wallet.send(chain, [OutMessage(t, 1_000_000, bounce=False) for t in targets])
        assert {row.account for row in trace} == {wallet.address, *targets}
        assert (await chain.get_account(targets[-1])).balance == 1_000_000
    devnet.assert_balanced()


async def test_bounce_returns_the_value(devnet):
    wallet = new_wallet()
    devnet.faucet(wallet.address, 2 * COIN)
    async with client(devnet) as chain:
        with pytest.raises(TransactionFailedError):
            await wallet.send(chain, [OutMessage(STRANGER, COIN)])
        assert (await chain.get_account(wallet.address)).balance > 2 * COIN - 5_000_000
        trace = await wallet.send(chain, [OutMessage(STRANGER, COIN)], check=False)
        assert [row.account for row in trace] == [wallet.address, STRANGER, wallet.address]
        assert [row.success for row in trace] == [True, False, True]
    devnet.assert_balanced()


async def test_replay_and_foreign_signature_are_refused(devnet):
    wallet = new_wallet()
    devnet.faucet(wallet.address, COIN)
    async with client(devnet) as chain:
        until = await chain.time() + 60
        transfer = wallet.build_transfer([OutMessage(STRANGER, 5)], 0, until, deploy=True)
        first = await chain.send_boc(transfer)
        assert (await chain.wait_message(first, timeout=5))[0].success
        with pytest.raises(TransactionFailedError, match="nothing was executed") as caught:
            await chain.send_boc(transfer)
        assert caught.value.exit_code == 133  # the wallet's error for a used seqno
        other = Wallet(Ed25519Key.generate(), DEVNET_NETWORK)
        other.address = wallet.address
        forged = other.build_transfer([OutMessage(STRANGER, 5)], 1, until, deploy=False)
        with pytest.raises(TransactionFailedError) as caught:
            await chain.send_boc(forged)
        assert caught.value.exit_code == 135  # its error for a wrong signature
    devnet.assert_balanced()


async def test_wallet_of_another_network_is_refused(devnet):
    key = Ed25519Key.generate()
    here, elsewhere = Wallet(key, DEVNET_NETWORK), Wallet(key, TESTNET)
    devnet.faucet(here.address, COIN)
    async with client(devnet) as chain:
        await here.send(chain, [OutMessage(STRANGER, 5, bounce=False)])
        elsewhere.address = here.address
        until = await chain.time() + 60
        with pytest.raises(TransactionFailedError):
            await chain.send_boc(
                elsewhere.build_transfer([OutMessage(STRANGER, 5)], 1, until, deploy=False)
            )
    async with client(devnet, TESTNET) as chain:
        with pytest.raises(ChainDataError, match="network -217"):
            await chain.time()


async def test_too_little_money_is_noticed_before_sending(devnet):
    wallet = new_wallet()
    devnet.faucet(wallet.address, COIN)
    async with client(devnet) as chain:
        with pytest.raises(InsufficientFundsError):
            await wallet.send(chain, [OutMessage(STRANGER, COIN)])
        assert await wallet.seqno(chain) == 0


async def test_expired_message_is_refused(devnet):
    wallet = new_wallet()
    devnet.faucet(wallet.address, COIN)
    async with client(devnet) as chain:
        until = await chain.time() + 60
        transfer = wallet.build_transfer([OutMessage(STRANGER, 5)], 0, until, deploy=True)
        before = await chain.get_account(wallet.address)
        assert devnet.post("/devnet/clock", {"advance": 61}).is_success
        after = await chain.get_account(wallet.address)
        assert after.block_time >= before.block_time + 61
        assert after.block_seqno > before.block_seqno
        with pytest.raises(TransactionFailedError) as caught:
            await chain.send_boc(transfer)
        assert caught.value.exit_code == 136  # the wallet's error for an expired message


async def test_restart_after_sigkill_continues(tmp_path: Path):
    file = tmp_path / "devnet.sqlite"
    wallet = new_wallet()
    with running("--file", str(file)) as devnet:
        devnet.faucet(wallet.address, 2 * COIN)
        devnet.post("/devnet/clock", {"advance": 86_400})
        async with client(devnet) as chain:
            await wallet.send(chain, [OutMessage(STRANGER, COIN, bounce=False)])
            before = await chain.get_account(wallet.address)
        totals = devnet.status()
        devnet.process.send_signal(signal.SIGKILL)
        devnet.process.wait()
    with running("--file", str(file)) as devnet:
        async with client(devnet) as chain:
            after = await chain.get_account(wallet.address)
            assert (after.balance, after.data) == (before.balance, before.data)
            assert after.block_time >= before.block_time
            assert after.block_seqno >= before.block_seqno
            await wallet.send(chain, [OutMessage(STRANGER, COIN // 2, bounce=False)])
            assert (await chain.get_account(STRANGER)).balance > COIN
        assert devnet.status()["minted"] == totals["minted"]
        devnet.assert_balanced()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_it_cleanly(sign):
    with running() as devnet:
        devnet.process.send_signal(sign)
        assert devnet.process.wait(10) == 0


async def test_file_is_for_one_devnet_at_a_time(tmp_path):
    file = str(tmp_path / "devnet.sqlite")
    with running("--file", file):
        second = subprocess.run(
            [sys.executable, "-m", "cocoon_sdk.cli", "devnet", "run", "--file", file],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert second.returncode == 1
    assert "another devnet" in second.stderr.replace("\n", " ")
    assert "Traceback" not in second.stderr


async def test_foreign_file_is_refused(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("not a database, " * 100)
    result = subprocess.run(
        [sys.executable, "-m", "cocoon_sdk.cli", "devnet", "run", "--file", str(file)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert file.read_text().startswith("not a database")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/devnet/faucet", {"address": "nowhere", "amount": "1"}),
        ("/devnet/faucet", {"address": STRANGER.raw, "amount": "-1"}),
        ("/devnet/faucet", {"address": STRANGER.raw, "amount": "1.5"}),
        ("/devnet/faucet", {"address": STRANGER.raw, "amount": 1}),
        ("/devnet/faucet", {"address": STRANGER.raw, "amount": "9" * 20}),
        ("/devnet/faucet", [1]),
        ("/devnet/clock", {"advance": -1}),
        ("/devnet/clock", {"advance": 10**12}),
        ("/api/v2/sendBoc", {"boc": "AAAA"}),
        ("/api/v3/message", {"boc": "!"}),
    ],
)
async def test_bad_requests_change_nothing(devnet, path, body):
    before = devnet.status()
    assert devnet.post(path, body).status_code == 422
    after = devnet.status()
    assert (before["minted"], before["balances"]) == (after["minted"], after["balances"])


async def test_internal_message_from_outside_is_refused(devnet):
    """Only external messages may be handed in; an internal one would be money from nowhere."""
    fake = internal_message(STRANGER, COIN, bounce=False, body=None, init=None)
    async with client(devnet) as chain:
        with pytest.raises(ChainDataError):
            await chain.send_boc(cell_to_boc(fake))
    boc = base64.b64encode(cell_to_boc(fake)).decode()
    assert devnet.post("/api/v2/sendBocReturnHash", {"boc": boc}).status_code == 422
    devnet.assert_balanced()


async def test_public_network_ids_are_refused():
    with pytest.raises(ConfigError, match="public network"):
        await serve(network=TESTNET, port=0, file=None, on_ready=print)


async def test_transactions_by_message_and_account(devnet):
    wallet = new_wallet()
    devnet.faucet(wallet.address, COIN)
    comment = Builder().store_uint(0, 32).store_bytes(b"thanks").end_cell()
    async with client(devnet) as chain:
        until = await chain.time() + 60
        transfer = wallet.build_transfer(
            [OutMessage(STRANGER, 5, comment, bounce=False)], 0, until, deploy=True
        )
        name = await chain.send_boc(transfer)
    query = {"msg_hash": name.hex()}
    found = httpx.get(f"{devnet.url}/api/v3/transactionsByMessage", params=query).json()
    assert [row["account"] for row in found["transactions"]] == [wallet.address.raw.upper()]
    query = {"account": STRANGER.raw, "limit": "1"}
    (newest,) = httpx.get(f"{devnet.url}/api/v3/transactions", params=query).json()["transactions"]
    assert newest["in_msg"]["opcode"] == "0x00000000"
    states = httpx.get(
        f"{devnet.url}/api/v3/accountStates", params={"address": [wallet.address.raw, STRANGER.raw]}
    ).json()
    assert [row["status"] for row in states["accounts"]] == ["active", "uninit"]
