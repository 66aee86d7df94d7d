"""Front ends that share one database: each has a name of its own, and the others end what it leaves open."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from cocoon_provider.tables import ChannelKey, streams
from cocoon_sdk.errors import StoreError

PATIENCE = 5.0
"""Seconds that a process which is being replaced may still take to end."""


def role(instance: str) -> str:
    """What a front end is in its database; see `cocoon_sdk.store.roles`."""
    return f"the front end {instance!r}"


def taken(instance: str) -> StoreError:
    """Another process has the name."""
    return StoreError(
        f"another provider serves as {instance!r} from this database; give each front end an "
        "`instance` of its own in config.toml"
    )


def others_with_streams(connection: Connection, instance: str) -> Sequence[str]:
    """The instances but this one that have open streams in the books."""
    query = select(streams.c.instance).distinct().where(streams.c.instance != instance)
    return connection.scalars(query).all()


def open_streams(connection: Connection, instance: str) -> list[tuple[ChannelKey, bytes]]:
    """Channel and request id of the streams that an instance has open."""
    query = select(streams.c.address, streams.c.epoch, streams.c.request_id).where(
        streams.c.instance == instance
    )
    return [
        (ChannelKey(address, epoch), request_id)
        for address, epoch, request_id in connection.execute(query)
    ]
