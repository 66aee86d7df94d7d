"""ToncenterClient against answers in the shapes that the published services give."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
import respx

from cocoon_sdk.errors import (
    ChainDataError,
    ChainUnavailableError,
    ConfigError,
    TransactionFailedError,
)
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Builder, cell_to_boc
from cocoon_sdk.ton.chain import MAINNET, TESTNET
from cocoon_sdk.ton.message import external_message, normalised_hash, state_init
from cocoon_sdk.ton.toncenter import ToncenterClient, default_url
from cocoon_sdk.ton.toncenter_http import ROUNDS

MAIN = "https://one.example"
SPARE = "https://two.example"
ACCOUNT = Address(0, b"\x33" * 32)
CODE = Builder().store_uint(1, 8).end_cell()
DATA = Builder().store_uint(2, 8).end_cell()
MESSAGE = external_message(ACCOUNT, Builder().store_uint(7, 32).end_cell())
BOC = cell_to_boc(MESSAGE)


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def block(**changes: Any) -> dict[str, Any]:
    last = {
        "workchain": -1,
        "shard": "8000000000000000",
        "seqno": 51_000_123,
        "root_hash": b64(bytes(32)),
        "global_id": TESTNET,
        "gen_utime": "1780000000",
        "start_lt": "61000000000000",
    } | changes
    return {"last": last, "first": last | {"seqno": 1}}


def account(**changes: Any) -> dict[str, Any]:
    result = {
        "@type": "raw.fullAccountState",
        "balance": "1234567890",
        "extra_currencies": [],
        "code": b64(cell_to_boc(CODE)),
        "data": b64(cell_to_boc(DATA)),
        "last_transaction_id": {
            "@type": "internal.transactionId",
            "lt": "61000000000005",
            "hash": b64(bytes(32)),
        },
        "block_id": {
            "@type": "ton.blockIdExt",
            "workchain": -1,
            "shard": "-9223372036854775808",
            "seqno": 51_000_124,
            "root_hash": b64(bytes(32)),
            "file_hash": b64(bytes(32)),
        },
        "frozen_hash": "",
        "sync_utime": 1_780_000_004,
        "state": "active",
    } | changes
    return {"ok": True, "result": result, "@extra": "1780000004.5:1:0.3"}


def transaction(lt: int, **changes: Any) -> dict[str, Any]:
    row = {
        "account": ACCOUNT.raw.upper(),
        "hash": b64(lt.to_bytes(32, "big")),
        "lt": str(lt),
        "now": 1_780_000_003,
        "mc_block_seqno": 51_000_120,
        "trace_id": b64(bytes(32)),
        "prev_trans_hash": b64(bytes(32)),
        "prev_trans_lt": "0",
        "orig_status": "active",
        "end_status": "active",
        "total_fees": "2345678",
        "total_fees_extra_currencies": {},
        "description": {
            "type": "ord",
            "aborted": False,
            "destroyed": False,
            "credit_first": True,
            "storage_ph": {"storage_fees_collected": "12", "status_change": "unchanged"},
            "compute_ph": {"skipped": False, "success": True, "exit_code": 0, "gas_used": "4000"},
            "action": {"success": True, "valid": True, "result_code": 0, "skipped_actions": 0},
        },
        "block_ref": {"workchain": 0, "shard": "8000000000000000", "seqno": 5},
        "in_msg": {
            "hash": b64(MESSAGE.hash),
            "source": None,
            "value": None,
            "opcode": "0x7369676e",
            "hash_norm": b64(MESSAGE.hash),
        },
        "out_msgs": [],
        "emulated": False,
        "finality": "finalized",
    }
    return row | changes


def trace(*rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    value = {
        "trace_id": b64(bytes(32)),
        "external_hash": b64(MESSAGE.hash),
        "mc_seqno_start": "51000120",
        "mc_seqno_end": "51000120",
        "is_incomplete": False,
        "trace_info": {
            "trace_state": "complete",
            "messages": len(rows),
            "transactions": len(rows),
            "pending_messages": 0,
            "classification_state": "ok",
        },
        "transactions_order": [row["hash"] for row in rows],
        "transactions": {row["hash"]: row for row in rows},
    } | changes
    return {"traces": [value], "address_book": {}, "metadata": {}}


class Clock:
    """Time that passes only while the client sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def client(clock):
    client = ToncenterClient(
        [MAIN, SPARE], network=TESTNET, sleep=clock.sleep, monotonic=clock, api_key="secret-key"
    )
    yield client
    await client.aclose()


