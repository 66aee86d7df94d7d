"""The devnet over HTTP: what wallets and this SDK use of toncenter's v2 and v3.

Three paths of its own give money, move time and show totals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cocoon_sdk.devnet import rendering
from cocoon_sdk.devnet.executor import MessageRefusedError
from cocoon_sdk.devnet.network import DevNetwork
from cocoon_sdk.devnet.requests import (
    ClockBody,
    FaucetBody,
    parse_hash,
    parse_limit,
    query,
    read_boc,
    read_body,
)
from cocoon_sdk.errors import ChainDataError, ConfigError
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.message import normalised_hash

MAX_ADDRESSES = 1_000

T = TypeVar("T")


def make_app(network: DevNetwork, worker: Executor) -> Starlette:
    """The application; all work on the network runs on the one thread of `worker`."""
    api = _Api(network, worker)
    routes = [
        Route("/api/v2/getMasterchainInfo", api.masterchain_v2),
        Route("/api/v2/getAddressInformation", api.account_v2),
        Route("/api/v2/sendBoc", api.send_v2, methods=["POST"]),
        Route("/api/v2/sendBocReturnHash", api.send_v2, methods=["POST"]),
        Route("/api/v3/masterchainInfo", api.masterchain_v3),
        Route("/api/v3/accountStates", api.accounts_v3),
        Route("/api/v3/traces", api.traces_v3),
        Route("/api/v3/transactionsByMessage", api.by_message_v3),
        Route("/api/v3/transactions", api.transactions_v3),
        Route("/api/v3/message", api.send_v3, methods=["POST"]),
        Route("/devnet/faucet", api.faucet, methods=["POST"]),
        Route("/devnet/clock", api.clock, methods=["POST"]),
        Route("/devnet/status", api.status),
    ]
    return Starlette(
        routes=routes,
        exception_handlers={
            MessageRefusedError: _on_refusal,
            ConfigError: _on_bad_request,
            ChainDataError: _on_bad_request,
        },
    )


class _Api:
    """One method per path."""

    def __init__(self, network: DevNetwork, worker: Executor) -> None:
        self._network = network
        self._worker = worker

    async def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, function, *arguments)

    async def masterchain_v2(self, _: Request) -> Response:
        block = rendering.block_v2(await self._run(self._network.block))
        result = {"@type": "blocks.masterchainInfo", "last": block, "init": block | {"seqno": 0}}
        return _v2(result)

    async def account_v2(self, request: Request) -> Response:
        address = Address.parse(query(request, "address"))

        def read() -> dict[str, Any]:
            return rendering.account_v2(self._network.account(address), self._network.block())

        return _v2(await self._run(read))

    async def send_v2(self, request: Request) -> Response:
        message = await self._run(self._network.submit, await read_boc(request))
        if request.url.path.endswith("sendBoc"):
            return _v2({"@type": "ok"})
        names = {"hash": message.hash, "hash_norm": normalised_hash(message)}
        named = {name: rendering.b64(value) for name, value in names.items()}
        return _v2({"@type": "raw.extMessageInfo"} | named)

    async def masterchain_v3(self, _: Request) -> Response:
        block = rendering.block_v3(await self._run(self._network.block), self._network.network)
        return JSONResponse({"last": block, "first": block | {"seqno": 1}})

    async def accounts_v3(self, request: Request) -> Response:
        names = request.query_params.getlist("address")
        if not 1 <= len(names) <= MAX_ADDRESSES:
            raise ConfigError(f"address: expected 1 to {MAX_ADDRESSES}")
        addresses = [Address.parse(name) for name in names]

        def read() -> list[dict[str, Any]]:
            return [rendering.account_v3(a, self._network.account(a)) for a in addresses]

        accounts = await self._run(read)
        return JSONResponse({"accounts": accounts, "address_book": {}, "metadata": {}})

    async def traces_v3(self, request: Request) -> Response:
        message_hash = parse_hash(query(request, "msg_hash"))

        def read() -> list[dict[str, Any]]:
            found = self._network.trace_of(message_hash)
            return [] if found is None else [rendering.trace_v3(*found)]

        traces = await self._run(read)
        return JSONResponse({"traces": traces, "address_book": {}, "metadata": {}})

    async def by_message_v3(self, request: Request) -> Response:
        message_hash = parse_hash(query(request, "msg_hash"))

        def read() -> list[dict[str, Any]]:
            rows, _ = self._network.trace_of(message_hash) or ([], 0)
            named = rendering.b64(message_hash)
            return [
                row
                for row in map(rendering.transaction_v3, rows)
                if named in {row["in_msg"]["hash"], row["in_msg"].get("hash_norm")}
            ]

        return JSONResponse({"transactions": await self._run(read), "address_book": {}})

    async def transactions_v3(self, request: Request) -> Response:
        address = Address.parse(query(request, "account"))
        limit = parse_limit(request.query_params.get("limit", "10"))

        def read() -> list[dict[str, Any]]:
            return [rendering.transaction_v3(r) for r in self._network.transactions(address, limit)]

        return JSONResponse({"transactions": await self._run(read), "address_book": {}})

    async def send_v3(self, request: Request) -> Response:
        message = await self._run(self._network.submit, await read_boc(request))
        names = {"message_hash": message.hash, "message_hash_norm": normalised_hash(message)}
        return JSONResponse({name: rendering.b64(value) for name, value in names.items()})

    async def faucet(self, request: Request) -> Response:
        body = await read_body(request, FaucetBody)
        if not body.amount.isdecimal() or len(body.amount) > 20:
            raise ConfigError("amount: expected whole nano as decimal text")
        address, amount = Address.parse(body.address), int(body.amount)
        balance = await self._run(self._network.faucet, address, amount)
        return JSONResponse({"address": address.raw, "balance": str(balance)})

    async def clock(self, request: Request) -> Response:
        body = await read_body(request, ClockBody)
        block = await self._run(self._network.advance, body.advance)
        return JSONResponse({"seqno": block.seqno, "time": block.time})

    async def status(self, _: Request) -> Response:
        def read() -> dict[str, Any]:
            block, totals = self._network.block(), self._network.totals()
            amounts = ("balances", "fees", "minted")
            return {
                "network": self._network.network,
                "seqno": block.seqno,
                "time": block.time,
            } | {name: str(n) if name in amounts else n for name, n in totals.items()}

        return JSONResponse(await self._run(read))


def _v2(result: dict[str, Any]) -> Response:
    return JSONResponse({"ok": True, "result": result})


def _error(request: Request, status: int, message: str) -> Response:
    if request.url.path.startswith("/api/v2/"):
        return JSONResponse({"ok": False, "error": message, "code": status}, status)
    return JSONResponse({"error": message}, status)


async def _on_bad_request(request: Request, error: Exception) -> Response:
    return _error(request, 422, str(error))


async def _on_refusal(request: Request, error: Exception) -> Response:
    """The liteserver's words, by which clients of toncenter know a refusal."""
    code = error.exit_code if isinstance(error, MessageRefusedError) else None
    tail = f"\nexitcode={code}, steps=0, gas_used=0\n" if code is not None else ""
    return _error(
        request,
        500,
        "LITE_SERVER_UNKNOWN: cannot apply external message to current state : "
        f"External message was not accepted\n{error}{tail}",
    )
