"""A mirror of channel states, renewed before it is stale (payments.md §3, "on registering a channel")."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import RowMapping

from cocoon_provider.book import ChannelBook
from cocoon_provider.refusals import Refusal
from cocoon_provider.registration import (
    ChannelFacts,
    ChannelPolicy,
    StaleStateError,
    check_acceptable,
    check_age,
    read_channel,
)
from cocoon_provider.tables import AUTHORISED, ChannelKey
from cocoon_sdk.errors import ChainError, WireCode
from cocoon_sdk.payments.voucher import redeemable_limit
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import AccountState, ChainClient

MAX_LOCKS = 4_096
MAX_FIRST_LOOKS = 4  # at once, at channels never seen: strangers may name any address
MAX_LOOKS = 8  # at once, at registered ones
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
        # Clients must not keep the chain API so busy that settlement comes too late.
        self._first_looks = _Turnstile(MAX_FIRST_LOOKS)
        self._looks = _Turnstile(MAX_LOOKS)

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
        now = int(self._book.clock())
        if state.status in {"nonexist", "uninit"}:
            row = await self._book.latest(address.raw)
            if row is not None:
                check_age(state, self._policy, now=now)
                _check_destroyed(row, state, now)
                await self._book.mark_gone(address.raw)
                return None
        facts = read_channel(state, self._policy, now=now)
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
            with self._first_looks.enter():
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
            with self._looks.enter():
                facts = await self.refresh(address)
        except (ChainError, StaleStateError, _CrowdedError) as error:
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


class _CrowdedError(Refusal):
    """Too many clients have the chain read at the same time."""


class _Turnstile:
    """Lets so many in at a time, and turns the next away instead of queueing it."""

    def __init__(self, places: int) -> None:
        self._free = places

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold a place.

        Raises:
            _CrowdedError: all are taken.
        """
        if not self._free:
            raise _CrowdedError(
                WireCode.OVERLOADED,
                "too many channels are being looked up; try again in a moment",
                retry_after_ms=5_000,
            )
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


def _check_destroyed(row: RowMapping, state: AccountState, now: int) -> None:
    """Before giving money up: whether the contract can be gone at all by now.

    Alone the client needs the close delay; otherwise it needs our consent, which is in the books. An
    answer that cannot be true is one of a lagging or broken API.

    Raises:
        StaleStateError: it cannot.
    """
    earliest = row["close_at"] or row["checked_at"] + row["close_delay"]
    if row["gone"] or row["closing"] == AUTHORISED or max(now, state.block_time) >= earliest:
        return
    raise StaleStateError(
        WireCode.INTERNAL,
        f"the chain API says that the channel is gone, which it cannot be before {earliest} "
        "(Unix time); try again later",
        retry_after_ms=10_000,
    )


def _unreachable() -> Refusal:
    return Refusal(
        WireCode.INTERNAL,
        "the chain cannot be reached, so the channel cannot be checked; try again later",
        retry_after_ms=15_000,
    )
