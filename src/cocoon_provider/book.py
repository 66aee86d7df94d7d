"""The channel book: all money state of the provider behind one asynchronous interface."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from cocoon_provider import enrolment, instances, ledger, vouchers
from cocoon_provider.ledger import Progress
from cocoon_provider.opening import Ended, Opening, open_stream
from cocoon_provider.receipts import receipt_for
from cocoon_provider.refusals import Refusal
from cocoon_provider.registration import MAX_INT64, ChannelFacts
from cocoon_provider.tables import (
    ChannelKey,
    channels,
    locked_channel,
    of_channel,
    receipts,
)
from cocoon_sdk.errors import WireCode
from cocoon_sdk.keys import Signer
from cocoon_sdk.payments.meter import Counts
from cocoon_sdk.payments.receipt import FinishReason
from cocoon_sdk.protocol import messages
from cocoon_sdk.store.database import Database

MIGRATIONS = "cocoon_provider:migrations"


class ChannelBook:
    """Vouchers, dues, receipts and the mirror of the chain, durable before anything is served.

    Args:
        instance: Name of this front end, which no other process on the database may have.
        clock: Unix seconds.
    """

    def __init__(
        self,
        database: Database,
        *,
        identity: Signer,
        network: int,
        clock: Callable[[], float],
        instance: str = "main",
    ) -> None:
        self.database = database
        self.network = network
        self.clock = clock
        self._identity = identity
        self._instance = instance
        self._listeners: dict[ChannelKey, set[asyncio.Event]] = {}

    # --- the mirror

    async def register(self, facts: ChannelFacts) -> None:
        """Enter a channel or renew its mirror; other epochs at its address are over."""
        await self.database.run(lambda connection: enrolment.register(connection, facts))

    async def mark_gone(self, address: str) -> None:
        """The contract was destroyed: nothing at this address can be redeemed any more."""
        now = int(self.clock())
        await self.database.run(lambda c: enrolment.mark_gone(c, address, now))

    async def channel(self, key: ChannelKey) -> RowMapping:
        """The row of a channel.

        Raises:
            Refusal: `channel_unknown`.
        """
        return await self.database.run(lambda connection: locked_channel(connection, key))

    async def latest(self, address: str) -> RowMapping | None:
        """The row of the newest epoch at an address."""
        query = (
            select(channels)
            .where(channels.c.address == address)
            .order_by(channels.c.epoch.desc())
            .limit(1)
        )
        return await self.database.run(lambda c: c.execute(query).mappings().first())

    # --- streams

    async def open_stream(
        self, key: ChannelKey, start: Opening, voucher: messages.Voucher | None, client_key: bytes
    ) -> Ended | None:
        """See `opening.open_stream`; the voucher's signature is checked first."""
        if voucher is not None:
            self._check(key, voucher, client_key)
        ended = await self.database.run(
            lambda c: open_stream(c, key, start, voucher, self._instance)
        )
        self._ring(key)
        return ended

    async def take_voucher(
        self,
        key: ChannelKey,
        request_id: bytes,
        voucher: messages.Voucher,
        client_key: bytes,
        window_end: int,
    ) -> None:
        """See `ledger.take_voucher`; wakes the streams of the channel that wait for payment."""
        self._check(key, voucher, client_key)
        await self.database.run(
            lambda c: ledger.take_voucher(c, key, request_id, voucher, window_end)
        )
        self._ring(key)

    async def advance(
        self,
        key: ChannelKey,
        request_id: bytes,
        counts: Counts,
        response_hash: bytes,
        *,
        window: int,
        granted: Counts,
        targets: Sequence[Counts],
    ) -> Progress:
        """See `ledger.advance`."""
        return await self.database.run(
            lambda c: ledger.advance(
                c, key, request_id, counts, response_hash, window, granted, targets
            )
        )

    async def finish(
        self,
        key: ChannelKey,
        request_id: bytes,
        counts: Counts | None,
        response_hash: bytes | None,
        reason: FinishReason,
    ) -> bytes:
        """End a stream and give its receipt; see `ledger.finish`."""
        now = self.clock()

        def work(connection: Connection) -> bytes:
            client_key = locked_channel(connection, key)["client_key"]

            def make(row: Mapping[str, Any], price: int, spent: int, seq: int) -> bytes:
                return receipt_for(
                    self._identity, self.network, key, client_key, row, reason,
                    price=price, spent=spent, seq=seq, now=now,
                )  # fmt: skip

            return ledger.finish(connection, key, request_id, counts, response_hash, make, int(now))

        raw = await self.database.run(work)
        self._ring(key)
        return raw

    async def drop(self, key: ChannelKey, request_id: bytes) -> None:
        """See `ledger.drop`."""
        await self.database.run(lambda c: ledger.drop(c, key, request_id))
        self._ring(key)

    # --- front ends

    async def claim(self) -> None:
        """Be this instance from now on; nothing more is written when another process became it.

        Raises:
            StoreError: another process is.
        """
        role = instances.role(self._instance)
        if not await self.database.become(role, patience=instances.PATIENCE):
            raise instances.taken(self._instance)

    async def end_orphans(self) -> int:
        """Before serving: issue receipts for the streams that an earlier run of this instance left open."""
        await self.database.run(enrolment.reopen_all)
        return await self._end_streams_of(self._instance)

    async def end_abandoned(self) -> int:
        """Issue receipts for the open streams of other instances that are gone."""
        others = await self.database.run(lambda c: instances.others_with_streams(c, self._instance))
        ended = 0
        for instance in others:
            async with self.database.alone(instances.role(instance)) as gone:
                if gone:
                    ended += await self._end_streams_of(instance)
        return ended

    async def _end_streams_of(self, instance: str) -> int:
        rows = await self.database.run(lambda c: instances.open_streams(c, instance))
        for key, request_id in rows:
            await self.finish(key, request_id, None, None, FinishReason.ERROR)
        return len(rows)

    # --- questions

    async def state(self, key: ChannelKey) -> messages.State:
        """Our view of a channel, with the client's own signature as proof."""
        row = await self.channel(key)
        return messages.State(
            row["epoch"], row["signed"], row["signature"], row["seq"], row["spent"]
        )

    async def receipt(self, key: ChannelKey, question: messages.ReceiptGet) -> bytes:
        """A receipt by request id, by seq, or the newest where neither is given.

        Raises:
            Refusal: `not_found`.
        """
        if question.seq is not None and question.seq > MAX_INT64:
            raise Refusal(WireCode.NOT_FOUND, "no such receipt in this channel and epoch")
        query = select(receipts.c.raw).where(of_channel(receipts, key))
        if question.request_id is not None:
            query = query.where(receipts.c.request_id == question.request_id)
        if question.seq is not None:
            query = query.where(receipts.c.seq == question.seq)
        query = query.order_by(receipts.c.seq.desc()).limit(1)
        raw = await self.database.run(lambda c: c.execute(query).scalar())
        if raw is None:
            raise Refusal(WireCode.NOT_FOUND, "no such receipt in this channel and epoch")
        return bytes(raw)

    # --- waiting and closing

    @contextmanager
    def listening(self, key: ChannelKey, wake: asyncio.Event) -> Iterator[None]:
        """Set `wake` whenever vouchers or receipts change the books of this channel."""
        listeners = self._listeners.setdefault(key, set())
        listeners.add(wake)
        try:
            yield
        finally:
            listeners.discard(wake)
            if not listeners:
                self._listeners.pop(key, None)

    def _ring(self, key: ChannelKey) -> None:
        for wake in self._listeners.get(key, ()):
            wake.set()

    def _check(self, key: ChannelKey, voucher: messages.Voucher, client_key: bytes) -> None:
        vouchers.check_signature(
            voucher, network=self.network, address=key.address, client_key=client_key
        )
