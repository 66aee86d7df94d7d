"""Reading what the executor makes: shard accounts, messages and ordinary transactions (block.tlb).

Only the fields that the devnet stores, checks or shows are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from cocoon_sdk.errors import ChainDataError
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Builder, Cell, Slice
from cocoon_sdk.ton.chain import AccountStatus

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
class Message:
    """A message in or out of a transaction. External ones have no source, value or fees."""

    cell: Cell
    kind: str  # "internal", "external" or "event"
    source: Address | None
    destination: Address | None
    value: int = 0
    forward_fee: int = 0
    created_lt: int = 0
    created_at: int = 0
    bounce: bool = False
    bounced: bool = False
    body: Cell | None = None

    @property
    def opcode(self) -> int | None:
        """The first 32 bits of the body, if it has as many."""
        if self.body is None or self.body.bit_length < 32:
            return None
        return self.body.begin_parse().load_uint(32)


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


@dataclass(frozen=True, slots=True)
class ActionResult:
    """The action phase."""

    success: bool
    valid: bool
    no_funds: bool
    result_code: int
    forward_fees: int
    action_fees: int
    total: int
    skipped: int
    created: int


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
    balance = _currency(reader)
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


def read_message(cell: Cell) -> Message:
    """A message with its envelope; an init is skipped over."""
    reader = cell.begin_parse()
    if not reader.load_bool():
        reader.load_bool()
        bounce, bounced = reader.load_bool(), reader.load_bool()
        source, destination = reader.load_address(), reader.load_address()
        value = _currency(reader)
        reader.load_coins()
        forward_fee = reader.load_coins()
        created_lt, created_at = reader.load_uint(64), reader.load_uint(32)
        body = _body(reader)
        return Message(
            cell, "internal", source, destination, value, forward_fee, created_lt, created_at,
            bounce, bounced, body,
        )  # fmt: skip
    if reader.load_bool():
        source = reader.load_address()
        return Message(cell, "event", source, None)
    _skip_external_address(reader)
    destination = reader.load_address()
    reader.load_coins()
    return Message(cell, "external", None, destination, body=_body(reader))


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
    total_fees = _currency(reader)
    reader.load_ref()
    description = reader.load_ref().begin_parse()
    if description.load_uint(4) != 0:
        raise ChainDataError("not an ordinary transaction")
    description.load_bool()
    storage_fee = _storage_phase(description) if description.load_bool() else 0
    if description.load_bool():
        _skip_credit_phase(description)
    skip_reason, success, exit_code, gas_used, gas_fee = _compute_phase(description)
    action = description.load_maybe_ref()
    aborted = description.load_bool()
    bounced_back = _bounce_phase(description) if description.load_bool() else None
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
        skip_reason=skip_reason,
        success=success,
        exit_code=exit_code,
        gas_used=gas_used,
        gas_fee=gas_fee,
        action=None if action is None else _action_phase(action.begin_parse()),
        bounced_back=bounced_back,
    )


def _short(reader: Slice, length_bits: int) -> int:
    """`VarUInteger`: a length in bytes, then the number."""
    return reader.load_uint(reader.load_uint(length_bits) * 8)


def _currency(reader: Slice) -> int:
    nano = reader.load_coins()
    reader.load_maybe_ref()  # extra currencies
    return nano


def _skip_storage_info(reader: Slice) -> None:
    _short(reader, 3)
    _short(reader, 3)
    if reader.load_uint(3) == 1:  # the hash of the storage dictionary, since TVM 11
        reader.load_bytes(32)
    reader.load_uint(32)
    if reader.load_bool():
        reader.load_coins()


def _skip_external_address(reader: Slice) -> None:
    if reader.load_uint(2) == 1:
        reader.load_uint(reader.load_uint(9))


def _body(reader: Slice) -> Cell:
    if reader.load_bool():
        if reader.load_bool():
            reader.load_ref()
        else:
            if reader.load_bool():
                reader.load_uint(5)
            if reader.load_bool():
                reader.load_uint(2)
            for _ in range(3):
                reader.load_maybe_ref()
    return reader.load_ref() if reader.load_bool() else reader.rest()


def _status_change(reader: Slice) -> None:
    if reader.load_bool():
        reader.load_bool()


def _storage_phase(reader: Slice) -> int:
    fee = reader.load_coins()
    if reader.load_bool():
        reader.load_coins()
    _status_change(reader)
    return fee


def _skip_credit_phase(reader: Slice) -> None:
    if reader.load_bool():
        reader.load_coins()
    _currency(reader)


def _compute_phase(reader: Slice) -> tuple[str, bool, int, int, int]:
    """Reason for skipping (or nothing), success, exit code, gas used, gas fee."""
    if not reader.load_bool():
        reason = ("no_state", "bad_state", "no_gas", "suspended")[reader.load_uint(2)]
        if reason == "suspended":
            reader.load_bool()
        return reason, False, 0, 0, 0
    success = reader.load_bool()
    reader.load_uint(2)
    fee = reader.load_coins()
    inner = reader.load_ref().begin_parse()
    gas_used = _short(inner, 3)
    _short(inner, 3)
    if inner.load_bool():
        _short(inner, 2)
    inner.load_uint(8)
    return "", success, inner.load_int(32), gas_used, fee


def _action_phase(reader: Slice) -> ActionResult:
    success, valid, no_funds = (reader.load_bool() for _ in range(3))
    _status_change(reader)
    forward_fees = reader.load_coins() if reader.load_bool() else 0
    action_fees = reader.load_coins() if reader.load_bool() else 0
    result_code = reader.load_int(32)
    if reader.load_bool():
        reader.load_uint(32)
    total, _, skipped, created = (reader.load_uint(16) for _ in range(4))
    return ActionResult(
        success, valid, no_funds, result_code, forward_fees, action_fees, total, skipped, created
    )


def _bounce_phase(reader: Slice) -> bool:
    """Whether the message was sent back."""
    if reader.load_bool():
        _short(reader, 3)
        _short(reader, 3)
        reader.load_coins()
        reader.load_coins()
        return True
    if reader.load_bool():  # no funds for it; else the message had carried none
        _short(reader, 3)
        _short(reader, 3)
        reader.load_coins()
    return False
