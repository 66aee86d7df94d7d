"""What a v3 trace says: whether it is final, and how each of its transactions ended."""

from __future__ import annotations

import re

from cocoon_sdk.errors import ChainDataError, ConfigError
from cocoon_sdk.ton import toncenter_types as api
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import TransactionInfo


def confirmed(trace: api.Trace) -> tuple[TransactionInfo, ...] | None:
    """The transactions of a trace that is complete and final, else None."""
    info = trace.trace_info
    if trace.is_incomplete or info.trace_state != "complete" or info.pending_messages:
        return None
    rows = trace.transactions.values()
    if not rows or any(row.emulated or row.finality not in {None, "finalized"} for row in rows):
        return None
    return tuple(sorted((_transaction(row) for row in rows), key=lambda row: row.lt))


def _transaction(row: api.Transaction) -> TransactionInfo:
    description, message = row.description, row.in_msg
    compute, action = description.compute_ph, description.action
    ran = compute.success and (action is None or (action.success and not action.skipped_actions))
    kept = compute.skipped and description.bounce is None and row.end_status == "uninit"
    exit_code = None if compute.skipped else compute.exit_code
    if action is not None and not action.success:
        exit_code = action.result_code
    try:
        account = Address.parse(row.account)
    except ConfigError as error:
        raise ChainDataError(f"the chain API gave {row.account[:80]!r} as an account") from error
    value = None if message is None else message.value
    opcode = None if message is None else message.opcode
    return TransactionInfo(
        account=account,
        lt=api.number(row.lt, "logical time"),
        now=row.now,
        success=ran or kept,
        exit_code=exit_code,
        fees=api.number(row.total_fees, "fees"),
        in_value=0 if value is None else api.number(value, "message value"),
        in_opcode=None if opcode is None else _opcode(opcode),
    )


def _opcode(value: api.Number) -> int:
    """v3 writes the opcode as 0x and hex digits; older releases as a signed number."""
    if isinstance(value, str) and re.fullmatch(r"0x[0-9a-fA-F]{1,8}", value):
        return int(value, 16)
    return api.number(value, "message opcode", least=-(1 << 31)) & 0xFFFFFFFF