@pytest.fixture
def web():
    with respx.mock(assert_all_called=False) as router:
        for base in (MAIN, SPARE):
            router.get(f"{base}/api/v3/masterchainInfo").respond(json=block())
        yield router


def on(web: respx.Router, path: str, base: str = MAIN) -> respx.Route:
    method = "POST" if "sendBoc" in path else "GET"
    return web.route(method=method, url__startswith=f"{base}/api/{path}")


@pytest.mark.anyio
async def test_account_state(client, web):
    route = on(web, "v2/getAddressInformation").respond(json=account())
    state = await client.get_account(ACCOUNT)
    assert (state.balance, state.status) == (1_234_567_890, "active")
    assert (state.code_hash, state.data) == (CODE.hash, cell_to_boc(DATA))
    assert (state.last_lt, state.block_seqno) == (61_000_000_000_005, 51_000_124)
    assert state.block_time == 1_780_000_004
    request = route.calls.last.request
    assert request.url.params["address"] == ACCOUNT.raw
    assert request.headers["x-api-key"] == "secret-key"


@pytest.mark.anyio
async def test_the_key_goes_to_no_other_host(client, web):
    on(web, "v2/getAddressInformation").respond(status_code=503)
    spare = on(web, "v2/getAddressInformation", SPARE).respond(json=account())
    await client.get_account(ACCOUNT)
    calls = [call.request for call in web.calls]
    keys = {(request.url.host, request.headers.get("x-api-key")) for request in calls}
    assert keys == {
        (httpx.URL(MAIN).host, "secret-key"),
        (httpx.URL(SPARE).host, None),
    }
    assert spare.called


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"state": "uninitialized", "code": "", "data": ""}, "uninit"),
        ({"state": "uninitialized", "last_transaction_id": {"lt": "0"}, "balance": 0}, "nonexist"),
        ({"state": "frozen", "frozen_hash": "x"}, "frozen"),
    ],
)
async def test_account_without_code(client, web, changes, expected):
    on(web, "v2/getAddressInformation").respond(json=account(**changes))
    state = await client.get_account(ACCOUNT)
    assert state.status == expected
    assert state.code_hash is None
    assert state.data is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer",
    [
        account(block_id={"workchain": 0, "seqno": 1}),
        account(balance="1e9"),
        account(balance="-5"),
        account(state="sleeping"),
        account(code="!"),
        account(code=""),
        account(sync_utime="soon"),
        {"ok": True, "result": []},
        {"ok": True},
        {"ok": False, "error": "no"},
        [],
    ],
)
async def test_malformed_account_is_refused(client, web, answer):
    on(web, "v2/getAddressInformation").respond(json=answer)
    with pytest.raises(ChainDataError):
        await client.get_account(ACCOUNT)


@pytest.mark.anyio
async def test_not_json_is_refused(client, web):
    on(web, "v2/getAddressInformation").respond(text="<html>")
    with pytest.raises(ChainDataError, match="malformed"):
        await client.get_account(ACCOUNT)


@pytest.mark.anyio
async def test_deep_nesting_is_refused_whatever_the_status(client, web):
    deep = '{"x":' + "[" * 100_000
    on(web, "v2/getAddressInformation").respond(status_code=400, text=deep)
    with pytest.raises(ChainDataError, match="HTTP 400"):
        await client.get_account(ACCOUNT)
    on(web, "v2/sendBocReturnHash").respond(text=deep)
    with pytest.raises(ChainDataError, match="malformed"):
        await client.send_boc(BOC)


