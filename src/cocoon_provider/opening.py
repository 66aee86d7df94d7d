"""Entering a request into the books: its voucher taken, its first step reserved (payments.md §3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, insert, select

from cocoon_provider.refusals import Refusal
from cocoon_provider.tables import (
    OPEN,
    ChannelKey,
    locked_channel,
    of_channel,
    open_totals,
    receipts,
    stream_row,
    streams,
)
from cocoon_provider.vouchers import store_voucher
from cocoon_sdk.errors import WireCode
from cocoon_sdk.payments.meter import Counts, Price, cost
from cocoon_sdk.protocol import messages


@dataclass(frozen=True, slots=True)
class Opening:
    """What a stream starts with.

    Attributes:
        window: W at the start, nano: what the client has authorised before any METER.
        first: The counts that the first step leads to.
        response_hash: The hash of an empty answer.
    """

    request_id: bytes
    request_hash: bytes
    session_id: bytes
    model_hash: bytes
    price: Price
    window: int
    first: Counts
    response_hash: bytes


class Ended(NamedTuple):
    """A request that has its receipt already."""

    raw: bytes


def open_stream(
    connection: Connection,
    key: ChannelKey,
    opening: Opening,
    voucher: messages.Voucher | None,
    instance: str,
) -> Ended | None:
    """Enter a stream with its first step reserved; or the receipt of the same request, ended before.

    Raises:
        Refusal: running already, same id with another body, closing, voucher refused, or not covered.
    """
    channel = locked_channel(connection, key)
    ended = find_ended(connection, key, opening.request_id, opening.request_hash)
    if ended is not None:
        return ended
    if stream_row(connection, key, opening.request_id) is not None:
        raise Refusal(WireCode.DUPLICATE_REQUEST, "a request with this id is running already")
    if channel["closing"] != OPEN or channel["close_at"] or channel["gone"]:
        raise Refusal(
            WireCode.CHANNEL_CLOSING,
            "the channel is being closed; open another channel for new requests",
        )
    signed = store_voucher(connection, key, channel, voucher)
    committed, _ = open_totals(connection, key)
    reserved = cost(opening.first, opening.price)
    required = channel["spent"] + committed + reserved
    if required > signed or reserved > opening.window:
        raise Refusal(
            WireCode.PAYMENT_REQUIRED,
            f"the first step needs vouchers up to {required} nano, the highest here is {signed}",
            required=required,
            accepted=signed,
        )
    connection.execute(
        insert(streams).values(
            address=key.address,
            epoch=key.epoch,
            request_id=opening.request_id,
            instance=instance,
            session_id=opening.session_id,
            request_hash=opening.request_hash,
            model_hash=opening.model_hash,
            price_prompt=opening.price.prompt,
            price_cached=opening.price.cached,
            price_completion=opening.price.completion,
            response_hash=opening.response_hash,
            reserved=reserved,
            window_end=opening.window,
            window=opening.window,
        )
    )
    return None


def find_ended(
    connection: Connection, key: ChannelKey, request_id: bytes, request_hash: bytes
) -> Ended | None:
    """The receipt of this request if it has ended.

    Raises:
        Refusal: `duplicate_request`: the id was used for another request.
    """
    query = select(receipts.c.request_hash, receipts.c.raw).where(
        of_channel(receipts, key), receipts.c.request_id == request_id
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    if row.request_hash != request_hash:
        raise Refusal(
            WireCode.DUPLICATE_REQUEST,
            "this request id was used for another request; draw 16 fresh random bytes",
        )
    return Ended(row.raw)
