"""What comes from the chain's API, and receipts and addresses (payments.md §2, §4)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import json
from typing import Any

import httpx

from cocoon_sdk.errors import ChainDataError, CocoonError, ConfigError, ReceiptMismatchError
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.payments.amounts import parse_amount
from cocoon_sdk.payments.meter import Counts
from cocoon_sdk.payments.receipt import FinishReason, Receipt, parse_receipt, sign_receipt
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Builder, cell_from_boc, cell_to_boc, dict_cell
from cocoon_sdk.ton.chain import TESTNET
from cocoon_sdk.ton.message import external_message
from cocoon_sdk.ton.toncenter import ToncenterClient
from fuzz.target import Target

ACCOUNT = Address(0, b"\x33" * 32)
PROVIDER = Ed25519Key(b"p" * 32)


def check_receipt(data: bytes) -> None:
    try:
        receipt = parse_receipt(data)
    except ReceiptMismatchError:
        return
    assert receipt.pack() == data[:288]


def check_boc(data: bytes) -> None:
    try:
        cell = cell_from_boc(data)
    except ChainDataError:
        return
    again = cell_from_boc(cell_to_boc(cell))
    assert again.hash == cell.hash
    with contextlib.suppress(ChainDataError):
        reader = cell.begin_parse()
        reader.load_address()
        reader.load_coins()
        reader.load_maybe_ref()
        reader.rest()
        reader.load_int(reader.bits_left)
        reader.end()


def _boc_seeds() -> list[bytes]:
    leaf = Builder().store_uint(7, 8).end_cell()
    table = dict_cell({1: leaf, 5: leaf, 200: leaf}, 8)
    tree = Builder().store_address(ACCOUNT).store_coins(5).store_maybe_ref(table).store_ref(leaf)
    deep = leaf
    for _ in range(30):
        deep = Builder().store_ref(deep).store_ref(deep).end_cell()
    just = Builder().store_maybe_ref(table).end_cell()
    return [cell_to_boc(cell) for cell in (leaf, tree.end_cell(), deep, just)]


def check_address(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        address = Address.parse(text)
    except ConfigError:
        return
    assert Address.parse(address.raw) == address
    assert Address.parse(address.friendly()) == address


def check_amount(data: bytes) -> None:
    try:
        nano = parse_amount(data.decode("utf-8", "replace"))
    except ConfigError:
        return
    assert parse_amount(nano) == nano


def check_toncenter(data: bytes) -> None:
    """[which call and status][body]: the same body as the answer to each kind of question."""
    which, body = (data[0] if data else 0), data[1:]
    status = (200, 200, 200, 400, 404, 500)[which % 6]
    asyncio.run(_ask(status, body))


async def _ask(status: int, body: bytes) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("masterchainInfo"):
            last = {"seqno": 1, "global_id": TESTNET, "gen_utime": "1"}
            return httpx.Response(200, json={"last": last})
        return httpx.Response(status, content=body)

    client = ToncenterClient(
        "https://one.example",
        network=TESTNET,
        transport=httpx.MockTransport(answer),
        sleep=_no_sleep,
        monotonic=functools.partial(next, iter(range(0, 10**9, 30))),
    )
    message = external_message(ACCOUNT, Builder().store_uint(7, 32).end_cell())
    calls = (
        lambda: client.get_account(ACCOUNT),
        lambda: client.send_boc(cell_to_boc(message)),
        lambda: client.wait_message(b"\x44" * 32, timeout=40),
    )
    for call in calls:
        with contextlib.suppress(CocoonError):
            await call()
    other = ToncenterClient(
        "https://two.example",
        network=TESTNET,
        transport=httpx.MockTransport(lambda _: httpx.Response(status, content=body)),
        sleep=_no_sleep,
        monotonic=functools.partial(next, iter(range(0, 10**9, 30))),
    )
    with contextlib.suppress(CocoonError):
        await other.time()
    await client.aclose()
    await other.aclose()


async def _no_sleep(_: float) -> None:
    return None


def _answers() -> list[bytes]:
    code = base64.b64encode(cell_to_boc(Builder().store_uint(1, 8).end_cell())).decode()
    account: dict[str, Any] = {
        "balance": "1234", "state": "active", "last_transaction_id": {"lt": "5"},
        "block_id": {"workchain": -1, "seqno": 9}, "sync_utime": 1, "code": code, "data": code,
    }  # fmt: skip
    row = {
        "account": "0:" + "33" * 32, "lt": "5", "now": 1, "total_fees": "1", "end_status": "active",
        "description": {"aborted": False, "compute_ph": {"skipped": False, "success": True, "exit_code": 0}},
        "in_msg": {"hash": "44" * 32, "value": None, "opcode": "0x1"}, "mc_block_seqno": 3,
        "emulated": False,
    }  # fmt: skip
    trace = {
        "is_incomplete": False, "trace_info": {"trace_state": "complete", "pending_messages": 0},
        "external_hash": "44" * 32, "transactions": {"a": row}, "transactions_order": ["a"],
    }  # fmt: skip
    refused = "external message was not accepted: exit code 133"
    answers = (
        (0, {"ok": True, "result": account}),
        (0, {"traces": [trace]}),
        (0, {"ok": True, "result": {"hash": "x"}}),
        (5, {"ok": False, "error": refused}),
        (3, {"error": "no"}),
        (0, {"last": {"seqno": 1, "global_id": TESTNET, "gen_utime": 7}}),
    )
    return [bytes([which]) + json.dumps(body).encode() for which, body in answers]


def _receipts() -> list[bytes]:
    hashes = dict.fromkeys(
        ("client", "channel", "request_hash", "response_hash", "model_hash"), b"h" * 32
    )
    receipt = Receipt(
        finish=FinishReason.STOP,
        provider=PROVIDER.public_key,
        network=-239,
        epoch=1,
        session_id=b"s" * 16,
        request_id=b"r" * 16,
        counts=Counts(1, 2, 3, 0),
        price=5,
        spent=6,
        seq=1,
        time_ms=1,
        **hashes,  # type: ignore[arg-type] # bytes, all of them
    )
    return [sign_receipt(PROVIDER, receipt)]


def _addresses() -> list[bytes]:
    return [ACCOUNT.raw.encode(), ACCOUNT.friendly().encode(), Address(-1, bytes(32)).raw.encode()]


TARGETS = (
    Target("receipt", check_receipt, _receipts, max_len=400),
    Target("boc", check_boc, _boc_seeds, (b"\xb5\xee\x9c\x72", b"\x68\xff\x65\xf3")),
    Target("address", check_address, _addresses, max_len=100),
    Target("amount", check_amount, lambda: [b"1.5", b"0.000000001", b"12 GRAM"], max_len=100),
    Target(
        "toncenter",
        check_toncenter,
        _answers,
        (b"null", b"-1", b"1e99", b"[[[[[[", b'{"a":', b'"\\ud800"', b"99999999999999999999999"),
    ),
)
