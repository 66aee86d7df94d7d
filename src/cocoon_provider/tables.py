"""The provider's books: tables of channels, open streams, receipts and income.

Amounts are nano, times unix seconds. One row of `channels` is one (address, epoch); its row lock is the
one lock per channel of payments.md §3, which `locked_channel` takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    RowMapping,
    Select,
    String,
    Table,
    func,
    select,
)

from cocoon_provider.refusals import Refusal
from cocoon_sdk.errors import WireCode
from cocoon_sdk.payments.meter import Price

metadata = MetaData()

channels = Table(
    "provider_channels",
    metadata,
    Column("address", String(70), primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("client_key", LargeBinary(32), nullable=False),
    Column("close_delay", BigInteger, nullable=False),
    # the mirror of the chain
    Column("balance", BigInteger, nullable=False),
    Column("redeemed", BigInteger, nullable=False),
    Column("close_at", BigInteger, nullable=False),
    Column("gone", Integer, nullable=False, default=0),
    Column("checked_at", BigInteger, nullable=False),
    # the two counters, never mixed
    Column("signed", BigInteger, nullable=False, default=0),
    Column("signature", LargeBinary(64), nullable=False),
    Column("spent", BigInteger, nullable=False, default=0),
    Column("seq", BigInteger, nullable=False, default=0),
    # settlement
    Column("booked", BigInteger, nullable=False, default=0),
    Column("unredeemed_since", BigInteger, nullable=False, default=0),
    # cooperative close: 0 open, 1 draining, 2 authorised
    Column("closing", Integer, nullable=False, default=0),
    Column("close_signature", LargeBinary(64), nullable=False, default=b""),
)

streams = Table(
    "provider_streams",
    metadata,
    Column("address", String(70), primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("request_id", LargeBinary(16), primary_key=True),
    Column("instance", String(64), nullable=False),
    Column("session_id", LargeBinary(16), nullable=False),
    Column("request_hash", LargeBinary(32), nullable=False),
    Column("model_hash", LargeBinary(32), nullable=False),
    Column("price_prompt", BigInteger, nullable=False),
    Column("price_cached", BigInteger, nullable=False),
    Column("price_completion", BigInteger, nullable=False),
    Column("prompt", BigInteger, nullable=False, default=0),
    Column("cached", BigInteger, nullable=False, default=0),
    Column("completion", BigInteger, nullable=False, default=0),
    Column("reasoning", BigInteger, nullable=False, default=0),
    Column("response_hash", LargeBinary(32), nullable=False),
    Column("due", BigInteger, nullable=False, default=0),
    Column("reserved", BigInteger, nullable=False, default=0),
    Column("window_end", BigInteger, nullable=False, default=0),
    Column("window", BigInteger, nullable=False, default=0),
)

receipts = Table(
    "provider_receipts",
    metadata,
    Column("address", String(70), primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("request_id", LargeBinary(16), nullable=False),
    Column("request_hash", LargeBinary(32), nullable=False),
    Column("model_hash", LargeBinary(32), nullable=False),
    Column("prompt", BigInteger, nullable=False),
    Column("completion", BigInteger, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("raw", LargeBinary(352), nullable=False),
)
Index("provider_receipts_request", receipts.c.address, receipts.c.epoch, receipts.c.request_id)

income = Table(
    "provider_income",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("address", String(70), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
)

OPEN, DRAINING, AUTHORISED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class ChannelKey:
    """One life of a channel: its address in raw text and the epoch of its opening."""

    address: str
    epoch: int


def of_channel(table: Table, key: ChannelKey) -> Any:
    """The condition that picks the rows of one channel."""
    return (table.c.address == key.address) & (table.c.epoch == key.epoch)


def locked_channel(connection: Connection, key: ChannelKey) -> RowMapping:
    """The row of a channel, locked until the transaction ends.

    SQLite ignores FOR UPDATE; there every transaction of the store begins IMMEDIATE, which locks all.

    Raises:
        Refusal: `channel_unknown`.
    """
    query: Select[Any] = select(channels).where(of_channel(channels, key)).with_for_update()
    row = connection.execute(query).mappings().first()
    if row is None:
        raise Refusal(
            WireCode.CHANNEL_UNKNOWN, "this channel is not registered here; open it first"
        )
    return row


def stream_row(connection: Connection, key: ChannelKey, request_id: bytes) -> RowMapping | None:
    """The row of an open stream, or None."""
    query = select(streams).where(of_channel(streams, key), streams.c.request_id == request_id)
    return connection.execute(query).mappings().first()


def open_totals(
    connection: Connection, key: ChannelKey, *, without: bytes = b""
) -> tuple[int, int]:
    """Over the open streams of a channel but one: Σ(due + reserved) and Σ(due + window)."""
    query = select(
        func.coalesce(func.sum(streams.c.due + streams.c.reserved), 0),
        func.coalesce(func.sum(streams.c.due + streams.c.window), 0),
    ).where(of_channel(streams, key), streams.c.request_id != without)
    committed, wanted = connection.execute(query).one()
    return int(committed), int(wanted)


def open_due(connection: Connection, key: ChannelKey) -> int:
    """Σ of the durable dues of a channel's open streams."""
    query = select(func.coalesce(func.sum(streams.c.due), 0)).where(of_channel(streams, key))
    return int(connection.execute(query).scalar_one())


def row_price(row: RowMapping) -> Price:
    """The price that a stream is served at."""
    return Price(row["price_prompt"], row["price_cached"], row["price_completion"])
