"""The devnet's state in the JSON of toncenter, versions 2 and 3, field for field as published.

v2 writes hashes in base64 and shards as signed numbers; v3 writes addresses with upper-case hex,
64-bit numbers as strings and shards as hex.
"""

from __future__ import annotations

import base64
from typing import Any

from cocoon_sdk.devnet.network import Block
from cocoon_sdk.devnet.records import Account, Message, Transaction, read_transaction
from cocoon_sdk.devnet.storage import StoredTransaction
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Cell, cell_from_boc, cell_to_boc
from cocoon_sdk.ton.message import normalised_hash

Json = dict[str, Any]

_SHARD_V2 = str(-(1 << 63))
_SHARD_V3 = "8000000000000000"
_NO_HASH = base64.b64encode(bytes(32)).decode("ascii")
_V2_STATES = {"nonexist": "uninitialized", "uninit": "uninitialized"}


def b64(raw: bytes) -> str:
    """Base64 with padding, as both versions write bytes."""
    return base64.b64encode(raw).decode("ascii")


def block_v2(block: Block) -> Json:
    """`ton.blockIdExt` of the masterchain."""
    return {
        "@type": "ton.blockIdExt",
        "workchain": -1,
        "shard": _SHARD_V2,
        "seqno": block.seqno,
        "root_hash": _NO_HASH,
        "file_hash": _NO_HASH,
    }


def account_v2(account: Account, block: Block) -> Json:
    """`raw.fullAccountState`."""
    return {
        "@type": "raw.fullAccountState",
        "balance": str(account.balance),
        "extra_currencies": [],
        "code": _boc(account.code),
        "data": _boc(account.data),
        "last_transaction_id": {
            "@type": "internal.transactionId",
            "lt": str(account.last_lt),
            "hash": b64(account.last_hash),
        },
        "block_id": block_v2(block),
        "frozen_hash": b64(account.frozen_hash),
        "sync_utime": block.time,
        "state": _V2_STATES.get(account.status, account.status),
    }


def block_v3(block: Block, network: int) -> Json:
    """A masterchain block; hashes are zero, because the devnet has no proofs."""
    return {
        "workchain": -1,
        "shard": _SHARD_V3,
        "seqno": block.seqno,
        "root_hash": _NO_HASH,
        "file_hash": _NO_HASH,
        "global_id": network,
        "gen_utime": str(block.time),
        "start_lt": str(block.lt),
        "end_lt": str(block.lt),
        "key_block": False,
        "tx_count": 0,
        "masterchain_block_ref": {"workchain": -1, "shard": _SHARD_V3, "seqno": block.seqno},
    }


def account_v3(address: Address, account: Account) -> Json:
    """`AccountStateFull`."""
    row: Json = {
        "address": _address(address),
        "balance": str(account.balance),
        "extra_currencies": {},
        "status": account.status,
        "last_transaction_hash": b64(account.last_hash),
        "last_transaction_lt": str(account.last_lt),
    }
    for name, cell in (("code", account.code), ("data", account.data)):
        if cell is not None:
            row |= {f"{name}_hash": b64(cell.hash), f"{name}_boc": _boc(cell)}
    return row


def trace_v3(rows: list[StoredTransaction], pending: int) -> Json:
    """`Trace`: the transactions by hash and their order."""
    parsed = [read_transaction(cell_from_boc(row.boc)) for row in rows]
    first, last = parsed[0], parsed[-1]
    external = first.in_message
    return {
        "trace_id": b64(rows[0].trace),
        "external_hash": b64(normalised_hash(external.cell))
        if external.kind == "external"
        else None,
        "mc_seqno_start": str(rows[0].seqno),
        "mc_seqno_end": str(rows[-1].seqno),
        "start_lt": str(first.lt),
        "start_utime": first.now,
        "end_lt": str(last.lt),
        "end_utime": last.now,
        "trace_info": {
            "trace_state": "pending" if pending else "complete",
            "messages": len(rows) + pending,
            "transactions": len(rows),
            "pending_messages": pending,
            "classification_state": "unclassified",
        },
        "is_incomplete": False,
        "transactions_order": [b64(row.hash) for row in rows],
        "transactions": {
            b64(row.hash): _transaction(row, transaction)
            for row, transaction in zip(rows, parsed, strict=True)
        },
    }


