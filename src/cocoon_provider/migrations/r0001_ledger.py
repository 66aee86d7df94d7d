"""Channels with their counters and mirror, open streams, receipts, and booked income."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "provider_0001"
down_revision = None


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def _bytes(name: str, size: int) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(size), nullable=False)


def _channel_key() -> tuple[sa.Column[str], sa.Column[int]]:
    return (
        sa.Column("address", sa.String(70), primary_key=True),
        sa.Column("epoch", sa.BigInteger, primary_key=True),
    )


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "provider_channels",
        *_channel_key(),
        _bytes("client_key", 32),
        *map(_count, ("close_delay", "balance", "redeemed", "close_at", "gone", "checked_at")),
        _count("signed"),
        _bytes("signature", 64),
        *map(_count, ("spent", "seq", "booked", "unredeemed_since", "closing")),
        _bytes("close_signature", 64),
    )
    op.create_table(
        "provider_streams",
        *_channel_key(),
        sa.Column("request_id", sa.LargeBinary(16), primary_key=True),
        sa.Column("instance", sa.String(64), nullable=False),
        _bytes("session_id", 16),
        *(_bytes(name, 32) for name in ("request_hash", "model_hash", "response_hash")),
        *map(_count, ("price_prompt", "price_cached", "price_completion")),
        *map(_count, ("prompt", "cached", "completion", "reasoning")),
        *map(_count, ("due", "reserved", "window_end", "window")),
    )
    op.create_table(
        "provider_receipts",
        *_channel_key(),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        _bytes("request_id", 16),
        _bytes("request_hash", 32),
        _bytes("model_hash", 32),
        *map(_count, ("prompt", "completion", "price", "at")),
        _bytes("raw", 352),
    )
    op.create_index(
        "provider_receipts_request", "provider_receipts", ["address", "epoch", "request_id"]
    )
    op.create_table(
        "provider_income",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("address", sa.String(70), nullable=False),
        *map(_count, ("epoch", "at", "amount")),
    )
