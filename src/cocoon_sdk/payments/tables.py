"""The client's tables. Their history is in `payments/migrations`; a test keeps the two in step.

Amounts are nano, times unix seconds, addresses raw text, keys and hashes raw bytes.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

CLIENT_MIGRATIONS = "cocoon_sdk:payments/migrations"

metadata = MetaData()


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


channels = Table(
    "channels",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("network", Integer, nullable=False),
    Column("address", String(80), nullable=False),
    _count("epoch"),  # 0 until the opening transaction is seen
    Column("provider_key", LargeBinary(32), nullable=False),
    Column("client_key", LargeBinary(32), nullable=False),
    Column("salt", BigInteger, nullable=False),
    Column("close_delay", Integer, nullable=False),
    Column("client_address", String(80), nullable=False),
    Column("payout_address", String(80), nullable=False),
    Column("status", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    _count("deposit"),
    # As the chain last said:
    _count("balance"),
    _count("redeemed"),
    _count("close_at"),
    _count("seen_at"),
    # The two counters of payments.md §3, and the receipts chained so far:
    _count("signed"),
    _count("spent"),
    _count("seq"),
    UniqueConstraint("network", "address", "epoch"),
)

streams = Table(
    "streams",
    metadata,
    Column("channel_id", ForeignKey("channels.id"), primary_key=True),
    Column("request_id", LargeBinary(16), primary_key=True),
    Column("opened_at", BigInteger, nullable=False),
    _count("price_prompt"),
    _count("price_cached"),
    _count("price_completion"),
    _count("prompt_bound"),
    _count("max_tokens"),
    _count("window_tokens"),
    _count("prompt"),
    _count("cached"),
    _count("completion"),
    _count("due"),
    _count("window"),
    Column("response_hash", LargeBinary(32)),
)

receipts = Table(
    "receipts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("channel_id", ForeignKey("channels.id")),  # none: a free request without a channel
    Column("provider_key", LargeBinary(32), nullable=False),
    Column("request_id", LargeBinary(16), nullable=False),
    Column("model_hash", LargeBinary(32), nullable=False),
    _count("seq"),
    _count("price"),
    _count("spent"),
    _count("prompt"),
    _count("cached"),
    _count("completion"),
    _count("time_ms"),
    Column("chained", Boolean, nullable=False),  # whether `spent` of the channel includes it
    Column("raw", LargeBinary(352), nullable=False),
    UniqueConstraint("provider_key", "request_id"),
    UniqueConstraint("channel_id", "seq"),
    Index("receipts_by_time", "time_ms"),
)

budget_windows = Table(
    "budget_windows",
    metadata,
    Column("account", String(200), primary_key=True),
    Column("window", String(32), primary_key=True),
    _count("nano"),  # settled and reserved together
)

budget_reservations = Table(
    "budget_reservations",
    metadata,
    Column("reservation", LargeBinary(32), primary_key=True),
    Column("account", String(200), primary_key=True),
    Column("provider", String(64), nullable=False),
    Column("reserved_at", BigInteger, nullable=False),
    _count("nano"),
)

transfers = Table(
    "transfers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("network", Integer, nullable=False),
    Column("wallet", String(80), nullable=False),
    Column("seqno", BigInteger, nullable=False),
    Column("valid_until", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("boc", LargeBinary, nullable=False),  # signed: may be sent again, never signed again
    Column("outcome", String(16), nullable=False),
    Index("transfers_by_outcome", "outcome", "wallet"),
)

moves = Table(
    "moves",
    metadata,
    Column("transfer_id", ForeignKey("transfers.id"), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("destination", String(80), nullable=False),
    Column(
        "subject", String(80), nullable=False
    ),  # what it is about: a channel, provider or account
    _count("nano"),
    Column("channel_id", ForeignKey("channels.id")),
)
