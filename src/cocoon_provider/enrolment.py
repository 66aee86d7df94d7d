"""Writing what the chain says into the books: new channels, renewed mirrors, income."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from cocoon_provider.registration import ChannelFacts
from cocoon_provider.tables import AUTHORISED, DRAINING, OPEN, channels, income, of_channel

NO_SIGNATURE = bytes(64)


def register(connection: Connection, facts: ChannelFacts) -> None:
    """Write the mirror; whatever `redeemed` grew by is income (payments.md §3, "settling")."""
    mirror = {
        "balance": facts.balance,
        "redeemed": facts.redeemed,
        "close_at": facts.close_at,
        "checked_at": facts.checked_at,
        "gone": 0,
    }
    known = connection.execute(
        select(channels).where(of_channel(channels, facts.key)).with_for_update()
    ).mappings()
    row = known.first()
    if row is None:
        connection.execute(
            insert(channels).values(
                address=facts.key.address,
                epoch=facts.key.epoch,
                client_key=facts.client_key,
                close_delay=facts.close_delay,
                signature=NO_SIGNATURE,
                close_signature=b"",
                booked=facts.redeemed,
                **mirror,
            )
        )
    else:
        came_in = facts.redeemed - row["booked"]
        if came_in > 0:
            _book_income(connection, facts.key.address, facts.key.epoch, came_in, facts.checked_at)
            settled = facts.redeemed >= row["spent"]
            mirror |= {
                "booked": facts.redeemed,
                "unredeemed_since": 0 if settled else facts.checked_at,
            }
        connection.execute(update(channels).where(of_channel(channels, facts.key)).values(mirror))
    over = (channels.c.address == facts.key.address) & (channels.c.epoch != facts.key.epoch)
    connection.execute(update(channels).where(over).values(gone=1))


def mark_gone(connection: Connection, address: str, now: int) -> None:
    """The contract was destroyed.

    A client alone needs the close delay for that. Where we looked within that delay and no close had
    been asked for, it was the cooperative close that we signed, which paid us `spent`.
    """
    query = select(channels).where(channels.c.address == address, channels.c.gone == 0)
    for row in connection.execute(query.with_for_update()).mappings().all():
        values = {"gone": 1}
        by_agreement = row["closing"] == AUTHORISED and not row["close_at"]
        if by_agreement and now - row["checked_at"] < row["close_delay"]:
            _book_income(
                connection, row["address"], row["epoch"], row["spent"] - row["booked"], now
            )
            values |= {"redeemed": row["spent"], "booked": row["spent"]}
        connection.execute(
            update(channels)
            .where(channels.c.address == address, channels.c.epoch == row["epoch"])
            .values(values)
        )


def _book_income(connection: Connection, address: str, epoch: int, amount: int, at: int) -> None:
    if amount > 0:
        connection.execute(
            insert(income).values(address=address, epoch=epoch, at=at, amount=amount)
        )


def reopen_all(connection: Connection) -> None:
    """After a restart nobody waits for the closes that were asked for."""
    connection.execute(update(channels).where(channels.c.closing == DRAINING).values(closing=OPEN))