@pytest.mark.anyio
async def test_state_is_never_older_than_one_already_seen(client, web, clock):
    def at(seqno):
        return httpx.Response(200, json=account(block_id={"workchain": -1, "seqno": seqno}))

    row = transaction(1, mc_block_seqno=105)
    on(web, "v3/traces").respond(json=trace(row))
    read = on(web, "v2/getAddressInformation")
    read.side_effect = [at(100), at(104), at(106), at(105), at(106)]
    assert (await client.get_account(ACCOUNT)).block_seqno == 100
    await client.wait_message(MESSAGE.hash)
    assert (await client.get_account(ACCOUNT)).block_seqno == 106  # 104 lacks the transaction
    assert (await client.get_account(ACCOUNT)).block_seqno == 106
    assert clock.pauses == [0.5, 0.5]
    read.side_effect = None
    read.return_value = at(99)
    with pytest.raises(ChainUnavailableError, match="behind masterchain block 106"):
        await client.get_account(ACCOUNT)


@pytest.mark.anyio
async def test_wait_outlasts_an_unavailable_service(client, web, clock):
    answers = [httpx.Response(503)] * ROUNDS + [httpx.Response(200, json=trace(transaction(1)))]
    on(web, "v3/traces").mock(side_effect=answers)
    on(web, "v3/traces", SPARE).respond(503)
    assert len(await client.wait_message(MESSAGE.hash)) == 1


@pytest.mark.anyio
async def test_public_service_without_a_key_is_asked_slowly(clock):
    pauses = {}
    for key in (None, "key"):
        clock.pauses.clear()
        with respx.mock() as web:
            web.get("https://toncenter.com/api/v3/masterchainInfo").respond(
                json=block(global_id=MAINNET)
            )
            client = ToncenterClient(
                network=MAINNET, api_key=key, sleep=clock.sleep, monotonic=clock
            )
            for _ in range(3):
                await client.time()
            await client.aclose()
        pauses[key] = list(clock.pauses)
    assert pauses == {None: [pytest.approx(1.05)] * 2, "key": []}


@pytest.mark.anyio
async def test_time(client, web):
    assert await client.time() == 1_780_000_000


@pytest.mark.anyio
async def test_service_of_another_network_is_refused(client, web):
    for base in (MAIN, SPARE):
        web.get(f"{base}/api/v3/masterchainInfo").respond(json=block(global_id=MAINNET))
    read = on(web, "v2/getAddressInformation").respond(json=account())
    with pytest.raises(ChainDataError, match="serves network -239, not -3"):
        await client.get_account(ACCOUNT)
    assert not read.called


@pytest.mark.anyio
async def test_fallback_of_another_network_is_refused(client, web):
    on(web, "v2/getAddressInformation").respond(503)
    web.get(f"{SPARE}/api/v3/masterchainInfo").respond(json=block(global_id=MAINNET))
    spare = on(web, "v2/getAddressInformation", SPARE).respond(json=account())
    with pytest.raises(ChainUnavailableError, match=f"{SPARE} serves network"):
        await client.get_account(ACCOUNT)
    assert not spare.called


@pytest.mark.anyio
@pytest.mark.parametrize(
    "first",
    [
        httpx.ConnectError("down"),
        httpx.ReadTimeout("slow"),
        httpx.Response(502, text="bad gateway"),
        httpx.Response(500, json={"ok": False, "error": "LITE_SERVER_NOTREADY", "code": 500}),
        httpx.Response(429, json={"ok": False, "result": "Ratelimit exceed", "code": 429}),
    ],
)
async def test_next_service_is_asked(client, web, clock, first):
    on(web, "v2/getAddressInformation").mock(side_effect=[first])
    spare = on(web, "v2/getAddressInformation", SPARE).respond(json=account())
    assert (await client.get_account(ACCOUNT)).balance == 1_234_567_890
    assert not clock.pauses
    await client.get_account(ACCOUNT)  # and stays with the one that works
    assert spare.call_count == 2


