"""The chain through toncenter's HTTP API, versions 2 and 3 (payments.md §2).

What confirms a state: v2 getAddressInformation answers as of the masterchain block in `block_id`
(workchain -1), whose time is `sync_utime`; v3 transactions count once their trace is complete and
none is `emulated` or of a `finality` other than finalized. Get-methods are never called.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Sequence

import httpx
import msgspec

from cocoon_sdk.errors import (
    ChainDataError,
    ChainUnavailableError,
    ConfigError,
    TransactionFailedError,
)
from cocoon_sdk.ton import toncenter_types as api
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import cell_from_boc
from cocoon_sdk.ton.chain import MAINNET, TESTNET, AccountState, AccountStatus, TransactionInfo
from cocoon_sdk.ton.message import normalised_hash
from cocoon_sdk.ton.toncenter_http import Services
from cocoon_sdk.ton.toncenter_traces import confirmed

DEFAULT_URLS = {MAINNET: "https://toncenter.com", TESTNET: "https://testnet.toncenter.com"}

MASTERCHAIN_INFO = "/api/v3/masterchainInfo"
LAG_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
FIRST_POLL = 0.2
LONGEST_POLL = 2.0
SHORTEST_LOOK = 1.0
PUBLIC_PACE = 1.05  # seconds between calls that toncenter.com allows without a key
MASTERCHAIN = -1

_STATUSES: dict[str, AccountStatus] = {
    "active": "active",
    "uninitialized": "uninit",
    "uninit": "uninit",
    "frozen": "frozen",
    "nonexist": "nonexist",
}
_REFUSALS = ("cannot apply external message", "external message was not accepted")
_DUPLICATE = "duplicate message"
_EXIT_CODE = re.compile(r"exit ?code[ =:]*(-?[0-9]{1,10})")


def default_url(network: int) -> str:
    """The public service of a network.

    Raises:
        ConfigError: the network has none, so an address must be given.
    """
    try:
        return DEFAULT_URLS[network]
    except KeyError as error:
        raise ConfigError(
            f"network {network} has no public chain API; give its URL "
            "(COCOON_CHAIN; for a provider --chain, or chain.urls in its config.toml)"
        ) from error


class ToncenterClient:
    """A `ChainClient` over one or more toncenter deployments of one network."""

    def __init__(
        self,
        urls: Sequence[str] | str | None = None,
        *,
        network: int,
        api_key: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is opened before the first call.

        Raises:
            ConfigError: no URL, one that is not usable, or plain http to the internet.
        """
        self._network = network
        self._services = Services(
            urls or default_url(network),
            api_key=api_key,
            transport=transport,
            sleep=sleep,
            monotonic=monotonic,
            probe=(MASTERCHAIN_INFO, self._check_network),
            pace=PUBLIC_PACE,
        )
        self._sleep = sleep
        self._monotonic = monotonic
        self._newest_seqno = 0

    @property
    def network(self) -> int:
        """The global id that every service was checked to be of."""
        return self._network

    async def aclose(self) -> None:
        """Close the connections."""
        await self._services.aclose()

    async def time(self) -> int:
        """Unix seconds of the newest masterchain block."""
        return api.number((await self._last_block()).gen_utime, "block time")

    async def get_account(self, address: Address) -> AccountState:
        """A masterchain-confirmed state of one account, no older than anything seen before.

        A service runs on several machines, of which one may be blocks behind another.
        """
        for pause in LAG_PAUSES:
            state = await self._read_account(address)
            if state.block_seqno >= self._newest_seqno:
                self._newest_seqno = state.block_seqno
                return state
            await self._sleep(pause)
        raise ChainUnavailableError(
            f"the chain API stays behind masterchain block {self._newest_seqno}, which it showed "
            "before; try again later or use another one"
        )

    async def _read_account(self, address: Address) -> AccountState:
        raw = await self._v2("getAddressInformation", {"address": address.raw})
        info = api.decode(raw, api.AddressInformation, "getAddressInformation")
        if info.block_id.workchain != MASTERCHAIN:
            raise ChainDataError(f"the state of {address.raw} is not of a masterchain block")
        last_lt = api.number(info.last_transaction_id.lt, "logical time")
        status = _STATUSES.get(info.state)
        if status is None:
            raise ChainDataError(f"the chain API gave {info.state[:40]!r} as account state")
        if status == "uninit" and last_lt == 0:
            status = "nonexist"
        code_hash = data = None
        if status == "active":
            code_hash = cell_from_boc(api.binary(info.code or "", "contract code")).hash
            data = api.binary(info.data or "", "contract data")
        return AccountState(
            address=address,
            balance=max(0, api.number(info.balance, "balance", least=-1)),
            status=status,
            code_hash=code_hash,
            data=data,
            last_lt=last_lt,
            block_seqno=info.block_id.seqno,
            block_time=info.sync_utime,
        )

    async def send_boc(self, boc: bytes) -> bytes:
        """Hand in an external message; returns its normalised hash, computed here."""
        msg_hash = normalised_hash(cell_from_boc(boc))
        answer = await self._services.call(
            "/api/v2/sendBocReturnHash",
            body={"boc": base64.b64encode(boc).decode("ascii")},
            final=lambda body: _refusal(body) is not None,
        )
        reason = _refusal(answer.body)
        if reason is None:
            self._unwrap(answer.status, answer.body, "sendBocReturnHash")
            return msg_hash
        if _DUPLICATE in reason.lower():
            return msg_hash
        if answer.maybe_taken:
            raise ChainUnavailableError(
                f"a first attempt to send message {msg_hash.hex()} got no answer and a second was "
                "refused, so the first may have been taken; look at the account before sending anew"
            )
        code = _EXIT_CODE.search(reason)
        raise TransactionFailedError(
            f"the contract refused the message, nothing was executed: {reason[:300]}",
            exit_code=int(code[1]) if code else None,
        )

    async def wait_message(
        self,
        msg_hash: bytes,
        *,
        timeout: float = 60.0,  # noqa: ASYNC109 - unlike a cancellation it raises our own error
    ) -> tuple[TransactionInfo, ...]:
        """Poll until the whole trace of an external message is confirmed."""
        deadline = self._monotonic() + timeout
        pause = FIRST_POLL
        while True:
            left = deadline - self._monotonic()
            trace = None
            with contextlib.suppress(ChainUnavailableError, TimeoutError):  # then look again
                async with asyncio.timeout(max(left, SHORTEST_LOOK)):
                    trace = await self._trace(msg_hash)
            if trace is not None and (found := confirmed(trace)) is not None:
                seqnos = (row.mc_block_seqno for row in trace.transactions.values())
                self._newest_seqno = max(self._newest_seqno, *seqnos)
                return found
            left = deadline - self._monotonic()
            if left <= 0:
                raise ChainUnavailableError(
                    f"message {msg_hash.hex()} is not confirmed after {timeout:g} s; it may still "
                    "be executed until it expires"
                )
            await self._sleep(min(pause, left))
            pause = min(pause * 1.5, LONGEST_POLL)

    async def _trace(self, msg_hash: bytes) -> api.Trace | None:
        answer = await self._services.call(
            "/api/v3/traces",
            query={"msg_hash": msg_hash.hex(), "include_actions": "false", "limit": "1"},
        )
        if answer.status == httpx.codes.NOT_FOUND:
            return None
        self._expect_ok(answer.status, answer.body, "traces")
        traces = api.decode(answer.body, api.Traces, "traces").traces
        if not traces:
            return None
        trace = traces[0]
        names = {trace.external_hash}
        for transaction in trace.transactions.values():
            if transaction.in_msg is not None:
                names |= {transaction.in_msg.hash, transaction.in_msg.hash_norm}
        if msg_hash not in {api.hash_bytes(name, "message hash") for name in names if name}:
            raise ChainDataError(f"the chain API answered another trace than {msg_hash.hex()}'s")
        return trace

    async def _last_block(self) -> api.MasterBlock:
        answer = await self._services.call(MASTERCHAIN_INFO)
        self._check_network(answer.url, answer.status, answer.body)
        return api.decode(answer.body, api.MasterchainInfo, "masterchainInfo").last

    def _check_network(self, url: str, status: int, body: bytes) -> None:
        """Refuse a service of another network: the same keys have the same addresses on all."""
        self._expect_ok(status, body, "masterchainInfo")
        last = api.decode(body, api.MasterchainInfo, "masterchainInfo").last
        if last.global_id != self._network:
            raise ChainDataError(
                f"{url} serves network {last.global_id}, not {self._network}; check the URL"
            )

    async def _v2(self, method: str, query: dict[str, str]) -> msgspec.Raw:
        answer = await self._services.call(f"/api/v2/{method}", query=query)
        return self._unwrap(answer.status, answer.body, method)

    def _unwrap(self, status: int, body: bytes, method: str) -> msgspec.Raw:
        self._expect_ok(status, body, method)
        envelope = api.decode(body, api.Envelope, method)
        if not envelope.ok:
            raise ChainDataError(f"the chain API refused {method}: {envelope.error[:300]}")
        return envelope.result

    @staticmethod
    def _expect_ok(status: int, body: bytes, method: str) -> None:
        if status == httpx.codes.OK:
            return
        try:
            detail = msgspec.json.decode(body, type=api.Failure).error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            detail = ""
        raise ChainDataError(f"the chain API refused {method} (HTTP {status}): {detail[:300]}")


def _refusal(body: bytes) -> str | None:
    """Why the contract did not take an external message; None where the answer is something else."""
    try:
        error = msgspec.json.decode(body, type=api.Failure).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return error if any(phrase in error.lower() for phrase in _REFUSALS) else None
