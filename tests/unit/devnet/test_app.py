"""The devnet's HTTP paths in one process: shapes that our own strict client reads, and every refusal."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from cocoon_sdk.devnet import app
from cocoon_sdk.devnet.app import make_app
from cocoon_sdk.devnet.blockchain_config import blockchain_config
from cocoon_sdk.devnet.executor import Executor
from cocoon_sdk.devnet.network import DevNetwork
from cocoon_sdk.devnet.storage import Storage
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Builder, cell_from_boc, cell_to_boc
from cocoon_sdk.ton.chain import DEVNET_NETWORK
from cocoon_sdk.ton.message import external_message, normalised_hash
from cocoon_sdk.ton.wallet import OutMessage, Wallet

pytestmark = pytest.mark.anyio

COIN = 10**9
STRANGER = Address(0, b"\x77" * 32)
WALLET = Wallet(Ed25519Key(b"\x42" * 32), DEVNET_NETWORK)


@pytest.fixture(scope="module")
def executor() -> Executor:
    return Executor(blockchain_config(DEVNET_NETWORK))


@pytest.fixture
async def web(executor: Executor) -> AsyncIterator[httpx.AsyncClient]:
    with ThreadPoolExecutor(max_workers=1) as worker:

        def start() -> DevNetwork:
            return DevNetwork(DEVNET_NETWORK, Storage(None), executor)

        network = worker.submit(start).result()
        transport = httpx.ASGITransport(make_app(network, worker))
        async with httpx.AsyncClient(transport=transport, base_url="http://devnet") as client:
            yield client
        worker.submit(network.close).result()


async def get(web: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await web.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def post(web: httpx.AsyncClient, path: str, body: Any) -> Any:
    answer = await web.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def transfer(web: httpx.AsyncClient, seqno: int = 0, value: int = 5) -> bytes:
    until = (await get(web, "/devnet/status"))["time"] + 60
    message = OutMessage(STRANGER, value, bounce=False)
    return WALLET.build_transfer([message], seqno, until, deploy=seqno == 0)


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


async def test_faucet_status_and_clock(web: httpx.AsyncClient) -> None:
    before = await get(web, "/devnet/status")
    assert (before["network"], before["minted"]) == (DEVNET_NETWORK, "0")
    given = await post(web, "/devnet/faucet", {"address": STRANGER.friendly(), "amount": str(COIN)})
    assert given == {"address": STRANGER.raw, "balance": str(COIN)}
    moved = await post(web, "/devnet/clock", {"advance": 3600})
    after = await get(web, "/devnet/status")
    assert after["time"] == moved["time"] >= before["time"] + 3600
    assert after["seqno"] == moved["seqno"] > before["seqno"]
    assert int(after["minted"]) == int(after["balances"]) + int(after["fees"]) > 0


async def test_both_ways_to_send_name_the_message_alike(web: httpx.AsyncClient) -> None:
    await post(web, "/devnet/faucet", {"address": WALLET.address.raw, "amount": str(COIN)})
    first = await transfer(web)
    v2 = await post(web, "/api/v2/sendBocReturnHash", {"boc": b64(first)})
    cell = cell_from_boc(first)
    assert v2["ok"]
    assert v2["result"]["hash"] == b64(cell.hash)
    assert v2["result"]["hash_norm"] == b64(normalised_hash(cell))
    second = await transfer(web, seqno=1)
    v3 = await post(web, "/api/v3/message", {"boc": b64(second)})
    assert v3["message_hash_norm"] == b64(normalised_hash(cell_from_boc(second)))
    third = await post(web, "/api/v2/sendBoc", {"boc": b64(await transfer(web, seqno=2))})
    assert third == {"ok": True, "result": {"@type": "ok"}}
    # Whatever of its names is asked for, the trace is the same one.
    found = [
        await get(web, "/api/v3/traces", msg_hash=name)
        for name in (cell.hash.hex(), b64(cell.hash), b64(normalised_hash(cell)))
    ]
    assert found[0] == found[1] == found[2]
    assert len(found[0]["traces"]) == 1
    assert found[0]["traces"][0]["external_hash"] == b64(normalised_hash(cell))


async def test_what_nobody_sent_has_no_trace(web: httpx.AsyncClient) -> None:
    assert (await get(web, "/api/v3/traces", msg_hash="00" * 32))["traces"] == []
    found = await get(web, "/api/v3/transactionsByMessage", msg_hash="00" * 32)
    assert found["transactions"] == []


async def test_transactions_newest_first_and_no_more_than_asked(web: httpx.AsyncClient) -> None:
    for _ in range(3):
        await post(web, "/devnet/faucet", {"address": STRANGER.raw, "amount": "5"})
    rows = (await get(web, "/api/v3/transactions", account=STRANGER.raw))["transactions"]
    assert len(rows) == 3
    assert [int(row["lt"]) for row in rows] == sorted((int(r["lt"]) for r in rows), reverse=True)
    limited = await get(web, "/api/v3/transactions", account=STRANGER.raw, limit="2")
    assert limited["transactions"] == rows[:2]


async def test_many_accounts_in_one_call(
    web: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await post(web, "/devnet/faucet", {"address": STRANGER.raw, "amount": "5"})
    names = [STRANGER.raw, WALLET.address.raw]
    rows = (await get(web, "/api/v3/accountStates", address=names))["accounts"]
    assert [(row["status"], row["balance"]) for row in rows] == [("uninit", "5"), ("nonexist", "0")]
    monkeypatch.setattr(app, "MAX_ADDRESSES", 2)
    for count in (0, 3):
        answer = await web.get("/api/v3/accountStates", params={"address": [STRANGER.raw] * count})
        assert answer.status_code == 422


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api/v2/getAddressInformation", "address: missing"),
        ("/api/v2/getAddressInformation?address=x", "address"),
        ("/api/v3/traces?msg_hash=zz", "msg_hash"),
        ("/api/v3/transactions?account=x", "address"),
        (f"/api/v3/transactions?account={STRANGER.raw}&limit=-1", "limit"),
    ],
)
async def test_wrong_queries(web: httpx.AsyncClient, path: str, said: str) -> None:
    answer = await web.get(path)
    assert answer.status_code == 422
    assert said in answer.json()["error"]
    assert answer.json().get("ok", False) is False
    assert ("code" in answer.json()) == path.startswith("/api/v2")


async def test_a_refused_message_is_told_in_the_liteservers_words(web: httpx.AsyncClient) -> None:
    unknown = external_message(STRANGER, Builder().store_uint(7, 32).end_cell())
    for path in ("/api/v2/sendBoc", "/api/v3/message"):
        answer = await web.post(path, json={"boc": b64(cell_to_boc(unknown))})
        assert answer.status_code == 500
        assert "External message was not accepted" in answer.json()["error"]
    await post(web, "/devnet/faucet", {"address": WALLET.address.raw, "amount": str(COIN)})
    boc = b64(await transfer(web))
    await post(web, "/api/v2/sendBoc", {"boc": boc})
    replay = await web.post("/api/v2/sendBoc", json={"boc": boc})
    assert replay.status_code == 500
    assert "exitcode=" in replay.json()["error"]


async def test_unknown_paths_and_methods(web: httpx.AsyncClient) -> None:
    assert (await web.get("/api/v2/nothing")).status_code == 404
    assert (await web.get("/devnet/faucet")).status_code == 405
    assert (await web.post("/devnet/status")).status_code == 405