@pytest.mark.anyio
async def test_rate_limit_waits_as_long_as_asked(client, web, clock):
    answers = [
        httpx.Response(429, headers={"retry-after": "3"}),
        httpx.Response(200, json=account()),
    ]
    on(web, "v2/getAddressInformation").mock(side_effect=answers)
    on(web, "v2/getAddressInformation", SPARE).respond(429)
    await client.get_account(ACCOUNT)
    assert clock.pauses == [3.0]


@pytest.mark.anyio
async def test_attempts_are_bounded(client, web, clock):
    routes = [on(web, "v2/getAddressInformation", base).respond(503) for base in (MAIN, SPARE)]
    with pytest.raises(ChainUnavailableError, match="HTTP 503"):
        await client.get_account(ACCOUNT)
    assert [route.call_count for route in routes] == [ROUNDS, ROUNDS]
    assert clock.pauses == [0.5, 1.0, 2.0]


@pytest.mark.anyio
async def test_refused_key_is_said(client, web):
    for base in (MAIN, SPARE):
        on(web, "v2/getAddressInformation", base).respond(401, json={"ok": False})
    with pytest.raises(ConfigError, match="API key"):
        await client.get_account(ACCOUNT)


@pytest.mark.anyio
async def test_service_that_cannot_show_its_network_is_not_used(client, web):
    for base in (MAIN, SPARE):
        web.get(f"{base}/api/v3/masterchainInfo").respond(404, json={"error": "no such path"})
    read = on(web, "v2/getAddressInformation").respond(json=account())
    with pytest.raises(ChainDataError, match="no such path"):
        await client.get_account(ACCOUNT)
    assert not read.called


@pytest.mark.anyio
async def test_refused_key_after_a_lost_answer_is_unknown(client, web):
    """Callers take ConfigError for proof that nothing was sent."""
    on(web, "v2/sendBocReturnHash").mock(side_effect=httpx.ReadTimeout("slow"))
    on(web, "v2/sendBocReturnHash", SPARE).respond(403)
    with pytest.raises(ChainUnavailableError, match="unknown whether"):
        await client.send_boc(BOC)


@pytest.mark.anyio
async def test_endless_answer_is_cut(client, web):
    for base in (MAIN, SPARE):
        on(web, "v2/getAddressInformation", base).respond(content=b" " * ((8 << 20) + 1))
    with pytest.raises(ChainUnavailableError, match="TooLarge"):
        await client.get_account(ACCOUNT)


def sent(hash_: bytes = bytes(32)) -> httpx.Response:
    result = {"@type": "raw.extMessageInfo", "hash": b64(hash_), "hash_norm": b64(hash_)}
    return httpx.Response(200, json={"ok": True, "result": result})


def refused(detail: str) -> httpx.Response:
    error = f"LITE_SERVER_UNKNOWN: cannot apply external message to current state : {detail}"
    return httpx.Response(500, json={"ok": False, "error": error, "code": 500})


NOT_ACCEPTED = (
    "External message was not accepted\nCannot run message on account: inbound external message "
    "rejected by transaction 4C6F:\nexitcode=133, steps=49, gas_used=0\n"
)


@pytest.mark.anyio
async def test_send_returns_our_own_hash(client, web):
    route = on(web, "v2/sendBocReturnHash").mock(return_value=sent(b"\x99" * 32))
    assert await client.send_boc(BOC) == MESSAGE.hash
    assert json.loads(route.calls.last.request.content) == {"boc": b64(BOC)}


@pytest.mark.anyio
async def test_hash_does_not_depend_on_the_form(client, web):
    on(web, "v2/sendBocReturnHash").mock(return_value=sent())
    deploying = external_message(
        ACCOUNT, Builder().store_uint(7, 32).end_cell(), state_init(CODE, DATA)
    )
    assert deploying.hash != MESSAGE.hash
    assert await client.send_boc(cell_to_boc(deploying)) == MESSAGE.hash