def transaction_v3(row: StoredTransaction) -> Json:
    """`Transaction`."""
    return _transaction(row, read_transaction(cell_from_boc(row.boc)))


def _transaction(row: StoredTransaction, transaction: Transaction) -> Json:
    return {
        "account": _address(row.account),
        "hash": b64(row.hash),
        "lt": str(transaction.lt),
        "now": transaction.now,
        "mc_block_seqno": row.seqno,
        "trace_id": b64(row.trace),
        "prev_trans_hash": b64(transaction.previous_hash),
        "prev_trans_lt": str(transaction.previous_lt),
        "orig_status": transaction.original_status,
        "end_status": transaction.end_status,
        "total_fees": str(transaction.total_fees),
        "total_fees_extra_currencies": {},
        "description": _description(transaction),
        "block_ref": {
            "workchain": row.account.workchain,
            "shard": _SHARD_V3,
            "seqno": row.seqno,
        },
        "in_msg": _message(transaction.in_message),
        "out_msgs": [_message(message) for message in transaction.out_messages],
        "emulated": False,
        "finality": "finalized",
    }


def _description(transaction: Transaction) -> Json:
    if transaction.skip_reason:
        compute: Json = {"skipped": True, "reason": transaction.skip_reason}
    else:
        compute = {
            "skipped": False,
            "success": transaction.success,
            "gas_fees": str(transaction.gas_fee),
            "gas_used": str(transaction.gas_used),
            "exit_code": transaction.exit_code,
        }
    description: Json = {
        "type": "ord",
        "aborted": transaction.aborted,
        "destroyed": transaction.destroyed,
        "storage_ph": {
            "storage_fees_collected": str(transaction.storage_fee),
            "status_change": "unchanged",
        },
        "compute_ph": compute,
    }
    if (action := transaction.action) is not None:
        description["action"] = {
            "success": action.success,
            "valid": action.valid,
            "no_funds": action.no_funds,
            "total_fwd_fees": str(action.forward_fees),
            "total_action_fees": str(action.action_fees),
            "result_code": action.result_code,
            "tot_actions": action.total,
            "skipped_actions": action.skipped,
            "msgs_created": action.created,
        }
    if transaction.bounced_back is not None:
        description["bounce"] = {"type": "ok" if transaction.bounced_back else "nofunds"}
    return description


def _message(message: Message) -> Json:
    internal, opcode = message.kind == "internal", message.opcode
    row: Json = {
        "hash": b64(message.cell.hash),
        "source": None if message.source is None else _address(message.source),
        "destination": None if message.destination is None else _address(message.destination),
        "value": str(message.value) if internal else None,
        "fwd_fee": str(message.forward_fee) if internal else None,
        "ihr_fee": "0" if internal else None,
        "created_lt": str(message.created_lt) if internal else None,
        "created_at": str(message.created_at) if internal else None,
        "opcode": None if opcode is None else f"0x{opcode:08x}",
        "bounce": message.bounce if internal else None,
        "bounced": message.bounced if internal else None,
        "message_content": {
            "hash": b64(message.body.hash) if message.body is not None else None,
            "body": _boc(message.body),
            "decoded": None,
        },
    }
    if message.kind == "external":
        row["hash_norm"] = b64(normalised_hash(message.cell))
    return row


def _address(address: Address) -> str:
    return address.raw.upper()


def _boc(cell: Cell | None) -> str:
    return "" if cell is None else b64(cell_to_boc(cell))
