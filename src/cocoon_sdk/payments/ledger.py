"""The client's ledger: channel states, open streams and receipts to and from rows.

Every function runs inside the one transaction that the caller was given by `Database.run`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, insert, select, update

from cocoon_sdk.errors import StoreError
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus, OpenStream
from cocoon_sdk.payments.meter import Counts, Price
from cocoon_sdk.payments.receipt import Receipt
from cocoon_sdk.payments.tables import CLIENT_MIGRATIONS, channels, receipts, streams
from cocoon_sdk.ton.address import Address

__all__ = [
    "CLIENT_MIGRATIONS",
    "add_channel",
    "add_receipt",
    "all_channels",
    "chain_receipt",
    "close_channel",
    "delete_stream",
    "delete_streams",
    "load_channel",
    "place_of",
    "put_stream",
    "receipt_of",
    "save_channel",
    "stored_receipts",
]

_MUTABLE = (
    "epoch", "status", "deposit", "balance", "redeemed", "close_at", "seen_at", "signed", "spent", "seq",
)  # fmt: skip
_FIXED = ("network", "provider_key", "client_key", "salt", "close_delay", "created_at")


def add_channel(connection: Connection, state: ChannelState) -> int:
    """Store a new channel; returns its id. The id in `state` is ignored."""
    values = {name: getattr(state, name) for name in (*_FIXED, *_MUTABLE)}
    identity: int = connection.scalars(
        insert(channels)
        .values(
            address=state.address.raw,
            client_address=state.client.raw,
            payout_address=state.payout.raw,
            **values,
        )
        .returning(channels.c.id)
    ).one()
    return identity


def load_channel(connection: Connection, channel_id: int) -> ChannelState:
    """The state of one channel with its open streams.

    Raises:
        StoreError: there is none with this id.
    """
    row = connection.execute(select(channels).where(channels.c.id == channel_id)).one_or_none()
    if row is None:
        raise StoreError(f"the ledger has no channel {channel_id}")
    return _channel(connection, row)


def all_channels(connection: Connection) -> list[ChannelState]:
    """Every channel, the oldest first."""
    rows = connection.execute(select(channels).order_by(channels.c.id)).all()
    return [_channel(connection, row) for row in rows]


def save_channel(connection: Connection, state: ChannelState) -> None:
    """Store what can change of a channel. Its streams are stored one by one."""
    values = {name: getattr(state, name) for name in _MUTABLE}
    connection.execute(update(channels).where(channels.c.id == state.id).values(values))


def close_channel(connection: Connection, channel_id: int, *, seen_at: int = 0) -> ChannelState:
    """A channel that is gone: nothing is open in it any more."""
    delete_streams(connection, channel_id)
    state = load_channel(connection, channel_id)
    state = replace(
        state,
        status=ChannelStatus.CLOSED,
        balance=0,
        close_at=0,
        seen_at=max(seen_at, state.seen_at),
    )
    save_channel(connection, state)
    return state


def put_stream(connection: Connection, channel_id: int, stream: OpenStream) -> None:
    """Store a new stream, or its newer state."""
    delete_stream(connection, channel_id, stream.request_id)
    connection.execute(
        insert(streams).values(
            channel_id=channel_id,
            request_id=stream.request_id,
            opened_at=stream.opened_at,
            price_prompt=stream.price.prompt,
            price_cached=stream.price.cached,
            price_completion=stream.price.completion,
            prompt_bound=stream.prompt_bound,
            max_tokens=stream.max_tokens,
            window_tokens=stream.window_tokens,
            prompt=stream.counts.prompt,
            cached=stream.counts.cached,
            completion=stream.counts.completion,
            due=stream.due,
            window=stream.window,
            response_hash=stream.response_hash,
        )
    )


def delete_stream(connection: Connection, channel_id: int, request_id: bytes) -> None:
    """Forget a stream: it got its receipt or was refused."""
    connection.execute(
        delete(streams).where(
            streams.c.channel_id == channel_id, streams.c.request_id == request_id
        )
    )


def delete_streams(connection: Connection, channel_id: int) -> None:
    """Forget all streams: the channel is closed."""
    connection.execute(delete(streams).where(streams.c.channel_id == channel_id))


def add_receipt(
    connection: Connection, receipt: Receipt, raw: bytes, *, channel_id: int | None
) -> None:
    """Store a verified receipt, not chained yet. Without a channel it is one of a free request."""
    connection.execute(
        insert(receipts).values(
            channel_id=channel_id,
            provider_key=receipt.provider,
            request_id=receipt.request_id,
            model_hash=receipt.model_hash,
            seq=receipt.seq,
            price=receipt.price,
            spent=receipt.spent,
            prompt=receipt.counts.prompt,
            cached=receipt.counts.cached,
            completion=receipt.counts.completion,
            time_ms=receipt.time_ms,
            chained=channel_id is None,
            raw=raw,
        )
    )


def receipt_of(connection: Connection, provider_key: bytes, request_id: bytes) -> bytes | None:
    """The raw receipt of a request, if it is stored."""
    return connection.execute(
        select(receipts.c.raw).where(
            receipts.c.provider_key == provider_key, receipts.c.request_id == request_id
        )
    ).scalar_one_or_none()


def place_of(connection: Connection, channel_id: int, seq: int) -> tuple[int, int] | None:
    """(price, spent) of the receipt with this sequence number, if it is stored."""
    row = connection.execute(
        select(receipts.c.price, receipts.c.spent).where(
            receipts.c.channel_id == channel_id, receipts.c.seq == seq
        )
    ).one_or_none()
    return None if row is None else (row.price, row.spent)


def chain_receipt(connection: Connection, channel_id: int, seq: int) -> None:
    """Mark a receipt as part of the channel's `spent`."""
    connection.execute(
        update(receipts)
        .where(receipts.c.channel_id == channel_id, receipts.c.seq == seq)
        .values(chained=True)
    )


def stored_receipts(connection: Connection, *, limit: int = 100) -> Sequence[bytes]:
    """The newest raw receipts."""
    newest = select(receipts.c.raw).order_by(receipts.c.time_ms.desc(), receipts.c.id.desc())
    return connection.scalars(newest.limit(limit)).all()


def _channel(connection: Connection, row: Row[Any]) -> ChannelState:
    values = {name: getattr(row, name) for name in (*_FIXED, *_MUTABLE) if name != "status"}
    opened = connection.execute(select(streams).where(streams.c.channel_id == row.id)).all()
    waiting = and_(receipts.c.channel_id == row.id, receipts.c.chained.is_(False))
    pending = connection.execute(select(func.sum(receipts.c.price)).where(waiting)).scalar()
    return ChannelState(
        id=row.id,
        address=Address.parse(row.address),
        client=Address.parse(row.client_address),
        payout=Address.parse(row.payout_address),
        status=ChannelStatus(row.status),
        pending=int(pending or 0),
        streams=tuple(map(_stream, opened)),
        **values,
    )


def _stream(row: Row[Any]) -> OpenStream:
    return OpenStream(
        request_id=row.request_id,
        opened_at=row.opened_at,
        price=Price(row.price_prompt, row.price_cached, row.price_completion),
        prompt_bound=row.prompt_bound,
        max_tokens=row.max_tokens,
        window_tokens=row.window_tokens,
        counts=Counts(row.prompt, row.cached, row.completion),
        due=row.due,
        window=row.window,
        response_hash=row.response_hash,
    )
