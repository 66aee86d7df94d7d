"""One payment channel at one provider, as the client uses it (payments.md §3).

The database is the only truth: each step reads the channel and its open streams, decides with the plain
values of `accounting` and writes the outcome in one exclusive transaction; the voucher is signed after
that is durable. Two tasks, or two processes on one ledger, therefore cannot sign past each other, and
after a crash `signed` on disk is at least as high as any voucher that ever left.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Connection

from cocoon_sdk.errors import ChannelDesyncError, ReceiptMismatchError
from cocoon_sdk.keys import Ed25519Key, Signer, derive_channel_key
from cocoon_sdk.payments import ledger, transactions
from cocoon_sdk.payments.accounting import ChannelState, OpenStream
from cocoon_sdk.payments.meter import WINDOW_TOKENS, Price
from cocoon_sdk.payments.receipt import Receipt, verify_receipt
from cocoon_sdk.payments.voucher import Voucher, sign_voucher, verify_voucher
from cocoon_sdk.protocol import messages
from cocoon_sdk.store.database import Database
from cocoon_sdk.ton.address import Address


def channel_signer(master: Ed25519Key, state: ChannelState) -> Ed25519Key:
    """The voucher key of a channel.

    Raises:
        ChannelDesyncError: the channel was opened under another master key.
    """
    key = derive_channel_key(
        master.seed, network=state.network, provider_key=state.provider_key, salt=state.salt
    )
    if key.public_key != state.client_key:
        raise ChannelDesyncError(
            f"the channel {state.address.raw} was opened with another voucher key; use that key file"
        )
    return key


class PaymentChannel:
    """Signs vouchers for one (channel, epoch) and keeps its accounts.

    Args:
        database: the client's ledger.
        state: as read from it.
        signer: the channel's voucher key.
        clock: unix seconds.
    """

    def __init__(
        self,
        database: Database,
        state: ChannelState,
        signer: Signer,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._state = state
        self._id = state.id
        self.signer = signer
        self._clock = clock

    @property
    def state(self) -> ChannelState:
        """The accounts as this object last saw them."""
        return self._state

    @property
    def network(self) -> int:
        """Global id of the network."""
        return self._state.network

    @property
    def address(self) -> Address:
        """The contract's address."""
        return self._state.address

    @property
    def epoch(self) -> int:
        """Logical time of the opening transaction."""
        return self._state.epoch

    @property
    def provider_key(self) -> bytes:
        """The provider's identity key."""
        return self._state.provider_key

    @property
    def client_key(self) -> bytes:
        """The public key of `signer`."""
        return self._state.client_key

    @property
    def available(self) -> int:
        """Nano that new requests may cost."""
        return self._state.available

    async def open_stream(
        self,
        request_id: bytes,
        *,
        price: Price,
        prompt_bound: int,
        max_tokens: int,
        window_tokens: int = WINDOW_TOKENS,
    ) -> messages.Voucher:
        """The voucher for a REQUEST, covering its first window. `max_tokens` is over all choices.

        Asking again for the same request opens nothing new.

        Raises:
            InsufficientFundsError: the channel cannot cover the first window; nothing was signed.
            PaymentError: the channel is not open.
        """
        stream = OpenStream(
            request_id=request_id,
            opened_at=int(self._clock()),
            price=price.validate(),
            prompt_bound=prompt_bound,
            max_tokens=max_tokens,
            window_tokens=window_tokens,
        ).with_window()
        state = await self._run(lambda c: transactions.open_stream(c, self._id, stream))
        return self._voucher(state, request_id)

    async def on_meter(self, request_id: bytes, meter: messages.Meter) -> messages.Voucher:
        """The answer to a METER whose counts and hash the caller has verified.

        The voucher is the highest there is; where the funds end it does not cover the whole window.

        Raises:
            OverchargeError: the METER asks more than was agreed, delivered or granted.
            ChannelDesyncError: the request is not open.
        """
        state = await self._run(lambda c: transactions.take_meter(c, self._id, request_id, meter))
        return self._voucher(state, request_id)

    async def settle(self, request_id: bytes, receipt: Receipt, raw: bytes) -> None:
        """Close a stream with its receipt, whose hashes and counts the caller has compared.

        Receipts may come in any order; the same one again changes nothing.

        Raises:
            ReceiptMismatchError: not this provider's, channel's or request's, or it breaks the chain.
            OverchargeError: its price is not what was agreed and granted.
            ChannelDesyncError: the request is not open.
        """
        self._check_identity(receipt, raw)
        if receipt.request_id != request_id:
            raise ReceiptMismatchError("the receipt is for another request")
        await self._run(lambda c: transactions.settle(c, self._id, receipt, raw))

    async def recover(self, raw: bytes) -> Receipt:
        """Take a receipt of a request that this ledger does not know, as after restoring a backup.

        It can only use up credit: a total above what we have signed is refused.

        Raises:
            ReceiptMismatchError: as for `settle`, or above what was signed.
        """
        receipt = verify_receipt(raw, self.provider_key)
        self._check_identity(receipt, raw)
        await self._run(lambda c: transactions.recover(c, self._id, receipt, raw))
        return receipt

    async def refuse(self, request_id: bytes) -> None:
        """Forget a stream that was refused before anything was billed; what was signed stays credit."""
        await self._run(lambda c: transactions.refuse(c, self._id, request_id))

    async def reconcile(self, state: messages.State) -> range:
        """Compare the provider's view with ours; returns the sequence numbers of receipts to ask for.

        A higher `signed` is taken over if our own signature proves it, as after restoring a backup;
        a higher `spent` only through the receipts themselves.

        Raises:
            ChannelDesyncError: another epoch, or a claim without proof.
        """
        if state.epoch != self.epoch:
            raise ChannelDesyncError(
                f"the provider speaks of epoch {state.epoch}, the channel is in {self.epoch}; refresh it"
            )
        claim = Voucher(self.network, self.address, self.epoch, state.signed)
        proven = state.signed > 0 and verify_voucher(self.client_key, claim, state.signature)
        mine = await self._run(
            lambda c: transactions.adopt_signed(c, self._id, state.signed, proven=proven)
        )
        return range(mine.seq + 1, state.seq + 1)

    async def reload(self) -> ChannelState:
        """Read the accounts again, as another process or the chain may have changed them."""
        return await self._run(lambda c: ledger.load_channel(c, self._id))

    async def _run(self, step: Callable[[Connection], ChannelState]) -> ChannelState:
        self._state = await self._database.run(step)
        return self._state

    def _voucher(self, state: ChannelState, request_id: bytes) -> messages.Voucher:
        """Sign what is durable now."""
        voucher = Voucher(state.network, state.address, state.epoch, state.signed)
        stream = state.stream(request_id)
        return messages.Voucher(
            epoch=state.epoch,
            cumulative=state.signed,
            signature=sign_voucher(self.signer, voucher),
            acked_due=stream.due if stream is not None else 0,
        )

    def _check_identity(self, receipt: Receipt, raw: bytes) -> None:
        if verify_receipt(raw, self.provider_key) != receipt:
            raise ReceiptMismatchError("the receipt's fields are not those of its signed bytes")
        expected = (self.client_key, self.network, self.address.hash, self.epoch)
        if (receipt.client, receipt.network, receipt.channel, receipt.epoch) != expected:
            raise ReceiptMismatchError(
                "the receipt is for another client, network, channel or epoch"
            )
