"""Reading what the executor makes: shard accounts and ordinary transactions (block.tlb).

Only the fields that the devnet stores, checks or shows are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from cocoon_sdk.devnet.messages import Message, load_currency, read_message
from cocoon_sdk.devnet.phases import (
    ActionResult,
    load_short,
    read_action_phase,
    read_bounce_phase,
    read_compute_phase,
    read_storage_phase,
    skip_credit_phase,
)
from cocoon_sdk.errors import ChainDataError
from cocoon_sdk.ton.cells import Builder, Cell, Slice
from cocoon_sdk.ton.chain import AccountStatus

__all__ = [
    "Account",
    "ActionResult",
    "Message",
    "Transaction",
    "empty_account",
    "read_account",
    "read_message",
    "read_transaction",
]

_STATUSES: tuple[AccountStatus, ...] = ("uninit", "frozen", "active", "nonexist")


@dataclass(frozen=True, slots=True)
class Account:
    """An account inside its `ShardAccount`; the zero values are those of one that does not exist."""

    status: AccountStatus = "nonexist"
    balance: int = 0
    code: Cell | None = None
    data: Cell | None = None
    frozen_hash: bytes = b""
    last_lt: int = 0
    last_hash: bytes = bytes(32)


@dataclass(frozen=True, slots=True)
class Transaction:
    """An ordinary transaction."""

    cell: Cell
    account: bytes
    lt: int
    now: int
    previous_hash: bytes
    previous_lt: int
    original_status: AccountStatus
    end_status: AccountStatus
    total_fees: int
    in_message: Message
    out_messages: tuple[Message, ...]
    aborted: bool
    destroyed: bool
    storage_fee: int
    skip_reason: str
    success: bool
    exit_code: int
    gas_used: int
    gas_fee: int
    action: ActionResult | None
    bounced_back: bool | None  # None: no bounce phase; False: it could not be paid for

    @property
    def end_lt(self) -> int:
        """The logical time after its last out message."""
        return self.lt + len(self.out_messages)


def empty_account() -> Cell:
    """The `ShardAccount` of an address that nothing has happened to."""
    nothing = Builder().store_bool(False).end_cell()
    return Builder().store_ref(nothing).store_bytes(bytes(32)).store_uint(0, 64).end_cell()


def read_account(shard_account: Cell) -> Account:
    """The account inside a `ShardAccount`."""
    outer = shard_account.begin_parse()
    reader = outer.load_ref().begin_parse()
    last_hash, last_lt = outer.load_bytes(32), outer.load_uint(64)
    if not reader.load_bool():
        return Account(last_lt=last_lt, last_hash=last_hash)
    reader.load_address()
    _skip_storage_info(reader)
    reader.load_uint(64)
    balance = load_currency(reader)
    code = data = None
    frozen_hash = b""
    status: AccountStatus = "uninit"
    if reader.load_bool():
        status = "active"
        if reader.load_bool():
            reader.load_uint(5)
        if reader.load_bool():
            reader.load_uint(2)
        code, data, _ = (reader.load_maybe_ref() for _ in range(3))
    elif reader.load_bool():
        status = "frozen"
        frozen_hash = reader.load_bytes(32)
    return Account(status, balance, code, data, frozen_hash, last_lt, last_hash)


def read_transaction(cell: Cell) -> Transaction:
    """An ordinary transaction.

    Raises:
        ChainDataError: another kind of transaction, or cut short.
    """
    reader = cell.begin_parse()
    if reader.load_uint(4) != 0b0111:
        raise ChainDataError("not a transaction")
    account, lt = reader.load_bytes(32), reader.load_uint(64)
    previous_hash, previous_lt = reader.load_bytes(32), reader.load_uint(64)
    now = reader.load_uint(32)
    reader.load_uint(15)
    before, after = (_STATUSES[reader.load_uint(2)] for _ in range(2))
    messages = reader.load_ref().begin_parse()
    in_message = messages.load_maybe_ref()
    if in_message is None:
        raise ChainDataError("an ordinary transaction has no inbound message")
    outs = messages.load_dict(15)
    total_fees = load_currency(reader)
    reader.load_ref()
    description = reader.load_ref().begin_parse()
    if description.load_uint(4) != 0:
        raise ChainDataError("not an ordinary transaction")
    description.load_bool()
    storage_fee = read_storage_phase(description) if description.load_bool() else 0
    if description.load_bool():
        skip_credit_phase(description)
    compute = read_compute_phase(description)
    action = description.load_maybe_ref()
    aborted = description.load_bool()
    bounced_back = read_bounce_phase(description) if description.load_bool() else None
    return Transaction(
        cell=cell,
        account=account,
        lt=lt,
        now=now,
        previous_hash=previous_hash,
        previous_lt=previous_lt,
        original_status=before,
        end_status=after,
        total_fees=total_fees,
        in_message=read_message(in_message),
        out_messages=tuple(read_message(outs[key].load_ref()) for key in sorted(outs)),
        aborted=aborted,
        destroyed=description.load_bool(),
        storage_fee=storage_fee,
        skip_reason=compute.skip_reason,
        success=compute.success,
        exit_code=compute.exit_code,
        gas_used=compute.gas_used,
        gas_fee=compute.gas_fee,
        action=None if action is None else read_action_phase(action.begin_parse()),
        bounced_back=bounced_back,
    )


def _skip_storage_info(reader: Slice) -> None:
    load_short(reader, 3)
    load_short(reader, 3)
    if reader.load_uint(3) == 1:  # the hash of the storage dictionary, since TVM 11
        reader.load_bytes(32)
    reader.load_uint(32)
    if reader.load_bool():
        reader.load_coins()