@pytest.mark.anyio
async def test_refusal_is_final_and_carries_the_exit_code(client, web):
    route = on(web, "v2/sendBocReturnHash").mock(return_value=refused(NOT_ACCEPTED))
    spare = on(web, "v2/sendBocReturnHash", SPARE).mock(return_value=sent())
    with pytest.raises(TransactionFailedError, match="nothing was executed") as caught:
        await client.send_boc(BOC)
    assert caught.value.exit_code == 133
    assert (route.call_count, spare.call_count) == (1, 0)


@pytest.mark.anyio
async def test_refusal_after_a_lost_answer_is_unknown(client, web):
    on(web, "v2/sendBocReturnHash").mock(side_effect=httpx.ReadTimeout("slow"))
    on(web, "v2/sendBocReturnHash", SPARE).mock(return_value=refused(NOT_ACCEPTED))
    with pytest.raises(ChainUnavailableError, match="may have been taken"):
        await client.send_boc(BOC)


@pytest.mark.anyio
async def test_refusal_after_no_connection_is_a_refusal(client, web):
    on(web, "v2/sendBocReturnHash").mock(side_effect=httpx.ConnectError("down"))
    on(web, "v2/sendBocReturnHash", SPARE).mock(return_value=refused(NOT_ACCEPTED))
    with pytest.raises(TransactionFailedError):
        await client.send_boc(BOC)


@pytest.mark.anyio
async def test_resent_message_is_identical(client, web):
    first = on(web, "v2/sendBocReturnHash").mock(side_effect=httpx.ReadTimeout("slow"))
    second = on(web, "v2/sendBocReturnHash", SPARE).mock(return_value=refused("duplicate message"))
    assert await client.send_boc(BOC) == MESSAGE.hash
    assert first.calls.last.request.content == second.calls.last.request.content


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("failure", "verdict"),
    [
        (httpx.ConnectError("down"), "nothing was sent"),
        (httpx.ReadTimeout("slow"), "unknown whether"),
    ],
)
async def test_unsent_is_told_apart_from_unknown(client, web, failure, verdict):
    for base in (MAIN, SPARE):
        on(web, "v2/sendBocReturnHash", base).mock(side_effect=failure)
    with pytest.raises(ChainUnavailableError, match=verdict):
        await client.send_boc(BOC)


@pytest.mark.anyio
async def test_trace_is_awaited_until_final(client, web, clock):
    value = {"in_msg": {"hash": b64(bytes(32)), "value": "500", "opcode": "-1"}}
    rows = transaction(61_000_000_000_002, **value), transaction(61_000_000_000_001)
    pending = {"trace_state": "pending", "pending_messages": 1}
    answers = [
        {"traces": []},
        trace(*rows, trace_info=pending),
        trace(*rows, is_incomplete=True),
        trace(rows[1], transaction(61_000_000_000_002, emulated=True, **value)),
        trace(rows[1], transaction(61_000_000_000_002, finality="confirmed", **value)),
        trace(*rows),
    ]
    route = on(web, "v3/traces").mock(
        side_effect=[httpx.Response(404, json={"error": "not found"})]
        + [httpx.Response(200, json=answer) for answer in answers]
    )
    found = await client.wait_message(MESSAGE.hash)
    assert route.call_count == 7
    assert route.calls.last.request.url.params["msg_hash"] == MESSAGE.hash.hex()
    assert [row.lt for row in found] == [61_000_000_000_001, 61_000_000_000_002]
    first, second = found
    assert (first.account, first.success, first.exit_code) == (ACCOUNT, True, 0)
    assert (first.fees, first.now, first.in_value) == (2_345_678, 1_780_000_003, 0)
    assert first.in_opcode == 0x7369676E
    assert (second.in_value, second.in_opcode) == (500, 0xFFFFFFFF)


