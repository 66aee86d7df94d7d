"""Cooperative close: drain the channel, then sign `final = spent` once (payments.md §3)."""

from __future__ import annotations

import asyncio

from cocoon_provider import ledger
from cocoon_provider.book import ChannelBook
from cocoon_provider.tables import ChannelKey
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

    async def authorise(self, key: ChannelKey, epoch: int) -> messages.CloseAuth:
        """Refuse new requests, wait for the open streams, then sign. Asking again gives the same.

        Cancelled while streams are still open, the channel takes requests again.

        Raises:
            Refusal: unknown channel or another epoch.
        """
        run = self._book.database.run
        await run(lambda c: ledger.set_draining(c, key, epoch))
        wake = asyncio.Event()
        try:
            with self._book.listening(key, wake):
                while True:
                    wake.clear()
                    signed = await run(
                        lambda c: ledger.authorise_close(c, key, lambda f: self._sign(key, f))
                    )
                    if signed is not None:
                        return messages.CloseAuth(key.epoch, *signed)
                    try:
                        async with asyncio.timeout(_POLL_SECONDS):
                            await wake.wait()
                    except TimeoutError:
                        continue
        except asyncio.CancelledError:
            await asyncio.shield(run(lambda c: ledger.reopen(c, key)))
            raise

    def _sign(self, key: ChannelKey, final: int) -> bytes:
        auth = CloseAuth(self._book.network, Address.parse(key.address), key.epoch, final)
        return sign_close_auth(self._identity, auth)
