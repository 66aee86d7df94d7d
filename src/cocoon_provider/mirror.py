"""A mirror of channel states, renewed before it is stale (payments.md §3, "on registering a channel")."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from sqlalchemy import RowMapping

from cocoon_provider.book import ChannelBook
from cocoon_provider.refusals import Refusal
from cocoon_provider.registration import (
    ChannelFacts,
    ChannelPolicy,
    StaleStateError,
    check_acceptable,
    read_channel,
)
from cocoon_provider.tables import ChannelKey
from cocoon_sdk.errors import ChainError, WireCode
from cocoon_sdk.payments.voucher import redeemable_limit
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import ChainClient

MAX_LOCKS = 4_096
_REREAD_SECONDS = 3.0  # between readings that vouchers beyond the known funds ask for
_STALE_SHARE = 4  # a mirror older than this part of the close delay is not served from


class ChannelMirror:
    """Registers channels and keeps what the chain says about them.

    Args:
        ttl: Seconds after which a state is read again before serving. Far below every close delay.
    """

    def __init__(
        self, chain: ChainClient, book: ChannelBook, policy: ChannelPolicy, *, ttl: float = 60.0
    ) -> None:
        self._chain = chain
        self._book = book
        self._policy = policy
        self._ttl = ttl
        self._locks: OrderedDict[str, asyncio.Lock] = OrderedDict()

    async def usable(
        self, address: Address, client_key: bytes, *, cover: int | None = None
    ) -> ChannelKey:
        """The channel at this address, registered and fresh enough to serve on.

        `client_key` is the key that the session proved. Where the mirror could not pay a cumulative of
        `cover`, the chain is read again: a top-up may have been confirmed since.

        Raises:
            Refusal: `channel_unknown` or another reason not to serve on it.
        """
        async with self._lock(address.raw):
            row = await self._book.latest(address.raw)
            if row is None or row["gone"]:
                facts = await self._first_look(address)
                key, owner = facts.key, facts.client_key
            else:
                if self._must_read(row, cover):
                    await self._look_again(address, row)
                    row = await self._book.latest(address.raw) or row
                key, owner = ChannelKey(row["address"], row["epoch"]), bytes(row["client_key"])
        if owner != client_key:
            raise Refusal(
                WireCode.CHANNEL_UNKNOWN,
                "this session's key is not the channel's; connect with the channel's voucher key",
            )
        return key

    async def refresh(self, address: Address) -> ChannelFacts | None:
        """Read one channel from the chain into the book; None if the contract is gone.

        Raises:
            ChainError: the chain did not answer.
            Refusal: the account is no channel of ours (any more).
        """
        state = await self._chain.get_account(address)
        if state.status in {"nonexist", "uninit"} and await self._book.latest(address.raw):
            await self._book.mark_gone(address.raw)
            return None
        facts = read_channel(state, self._policy, now=int(self._book.clock()))
        await self._book.register(facts)
        return facts

    def _must_read(self, row: RowMapping, cover: int | None) -> bool:
        age = self._book.clock() - row["checked_at"]
        if age >= self._ttl:
            return True
        short = cover is not None and cover > redeemable_limit(
            balance=row["balance"], redeemed=row["redeemed"]
        )
        return short and age >= _REREAD_SECONDS

    async def _first_look(self, address: Address) -> ChannelFacts:
        try:
            state = await self._chain.get_account(address)
        except ChainError as error:
            raise _unreachable() from error
        facts = read_channel(state, self._policy, now=int(self._book.clock()))
        check_acceptable(facts, self._policy)
        await self._book.register(facts)
        return facts

    async def _look_again(self, address: Address, row: RowMapping) -> None:
        """Renew the mirror; while the chain is down or lags, serve on from a mirror not too old."""
        try:
            facts = await self.refresh(address)
        except (ChainError, StaleStateError) as error:
            age = self._book.clock() - row["checked_at"]
            if age > row["close_delay"] / _STALE_SHARE:
                raise _unreachable() from error
            return
        if facts is None:
            raise Refusal(
                WireCode.CHANNEL_UNKNOWN, "the channel was closed on chain; open another one"
            )

    def _lock(self, address: str) -> asyncio.Lock:
        lock = self._locks.pop(address, None) or asyncio.Lock()
        self._locks[address] = lock
        while len(self._locks) > MAX_LOCKS:
            _, oldest = next(iter(self._locks.items()))
            if oldest.locked():
                break
            self._locks.popitem(last=False)
        return lock


def _unreachable() -> Refusal:
    return Refusal(
        WireCode.INTERNAL,
        "the chain cannot be reached, so the channel cannot be checked; try again later",
        retry_after_ms=15_000,
    )
