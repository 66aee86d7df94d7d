"""Channels, their open streams and receipts; budget windows and reservations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "client_0001"
down_revision = None


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "channels",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("network", sa.Integer, nullable=False),
        sa.Column("address", sa.String(80), nullable=False),
        _count("epoch"),
        sa.Column("provider_key", sa.LargeBinary(32), nullable=False),
        sa.Column("client_key", sa.LargeBinary(32), nullable=False),
        sa.Column("salt", sa.BigInteger, nullable=False),
        sa.Column("close_delay", sa.Integer, nullable=False),
        sa.Column("client_address", sa.String(80), nullable=False),
        sa.Column("payout_address", sa.String(80), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        *map(
            _count,
            ("deposit", "balance", "redeemed", "close_at", "seen_at", "signed", "spent", "seq"),
        ),
        sa.UniqueConstraint("network", "address", "epoch"),
    )
    op.create_table(
        "streams",
        sa.Column("channel_id", sa.Integer, sa.ForeignKey("channels.id"), primary_key=True),
        sa.Column("request_id", sa.LargeBinary(16), primary_key=True),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        *map(_count, ("price_prompt", "price_cached", "price_completion")),
        *map(_count, ("prompt_bound", "max_tokens", "window_tokens")),
        *map(_count, ("prompt", "cached", "completion", "due", "window")),
        sa.Column("response_hash", sa.LargeBinary(32)),
    )
    op.create_table(
        "receipts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("channel_id", sa.Integer, sa.ForeignKey("channels.id")),
        sa.Column("provider_key", sa.LargeBinary(32), nullable=False),
        sa.Column("request_id", sa.LargeBinary(16), nullable=False),
        sa.Column("model_hash", sa.LargeBinary(32), nullable=False),
        *map(_count, ("seq", "price", "spent", "prompt", "cached", "completion", "time_ms")),
        sa.Column("chained", sa.Boolean, nullable=False),
        sa.Column("raw", sa.LargeBinary(352), nullable=False),
        sa.UniqueConstraint("provider_key", "request_id"),
        sa.UniqueConstraint("channel_id", "seq"),
    )
    op.create_index("receipts_by_time", "receipts", ["time_ms"])
    op.create_table(
        "budget_windows",
        sa.Column("account", sa.String(200), primary_key=True),
        sa.Column("window", sa.String(32), primary_key=True),
        _count("nano"),
    )
    op.create_table(
        "budget_reservations",
        sa.Column("reservation", sa.LargeBinary(32), primary_key=True),
        sa.Column("account", sa.String(200), primary_key=True),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("reserved_at", sa.BigInteger, nullable=False),
        _count("nano"),
    )