SKIPPED = {"skipped": True, "reason": "no_state"}
FAILED = {"success": False, "exit_code": 104}
RAN = {"success": True, "exit_code": 0}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("description", "end_status", "success", "exit_code"),
    [
        ({"compute_ph": RAN, "action": None}, "active", True, 0),
        ({"compute_ph": FAILED, "aborted": True, "bounce": {"type": "ok"}}, "active", False, 104),
        ({"compute_ph": SKIPPED, "aborted": True}, "uninit", True, None),
        ({"compute_ph": SKIPPED, "aborted": True, "bounce": {"type": "ok"}}, "uninit", False, None),
        ({"compute_ph": SKIPPED, "aborted": True}, "active", False, None),
        ({"compute_ph": SKIPPED, "aborted": True}, "frozen", False, None),
        (
            {"compute_ph": RAN, "action": {"success": False, "result_code": 37}, "aborted": True},
            "active",
            False,
            37,
        ),
        (
            {"compute_ph": RAN, "action": {"success": True, "skipped_actions": 1}},
            "active",
            False,
            0,
        ),
    ],
)
async def test_success_of_a_transaction(client, web, description, end_status, success, exit_code):
    row = transaction(1, description=description, end_status=end_status)
    on(web, "v3/traces").respond(json=trace(row))
    (row,) = await client.wait_message(MESSAGE.hash)
    assert (row.success, row.exit_code) == (success, exit_code)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer",
    [
        trace(transaction(1, in_msg=None), external_hash=b64(bytes(32))),
        trace(transaction(1, account="0:12")),
        trace(transaction(1, total_fees="x")),
        trace(transaction(1), external_hash="zz"),
        trace(transaction(1, description=None)),
        {"traces": None},
    ],
)
async def test_malformed_trace_is_refused(client, web, answer):
    on(web, "v3/traces").respond(json=answer)
    with pytest.raises(ChainDataError):
        await client.wait_message(MESSAGE.hash)


@pytest.mark.anyio
async def test_wait_ends(client, web, clock):
    on(web, "v3/traces").respond(json={"traces": []})
    with pytest.raises(ChainUnavailableError, match="not confirmed after 7 s"):
        await client.wait_message(MESSAGE.hash, timeout=7)
    assert clock.now == pytest.approx(7)


@pytest.mark.parametrize(
    "url",
    [
        "http://toncenter.com",
        "http://8.8.8.8",
        "ftp://x",
        "toncenter.com",
        "https://",
        "https://user:key@toncenter.com",
        [],
    ],
)
def test_unusable_address_is_refused(url):
    if url == []:
        with pytest.raises(ConfigError, match="no public chain API"):
            ToncenterClient(url, network=-217)
    else:
        with pytest.raises(ConfigError):
            ToncenterClient(url, network=MAINNET)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:8081/", "http://127.0.0.1:8081"),
        ("http://[::1]:8081", "http://[::1]:8081"),
        ("https://toncenter.com/api/v2/jsonRPC", "https://toncenter.com"),
        ("https://host.example/ton/api/v3/", "https://host.example/ton"),
        ("http://toncenter:8081/api/v2", "http://toncenter:8081"),
    ],
)
async def test_address_forms(web, url, base):
    route = web.get(f"{base}/api/v3/masterchainInfo").respond(json=block())
    client = ToncenterClient(url, network=TESTNET)
    await client.time()
    assert route.called
    await client.aclose()


def test_default_addresses():
    assert default_url(MAINNET) == "https://toncenter.com"
    assert default_url(TESTNET) == "https://testnet.toncenter.com"


def test_normalised_hash_ignores_the_form():
    body = Builder().store_uint(7, 32).end_cell()
    inline = Builder().store_uint(0b10, 2).store_uint(0b01, 2).store_uint(8, 9).store_uint(255, 8)
    inline.store_address(ACCOUNT).store_coins(5)
    inline.store_uint(0b10, 2).store_cell(state_init(CODE, DATA)).store_bool(False).store_cell(body)
    assert normalised_hash(inline.end_cell()) == external_message(ACCOUNT, body).hash


def test_only_external_messages_have_a_normalised_hash():
    with pytest.raises(ChainDataError):
        normalised_hash(Builder().store_uint(0, 64).end_cell())
