"""The JSON of toncenter's API, versions 2 and 3: only the fields that are used, checked on arrival.

Fields and spellings are those of the published services (ton-http-api for v2, ton-index for v3).
Unknown fields are ignored, because the services add some with every release; a missing or
ill-typed one is an error.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, TypeVar

import msgspec

from cocoon_sdk.errors import ChainDataError
from cocoon_sdk.ton.address import HASH_BYTES

_DIGITS = re.compile(r"-?[0-9]{1,39}")
_HEX = re.compile(r"[0-9a-fA-F]{64}")

Number = int | str  # v2 and v3 write large numbers as strings, some deployments as numbers

T = TypeVar("T")


class BlockId(msgspec.Struct, frozen=True):
    """v2: the block that an answer was read at. Workchain -1 is the masterchain."""

    workchain: int
    seqno: int


class LastTransaction(msgspec.Struct, frozen=True):
    """v2: the newest transaction of an account; lt 0 where there is none."""

    lt: Number


class AddressInformation(msgspec.Struct, frozen=True):
    """v2 getAddressInformation.

    `block_id` is the masterchain block whose state this is and `sync_utime` that block's time: the
    liteserver answers from no other state.
    """

    balance: Number
    state: str
    last_transaction_id: LastTransaction
    block_id: BlockId
    sync_utime: int
    code: str | None = None
    data: str | None = None


class Envelope(msgspec.Struct, frozen=True):
    """v2: every answer. `result` where ok, else `error`."""

    ok: bool
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""


class Failure(msgspec.Struct, frozen=True):
    """What either version sends with a status of 4xx or 5xx."""

    error: str = ""


class MasterBlock(msgspec.Struct, frozen=True):
    """v3: one masterchain block."""

    seqno: int
    global_id: int
    gen_utime: Number


class MasterchainInfo(msgspec.Struct, frozen=True):
    """v3 masterchainInfo; `last` is the newest block that the index holds."""

    last: MasterBlock


class ComputePhase(msgspec.Struct, frozen=True):
    """v3: how the contract ran. Nothing ran where it is skipped."""

    skipped: bool = False
    success: bool = False
    exit_code: int | None = None


class ActionPhase(msgspec.Struct, frozen=True):
    """v3: how the contract's actions were carried out."""

    success: bool = False
    result_code: int = 0
    skipped_actions: int = 0


class Description(msgspec.Struct, frozen=True):
    """v3: the outcome of a transaction."""

    aborted: bool = False
    compute_ph: ComputePhase = ComputePhase()
    action: ActionPhase | None = None
    bounce: dict[str, Any] | None = None


class InMessage(msgspec.Struct, frozen=True):
    """v3: the message that a transaction took in. `value` and `source` are null on external ones."""

    hash: str
    hash_norm: str | None = None
    value: Number | None = None
    opcode: Number | None = None


class Transaction(msgspec.Struct, frozen=True):
    """v3: one transaction.

    `emulated` and `finality` say whether it is masterchain-confirmed; releases that lack them list
    confirmed transactions only.
    """

    account: str
    lt: Number
    now: int
    total_fees: Number
    end_status: str
    description: Description
    in_msg: InMessage | None = None
    mc_block_seqno: int = 0
    emulated: bool = False
    finality: str | int | None = None


class TraceInfo(msgspec.Struct, frozen=True):
    """v3: whether messages of a trace are still on their way."""

    trace_state: str
    pending_messages: int = 0


class Trace(msgspec.Struct, frozen=True):
    """v3: everything that one external message set off."""

    is_incomplete: bool
    trace_info: TraceInfo
    external_hash: str | None = None
    transactions: dict[str, Transaction] = {}
    transactions_order: list[str] = []


class Traces(msgspec.Struct, frozen=True):
    """v3 traces."""

    traces: list[Trace]


def decode(raw: bytes | msgspec.Raw, kind: type[T], what: str) -> T:
    """Parse one answer.

    Raises:
        ChainDataError: not JSON of this shape.
    """
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ChainDataError(f"the chain API's answer to {what} is malformed: {error}") from error


def number(value: Number, what: str, *, least: int = 0) -> int:
    """A whole number from its decimal text or from JSON.

    Raises:
        ChainDataError: other text, or less than `least`.
    """
    if isinstance(value, str):
        if _DIGITS.fullmatch(value) is None:
            raise ChainDataError(f"the chain API gave {value[:40]!r} as {what}")
        value = int(value)
    if value < least:
        raise ChainDataError(f"the chain API gave {value} as {what}")
    return value


def binary(text: str, what: str) -> bytes:
    """The bytes behind base64.

    Raises:
        ChainDataError: not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ChainDataError(f"the chain API gave something else than base64 as {what}") from error


def hash_bytes(text: str, what: str) -> bytes:
    """The 32 bytes behind a hash in base64, base64url or hex.

    Raises:
        ChainDataError: another form or length.
    """
    if _HEX.fullmatch(text):
        return bytes.fromhex(text)
    raw = binary(text.replace("-", "+").replace("_", "/"), what)
    if len(raw) != HASH_BYTES:
        raise ChainDataError(f"the chain API gave {len(raw)} bytes as {what}")
    return raw
