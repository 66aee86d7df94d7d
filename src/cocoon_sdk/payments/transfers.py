"""Rows of what the wallet signed: stored before it goes out, judged once.

Every function runs inside the one transaction that the caller was given by `Database.run`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy import Connection, insert, select, update

from cocoon_sdk.errors import PaymentError
from cocoon_sdk.payments import ledger
from cocoon_sdk.payments.moves import Move, MoveKind
from cocoon_sdk.payments.tables import moves as move_rows
from cocoon_sdk.payments.tables import transfers as transfer_rows
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.transfer import SignedTransfer


class Outcome(StrEnum):
    """What became of a transfer."""

    PENDING = "pending"  # it may have been executed, or may still be
    DONE = "done"
    FAILED = "failed"  # executed, and not all of it did what it should
    VOID = "void"  # never executed, and it never will be


@dataclass(frozen=True, slots=True)
class StoredMove:
    """A move as the ledger remembers it."""

    kind: MoveKind
    destination: Address
    subject: str
    nano: int
    channel_id: int | None

    @property
    def wish(self) -> tuple[str, str, int]:
        """What makes two moves the same; see `Move.wish`."""
        return self.kind, self.subject, self.nano


@dataclass(frozen=True, slots=True)
class StoredTransfer:
    """A signed transfer with its moves."""

    id: int
    transfer: SignedTransfer
    created_at: int
    moves: tuple[StoredMove, ...]


def store(
    connection: Connection,
    *,
    network: int,
    wallet: Address,
    transfer: SignedTransfer,
    moves: Sequence[Move],
    now: int,
) -> StoredTransfer:
    """Store a transfer that is about to go out, and the channels that it opens.

    Raises:
        PaymentError: another transfer of this wallet is on its way.
    """
    if pending(connection, network=network, wallet=wallet):
        raise PaymentError(
            "another command is sending from this wallet just now; nothing was sent, try again"
        )
    identity: int = connection.scalars(
        insert(transfer_rows)
        .values(
            network=network,
            wallet=wallet.raw,
            seqno=transfer.seqno,
            valid_until=transfer.valid_until,
            created_at=now,
            boc=transfer.boc,
            outcome=Outcome.PENDING,
        )
        .returning(transfer_rows.c.id)
    ).one()
    stored = tuple(_stored(connection, move) for move in moves)
    connection.execute(
        insert(move_rows),
        [
            {
                "transfer_id": identity,
                "place": place,
                "kind": move.kind,
                "destination": move.destination.raw,
                "subject": move.subject,
                "nano": move.nano,
                "channel_id": move.channel_id,
            }
            for place, move in enumerate(stored)
        ],
    )
    return StoredTransfer(identity, transfer, now, stored)


def pending(connection: Connection, *, network: int, wallet: Address) -> list[StoredTransfer]:
    """Transfers of this wallet whose outcome is not known, the oldest first."""
    rows = connection.execute(
        select(transfer_rows)
        .where(
            transfer_rows.c.outcome == Outcome.PENDING,
            transfer_rows.c.network == network,
            transfer_rows.c.wallet == wallet.raw,
        )
        .order_by(transfer_rows.c.id)
    ).all()
    return [
        StoredTransfer(
            row.id,
            SignedTransfer(row.boc, row.seqno, row.valid_until),
            row.created_at,
            _moves(connection, row.id),
        )
        for row in rows
    ]


def conclude(
    connection: Connection, stored: StoredTransfer, outcome: Outcome, failed: Sequence[StoredMove]
) -> None:
    """Store what became of a transfer, and enter it in the accounts; a second time changes nothing."""
    changed = connection.execute(
        update(transfer_rows)
        .where(transfer_rows.c.id == stored.id, transfer_rows.c.outcome == Outcome.PENDING)
        .values(outcome=outcome)
    ).rowcount
    if not changed:
        return
    for move in stored.moves:
        if move.channel_id is None:
            continue
        carried_out = outcome is not Outcome.VOID and move not in failed
        if move.kind is MoveKind.OPEN and not carried_out:
            ledger.close_channel(connection, move.channel_id)
        if move.kind is MoveKind.TOP_UP and carried_out:
            state = ledger.load_channel(connection, move.channel_id)
            ledger.save_channel(connection, replace(state, deposit=state.deposit + move.nano))


def _stored(connection: Connection, move: Move) -> StoredMove:
    channel_id = None
    if move.channel is not None:
        channel_id = move.channel.id or ledger.add_channel(connection, move.channel)
    return StoredMove(move.kind, move.message.to, move.subject, move.message.value, channel_id)


def _moves(connection: Connection, identity: int) -> tuple[StoredMove, ...]:
    rows = connection.execute(
        select(move_rows).where(move_rows.c.transfer_id == identity).order_by(move_rows.c.place)
    ).all()
    return tuple(
        StoredMove(
            MoveKind(row.kind),
            Address.parse(row.destination),
            row.subject,
            row.nano,
            row.channel_id,
        )
        for row in rows
    )
