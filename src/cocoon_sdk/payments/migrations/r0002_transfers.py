"""What the wallet signed, stored before it goes out, and what each of its messages is for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "client_0002"
down_revision = "client_0001"


def upgrade() -> None:
    """Create the tables of transfers and their moves."""
    op.create_table(
        "transfers",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("network", sa.Integer, nullable=False),
        sa.Column("wallet", sa.String(80), nullable=False),
        sa.Column("seqno", sa.BigInteger, nullable=False),
        sa.Column("valid_until", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("boc", sa.LargeBinary, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
    )
    op.create_index("transfers_by_outcome", "transfers", ["outcome", "wallet"])
    op.create_table(
        "moves",
        sa.Column("transfer_id", sa.Integer, sa.ForeignKey("transfers.id"), primary_key=True),
        sa.Column("place", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("destination", sa.String(80), nullable=False),
        sa.Column("subject", sa.String(80), nullable=False),
        sa.Column("nano", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("channel_id", sa.Integer, sa.ForeignKey("channels.id")),
    )
