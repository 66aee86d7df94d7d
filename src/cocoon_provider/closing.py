"""Cooperative close: drain the channel, then sign `final = spent` once (payments.md §3)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from sqlalchemy import Connection, select, update

from cocoon_provider.book import ChannelBook
from cocoon_provider.tables import (
    AUTHORISED,
    DRAINING,
    OPEN,
    ChannelKey,
    channels,
    locked_channel,
    of_channel,
    streams,
)
from cocoon_provider.vouchers import check_epoch
from cocoon_sdk.keys import Signer
from cocoon_sdk.payments.voucher import CloseAuth, sign_close_auth
from cocoon_sdk.protocol import messages
from cocoon_sdk.ton.address import Address

_POLL_SECONDS = 1.0


class CooperativeClose:
    """Answers CLOSE_REQUEST."""

    def __init__(self, book: ChannelBook, identity: Signer) -> None:
        self._book = book
        self._identity = identity
        self._waiting: Counter[ChannelKey] = Counter()

    async def authorise(self, key: ChannelKey, epoch: int) -> messages.CloseAuth:
        """Refuse new requests, wait for the open streams, then sign. Asking again gives the same.

        When all who waited were cancelled while streams were open, the channel takes requests again.

        Raises:
            Refusal: unknown channel or another epoch.
        """
        run = self._book.database.run
        wake = asyncio.Event()
        self._waiting[key] += 1
        try:
            await run(lambda c: set_draining(c, key, epoch))
            with self._book.listening(key, wake):
                while True:
                    wake.clear()
                    signed = await run(
                        lambda c: authorise_close(c, key, lambda f: self._sign(key, f))
                    )
                    if signed is not None:
                        return messages.CloseAuth(key.epoch, *signed)
                    try:
                        async with asyncio.timeout(_POLL_SECONDS):
                            await wake.wait()
                    except TimeoutError:
                        continue
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
                await asyncio.shield(run(lambda c: reopen(c, key)))

    def _sign(self, key: ChannelKey, final: int) -> bytes:
        auth = CloseAuth(self._book.network, Address.parse(key.address), key.epoch, final)
        return sign_close_auth(self._identity, auth)


def set_draining(connection: Connection, key: ChannelKey, epoch: int) -> bytes | None:
    """Refuse new requests from now on; the signature of an authorisation given before, if any.

    Raises:
        Refusal: unknown channel, or another epoch.
    """
    channel = locked_channel(connection, key)
    check_epoch(epoch, channel)
    if channel["closing"] == AUTHORISED:
        return bytes(channel["close_signature"])
    _set_channel(connection, key, closing=DRAINING)
    return None


def authorise_close(
    connection: Connection, key: ChannelKey, sign: Callable[[int], bytes]
) -> tuple[int, bytes] | None:
    """Sign `final = spent` once no stream is open; None while one is.

    Never another `final`: from here on vouchers of this epoch are refused, so `spent` stays.
    """
    channel = locked_channel(connection, key)
    final = int(channel["spent"])
    if channel["closing"] == AUTHORISED:
        return final, bytes(channel["close_signature"])
    if connection.execute(select(streams.c.request_id).where(of_channel(streams, key))).first():
        return None
    signature = sign(final)
    _set_channel(connection, key, closing=AUTHORISED, close_signature=signature)
    return final, signature


def reopen(connection: Connection, key: ChannelKey) -> None:
    """Take new requests again: the close was asked for but not authorised."""
    draining = of_channel(channels, key) & (channels.c.closing == DRAINING)
    connection.execute(update(channels).where(draining).values(closing=OPEN))


def _set_channel(connection: Connection, key: ChannelKey, **values: object) -> None:
    connection.execute(update(channels).where(of_channel(channels, key)).values(values))
