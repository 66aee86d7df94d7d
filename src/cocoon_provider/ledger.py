"""The money transactions of the provider (payments.md §3), each one database transaction.

Every function takes the lock of its channel first and leaves the books such that
`signed ≥ spent + Σ (due_j + reserved_j)` holds over the channel's open streams.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, delete, insert, update

from cocoon_provider import vouchers
from cocoon_provider.refusals import Refusal
from cocoon_provider.tables import (
    ChannelKey,
    channels,
    locked_channel,
    of_channel,
    open_totals,
    receipts,
    row_price,
    stream_row,
    streams,
)
from cocoon_sdk.errors import WireCode
from cocoon_sdk.payments.meter import Counts, Price, cost
from cocoon_sdk.protocol import messages


class Progress(NamedTuple):
    """The books after a METER: what is due, what `signed` should become, and the counts now paid for."""

    due: int
    wanted: int
    granted: Counts | None


ReceiptMaker = Callable[[Mapping[str, Any], int, int, int], bytes]
"""(stream row, price, spent after it, seq) to the signed 352 bytes."""


def take_voucher(
    connection: Connection,
    key: ChannelKey,
    request_id: bytes,
    voucher: messages.Voucher,
    window_end: int,
) -> None:
    """Keep a voucher whose signature was checked, and what its sender has verified of one stream.

    `window_end` is acked + W at the acked counts: how far this stream may now run.

    Raises:
        Refusal: wrong epoch, closing, above the funds, or an acknowledged due above what was METERed.
    """
    channel = locked_channel(connection, key)
    vouchers.store_voucher(connection, key, channel, voucher)
    row = stream_row(connection, key, request_id)
    if row is None:
        return
    if voucher.acked_due > row["due"]:
        raise Refusal(
            WireCode.VOUCHER_REJECTED,
            f"the voucher acknowledges {voucher.acked_due} nano on this stream, "
            f"only {row['due']} were metered",
        )
    if window_end > row["window_end"]:
        _set_stream(connection, key, request_id, window_end=window_end)


def advance(
    connection: Connection,
    key: ChannelKey,
    request_id: bytes,
    counts: Counts,
    response_hash: bytes,
    window: int,
    granted: Counts,
    targets: Sequence[Counts],
) -> Progress:
    """Make what was delivered durable and reserve the next step: the first of `targets` that is covered.

    `window` is W at `counts`, for the `signed` that the METER asks for. `granted` was reserved before
    and stays reserved where no target is covered.
    """
    channel = locked_channel(connection, key)
    row = _open_row(connection, key, request_id)
    price = row_price(row)
    due = max(row["due"], cost(counts, price))
    committed, wanted_by_others = open_totals(connection, key, without=request_id)
    room = min(channel["signed"] - channel["spent"] - committed, row["window_end"])
    paid = next((target for target in targets if cost(target, price) <= room), None)
    _set_stream(
        connection,
        key,
        request_id,
        prompt=counts.prompt,
        cached=counts.cached,
        completion=counts.completion,
        reasoning=counts.reasoning,
        response_hash=response_hash,
        due=due,
        window=window,
        reserved=max(0, cost(paid or granted, price) - due),
    )
    wanted = channel["spent"] + wanted_by_others + due + window
    return Progress(due, max(wanted, channel["signed"]), paid)


def finish(
    connection: Connection,
    key: ChannelKey,
    request_id: bytes,
    counts: Counts | None,
    response_hash: bytes | None,
    make_receipt: ReceiptMaker,
    now: int,
) -> bytes:
    """End a stream: its price moves from due to `spent`, its receipt takes the next seq.

    `counts` is what was delivered; None after a restart: the durable counts and hash are used.
    """
    channel = locked_channel(connection, key)
    row = dict(_open_row(connection, key, request_id))
    if counts is not None and response_hash is not None:
        row |= counts._asdict() | {"response_hash": response_hash}
    final = Counts(row["prompt"], row["cached"], row["completion"], row["reasoning"])
    price = cost(final, Price(row["price_prompt"], row["price_cached"], row["price_completion"]))
    spent, seq = channel["spent"] + price, channel["seq"] + 1
    raw = make_receipt(row, price, spent, seq)
    connection.execute(
        insert(receipts).values(
            address=key.address,
            epoch=key.epoch,
            seq=seq,
            request_id=request_id,
            request_hash=row["request_hash"],
            model_hash=row["model_hash"],
            prompt=final.prefilled,
            completion=final.completion,
            price=price,
            at=now,
            raw=raw,
        )
    )
    connection.execute(
        delete(streams).where(of_channel(streams, key), streams.c.request_id == request_id)
    )
    values = {"spent": spent, "seq": seq}
    if price and not channel["unredeemed_since"]:
        values["unredeemed_since"] = now
    connection.execute(update(channels).where(of_channel(channels, key)).values(values))
    return raw


def drop(connection: Connection, key: ChannelKey, request_id: bytes) -> None:
    """Forget a stream of which nothing was billed: it ends with an ERROR and has no receipt."""
    locked_channel(connection, key)
    connection.execute(
        delete(streams).where(
            of_channel(streams, key), streams.c.request_id == request_id, streams.c.due == 0
        )
    )


def _open_row(connection: Connection, key: ChannelKey, request_id: bytes) -> RowMapping:
    row = stream_row(connection, key, request_id)
    if row is None:
        raise Refusal(WireCode.NOT_FOUND, "no open stream with this request id")
    return row


def _set_stream(
    connection: Connection, key: ChannelKey, request_id: bytes, **values: object
) -> None:
    connection.execute(
        update(streams)
        .where(of_channel(streams, key), streams.c.request_id == request_id)
        .values(values)
    )
