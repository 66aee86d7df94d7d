"""Receipts that got lost: asked for by number on the next session with the provider (payments.md §3).

A request whose connection broke stays open in the ledger, and its window stays set aside. The provider
keeps the receipt until the channel closes, so the first thing on a new session is to fetch what is missing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Container
from typing import TypeVar

from cocoon_sdk.errors import CocoonError, ReceiptMismatchError, VerificationError
from cocoon_sdk.payments.accounting import OpenStream
from cocoon_sdk.payments.channel import PaymentChannel
from cocoon_sdk.payments.receipt import parse_receipt
from cocoon_sdk.protocol.constants import MAX_AGE
from cocoon_sdk.protocol.messages import Message, Receipt, ReceiptGet, State, StateGet
from cocoon_sdk.transport.connection import Connection

logger = logging.getLogger("cocoon_sdk.transport")

TIMEOUT = 5.0
MAX_RECEIPTS = 256  # per session; the next one goes on

M = TypeVar("M", bound=Message)


async def recover_receipts(
    connection: Connection, channel: PaymentChannel, live: Container[bytes]
) -> int:
    """Fetch the receipts that the ledger misses; how many came.

    Args:
        connection: a session with the channel's provider.
        channel: whose accounts have gaps.
        live: ids of requests that still run and will take their receipts themselves.

    Raises:
        VerificationError: a receipt is not what was agreed. Other failures are logged: the request at
            hand does not depend on the past.
    """
    try:
        async with asyncio.timeout(TIMEOUT):
            return await _recover(connection, channel, live)
    except VerificationError:
        raise
    except (CocoonError, TimeoutError) as error:
        logger.info("missing receipts could not be fetched: %s", error)
        return 0


async def _recover(connection: Connection, channel: PaymentChannel, live: Container[bytes]) -> int:
    state = await channel.reload()
    lost = {one.request_id: one for one in state.streams if one.request_id not in live}
    if not lost and not state.pending:
        return 0
    theirs = await ask(connection, StateGet(), State)
    if theirs is None:
        return 0
    fetched = 0
    for seq in (await channel.reconcile(theirs))[:MAX_RECEIPTS]:
        answer = await ask(connection, ReceiptGet(None, seq), Receipt)
        if answer is None:
            break
        receipt = parse_receipt(answer.raw)
        _check_hash(lost.get(receipt.request_id), answer.raw)
        await channel.recover(answer.raw)
        lost.pop(receipt.request_id, None)
        fetched += 1
        logger.info("receipt %d of request %s fetched", seq, receipt.request_id.hex())
    for stream in lost.values():
        # No session lives that long, so no request can: it was never billed and never will be.
        if time.time() - stream.opened_at > MAX_AGE:
            await channel.refuse(stream.request_id)
    return fetched


def _check_hash(stream: OpenStream | None, raw: bytes) -> None:
    """A receipt that bills just what was METERed must be for the answer that the METER named."""
    receipt = parse_receipt(raw)
    if stream is None or stream.response_hash is None:
        return
    same = receipt.counts[:3] == stream.counts[:3]
    if same and receipt.response_hash != stream.response_hash:
        raise ReceiptMismatchError("the fetched receipt is for another answer than was metered")


async def ask(connection: Connection, question: Message, kind: type[M]) -> M | None:
    """One question on a stream of its own; None where the answer is an ERROR."""
    slot = connection.slot()
    if slot is None:
        return None
    stream = slot.open(question, end=True)
    try:
        await connection.flush()
        message = (await stream.receive()).message
        return message if isinstance(message, kind) else None
    finally:
        connection.forget(stream)
