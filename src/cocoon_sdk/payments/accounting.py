"""The client's accounting of one channel as plain values: no database, no clock, no keys (payments.md §3).

`signed` is the highest voucher ever made; `spent` the sum of the receipts. What may be signed at most is

    spent + sum over open streams of (verified due + W)

and never more than the channel can pay. A receipt whose predecessors are still missing is `pending`: its
price counts as spent at once, its place in the chain is checked when the gap is filled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from cocoon_sdk.errors import InsufficientFundsError, OverchargeError
from cocoon_sdk.payments.amounts import format_amount
from cocoon_sdk.payments.meter import Counts, Price, cost, window_cost
from cocoon_sdk.payments.receipt import Receipt
from cocoon_sdk.payments.voucher import RENT_CUSHION, redeemable_limit
from cocoon_sdk.protocol.messages import Meter
from cocoon_sdk.ton.address import Address

NOTHING = Counts()


class ChannelStatus(StrEnum):
    """Where a channel is in its life."""

    OPENING = "opening"  # its money may be on the way; nothing can be signed yet
    OPEN = "open"
    CLOSING = "closing"  # the close window runs: what was signed may still be redeemed
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStream:
    """A request that has no receipt yet. `due` and `window` are what was last persisted with `signed`."""

    request_id: bytes
    opened_at: int
    price: Price
    prompt_bound: int
    max_tokens: int
    window_tokens: int
    counts: Counts = NOTHING
    due: int = 0
    window: int = 0
    response_hash: bytes | None = None

    @property
    def exposure(self) -> int:
        """The most that this stream may cost before our next voucher."""
        return self.due + self.window

    def with_window(self) -> OpenStream:
        """This stream with W computed from its counts."""
        window = window_cost(
            self.price,
            self.counts,
            prompt_total=self.prompt_bound,
            max_tokens=self.max_tokens,
            k=self.window_tokens,
        )
        return replace(self, window=window)

    def metered(self, meter: Meter) -> OpenStream:
        """This stream after a METER; an older METER than the last changes nothing.

        Raises:
            OverchargeError: beyond what was asked, beyond the window, or a due other than the price of
                the counts.
        """
        counts = Counts(meter.prompt, meter.cached, meter.completion)
        self._check(counts, meter.due, "a METER")
        if self.counts.covers(counts):
            return self
        if not counts.covers(self.counts):
            raise OverchargeError(
                f"a METER moved tokens from {self.counts[:3]} to {counts[:3]} (prompt, cached, completion)"
            )
        after = replace(self, counts=counts, due=meter.due, response_hash=meter.response_hash)
        return after.with_window()

    def check_receipt(self, receipt: Receipt) -> None:
        """Compare a receipt's counts and price with what was asked and agreed.

        Raises:
            OverchargeError: as for `metered`.
        """
        self._check(receipt.counts, receipt.price, "the receipt")

    def _check(self, counts: Counts, nano: int, where: str) -> None:
        if counts.prefilled > self.prompt_bound:
            raise OverchargeError(
                f"{where} counts {counts.prefilled} prompt tokens; {self.prompt_bound} is the most there are"
            )
        if counts.completion > self.max_tokens:
            raise OverchargeError(
                f"{where} counts {counts.completion} completion tokens; {self.max_tokens} were asked for"
            )
        agreed = cost(counts, self.price)
        if nano != agreed:
            raise OverchargeError(f"{where} asks {nano} nano; the agreed price is {agreed} nano")
        if nano > self.exposure:
            raise OverchargeError(
                f"{where} asks {nano} nano, beyond the window of {self.exposure} nano granted so far"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelState:
    """One (channel, epoch) as the client's ledger holds it. Amounts in nano, times in unix seconds."""

    id: int
    network: int
    address: Address
    epoch: int
    provider_key: bytes
    client_key: bytes
    salt: int
    close_delay: int
    client: Address
    payout: Address
    status: ChannelStatus
    created_at: int
    deposit: int
    balance: int
    redeemed: int
    close_at: int
    seen_at: int
    signed: int
    spent: int
    seq: int
    pending: int = 0
    streams: tuple[OpenStream, ...] = ()

    @property
    def ceiling(self) -> int:
        """The most that may be signed for what is open: spent + the sum of dues and windows."""
        return self.spent + self.pending + sum(stream.exposure for stream in self.streams)

    @property
    def limit(self) -> int:
        """The most that the channel can pay; a channel that is not open is never signed for again."""
        if self.status is not ChannelStatus.OPEN:
            return 0
        limit = redeemable_limit(balance=self.balance, redeemed=self.redeemed)
        # The provider may look later than we did, after rent was taken.
        return max(self.redeemed, limit - RENT_CUSHION)

    @property
    def credit(self) -> int:
        """What was signed beyond receipts and dues; it serves the next request there."""
        owed = self.spent + self.pending + sum(stream.due for stream in self.streams)
        return max(0, self.signed - owed)

    @property
    def available(self) -> int:
        """What new requests may cost: what the channel can pay beyond receipts and open streams."""
        return max(0, self.limit - self.ceiling)

    @property
    def refundable(self) -> int:
        """What a close brings back for sure, even if the provider redeems everything signed."""
        return max(0, self.balance - max(0, self.signed - self.redeemed))

    def stream(self, request_id: bytes) -> OpenStream | None:
        """The open stream of this request, if there is one."""
        return next((item for item in self.streams if item.request_id == request_id), None)

    def with_stream(self, stream: OpenStream) -> ChannelState:
        """This state with `stream` added, or in place of its older version."""
        return replace(self, streams=(*self.without(stream.request_id).streams, stream))

    def without(self, request_id: bytes) -> ChannelState:
        """This state without the stream of this request."""
        kept = tuple(item for item in self.streams if item.request_id != request_id)
        return replace(self, streams=kept)

    def sign_up_to(self, wanted: int) -> ChannelState:
        """This state with `signed` raised to what is wanted, allowed and funded; it never falls."""
        return replace(self, signed=max(self.signed, min(wanted, self.ceiling, self.limit)))

    def require_funds(self) -> None:
        """Check that the channel can pay for everything open.

        Raises:
            InsufficientFundsError: it cannot; `needed` says by how much it falls short.
        """
        short = self.ceiling - self.limit
        if short > 0 and self.ceiling > self.signed:
            raise InsufficientFundsError(
                f"the channel {self.address.raw} lacks {format_amount(short)} coins for this request; "
                "top it up, or ask for fewer tokens",
                needed=short,
            )
