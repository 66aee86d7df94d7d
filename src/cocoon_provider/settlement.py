"""Turning vouchers into coins: when to redeem, how much to claim, what came in (payments.md §3)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, select

from cocoon_provider.book import ChannelBook
from cocoon_provider.failures import describe
from cocoon_provider.mirror import ChannelMirror
from cocoon_provider.refusals import Refusal
from cocoon_provider.tables import ChannelKey, channels, locked_channel, open_due
from cocoon_sdk.errors import ChainError, CocoonError, InsufficientFundsError
from cocoon_sdk.payments.amounts import format_amount
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import ChainClient
from cocoon_sdk.ton.contract.channel import ATTACHED, redeem_body, voucher_cell
from cocoon_sdk.ton.fees import estimate
from cocoon_sdk.ton.wallet import OutMessage, Wallet

log = logging.getLogger(__name__)

MAX_BATCH = 100
_COST_FACTOR = 100
_MAX_AGE = 6 * 3600
_ROLE = "the settlement"
_PATIENCE = 60.0  # seconds for which another process may redeem before we do it on demand


@dataclass(frozen=True, slots=True)
class Claim:
    """What can be redeemed on one channel: nano in total, and how much of it is new."""

    key: ChannelKey
    claim: int
    unredeemed: int
    signature: bytes
    cumulative: int
    urgent: bool


class Settlement:
    """Redeems in batches and keeps the mirror of all channels that owe us something.

    Args:
        threshold: Redeem at once from here, nano.
        cost: What one redeem costs, nano: nothing below it is redeemed.
    """

    def __init__(
        self,
        *,
        book: ChannelBook,
        mirror: ChannelMirror,
        chain: ChainClient,
        wallet: Wallet,
        threshold: int,
        cost: int,
    ) -> None:
        self._book = book
        self._mirror = mirror
        self._chain = chain
        self._wallet = wallet
        self._threshold = max(threshold, _COST_FACTOR * cost)
        self._cost = cost
        self._lock = asyncio.Lock()

    async def run(self, interval: float, *, selling: bool = True) -> None:
        """Refresh and redeem for ever; a chain that is down is logged and tried again.

        Args:
            interval: Seconds between rounds.
            selling: Whether anything has a price, so that an empty wallet is worth a warning at once.
        """
        if selling:
            await self._logged(self._check_wallet)
        while True:
            await asyncio.sleep(interval)
            await self._logged(self._round)

    async def _logged(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except CocoonError as error:
            log.warning("settlement failed, will try again: %s", error)
        except Exception as error:  # noqa: BLE001 - without the loop nothing is ever redeemed
            log.error("settlement failed unexpectedly: %s", describe(error))

    async def _round(self) -> None:
        ended = await self._book.end_abandoned()
        if ended:
            log.warning("receipts issued for requests of front ends that are gone: %d", ended)
        await self.refresh()
        await self.redeem()

    async def refresh(self) -> None:
        """Read every channel that holds a voucher worth something, to notice closes in time."""
        owing = await self._book.database.run(_owing)
        for address in owing:
            await self._refresh(address)
        if owing:
            await self._check_wallet()

    async def redeem(self, *, everything: bool = False) -> int:
        """Redeem what is due; what came in, in nano.

        Args:
            everything: Before shutdown or on demand: all that is worth its cost.

        Raises:
            InsufficientFundsError: the wallet cannot attach what redeeming needs.
            ChainError: the chain is down or refused.
        """
        # Two processes that send from one wallet would take the same sequence number.
        alone = self._book.database.alone(_ROLE, patience=_PATIENCE if everything else 0.0)
        async with self._lock, alone as mine:
            if not mine:
                log.info("another process redeems from this database at the moment")
                return 0
            claims = [c for c in await self._claims() if everything or self._due(c)]
            claims.sort(key=lambda claim: (not claim.urgent, -claim.unredeemed))
            income = 0
            while claims:
                count = await self._affordable(claims[:MAX_BATCH])
                batch, claims = claims[:count], claims[count:]
                income += await self._redeem_batch(batch)
            return income

    async def _check_wallet(self) -> None:
        """Say in time that the wallet cannot pay for a redeem any more."""
        balance = (await self._chain.get_account(self._wallet.address)).balance
        if balance < ATTACHED + estimate(()):
            log.error(
                "ALARM: the wallet %s holds %s coins; redeeming takes %s, most of which comes back: send it coins",
                self._wallet.address,
                format_amount(balance),
                format_amount(ATTACHED + estimate(())),
            )

    async def _affordable(self, claims: Sequence[Claim]) -> int:
        """For how many of these the wallet can attach the gas; at least one, which then says what lacks.

        What is attached comes back with the payout, so that the others can follow.
        """
        balance = (await self._chain.get_account(self._wallet.address)).balance
        needed = fixed = estimate(())
        for count, claim in enumerate(claims):
            needed += ATTACHED + estimate([self._message(claim).cell()]) - fixed
            if needed > balance:
                return max(1, count)
        return len(claims)

    async def _redeem_batch(self, batch: Sequence[Claim]) -> int:
        fresh = [claim for claim in batch if await self._still_good(claim)]
        if not fresh:
            return 0
        before = await self._redeemed(fresh)
        try:
            await self._wallet.send(
                self._chain, [self._message(claim) for claim in fresh], check=False
            )
        except InsufficientFundsError:
            log.error("the provider's wallet %s needs coins to redeem", self._wallet.address)
            raise
        for claim in fresh:
            await self._refresh(claim.key.address)
        income = await self._redeemed(fresh) - before
        log.info("redeemed %d nano; channels: %d", income, len(fresh))
        return income

    async def _still_good(self, claim: Claim) -> bool:
        """Whether the channel, as it is on chain now, still owes us this."""
        await self._refresh(claim.key.address)
        row = await self._book.latest(claim.key.address)
        return (
            row is not None
            and not row["gone"]
            and row["epoch"] == claim.key.epoch
            and claim.claim - row["redeemed"] > self._cost
        )

    async def _redeemed(self, claims: Sequence[Claim]) -> int:
        return sum([(await self._book.channel(claim.key))["redeemed"] for claim in claims])

    def _message(self, claim: Claim) -> OutMessage:
        channel = Address.parse(claim.key.address)
        cell = voucher_cell(self._book.network, channel, claim.key.epoch, claim.cumulative)
        return OutMessage(channel, ATTACHED, redeem_body(0, claim.claim, claim.signature, cell))

    def _due(self, claim: Claim) -> bool:
        return claim.urgent or claim.unredeemed >= self._threshold

    async def _claims(self) -> list[Claim]:
        now = int(self._book.clock())
        found = await self._book.database.run(lambda c: [_claim(c, row, now) for row in _open(c)])
        return [claim for claim in found if claim.unredeemed > self._cost]

    async def _refresh(self, address: str) -> None:
        try:
            await self._mirror.refresh(Address.parse(address))
        except Refusal as refusal:
            log.warning("channel %s: %s", address, refusal.message)
        except ChainError as error:
            log.warning("channel %s could not be read: %s", address, error)


def _open(connection: Connection) -> Sequence[RowMapping]:
    query = select(channels).where(channels.c.gone == 0, channels.c.signed > channels.c.redeemed)
    return connection.execute(query).mappings().all()


def _owing(connection: Connection) -> list[str]:
    return [row["address"] for row in _open(connection)]


def _claim(connection: Connection, row: RowMapping, now: int) -> Claim:
    """`spent` and the durable dues, never the ceiling that the client has signed."""
    key = ChannelKey(row["address"], row["epoch"])
    row = locked_channel(connection, key)
    claim = min(row["signed"], row["spent"] + open_due(connection, key))
    since = row["unredeemed_since"]
    old = bool(since) and now - since >= min(_MAX_AGE, row["close_delay"] // 2)
    return Claim(
        key=key,
        claim=claim,
        unredeemed=claim - row["redeemed"],
        signature=bytes(row["signature"]),
        cumulative=row["signed"],
        urgent=old or bool(row["close_at"]),
    )
