"""The steps of a channel's accounts, each inside one exclusive transaction (payments.md §3 and §4).

Every step reads the channel as it is now, decides with the plain values of `accounting`, writes, and
returns the new state. If it raises, nothing of it is kept.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from cocoon_sdk.errors import (
    ChannelDesyncError,
    OverchargeError,
    PaymentError,
    ReceiptMismatchError,
)
from cocoon_sdk.payments import ledger
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus, OpenStream
from cocoon_sdk.payments.receipt import Receipt
from cocoon_sdk.protocol.messages import Meter


def open_stream(connection: Connection, channel_id: int, stream: OpenStream) -> ChannelState:
    """Add a stream and raise `signed` to cover its first window; a known stream is left as it is.

    Raises:
        InsufficientFundsError: the channel cannot cover the window.
        PaymentError: the channel is not open.
    """
    state = ledger.load_channel(connection, channel_id)
    if state.status is not ChannelStatus.OPEN:
        raise PaymentError(
            f"the channel {state.address.raw} is {state.status}; open another with this provider"
        )
    if state.stream(stream.request_id) is None:
        state = state.with_stream(stream)
        state.require_funds()
        ledger.put_stream(connection, channel_id, stream)
    return _raise_signed(connection, state, state.ceiling)


def take_meter(
    connection: Connection, channel_id: int, request_id: bytes, meter: Meter
) -> ChannelState:
    """Move a stream's due and window forward and raise `signed` to what the METER wants.

    Raises:
        OverchargeError: more than was agreed, asked for or granted.
        ChannelDesyncError: the request is not open.
    """
    state = ledger.load_channel(connection, channel_id)
    before = _known_stream(state, request_id)
    after = before.metered(meter)
    if after is not before:
        ledger.put_stream(connection, channel_id, after)
        state = state.with_stream(after)
    return _raise_signed(connection, state, meter.wanted)


def settle(connection: Connection, channel_id: int, receipt: Receipt, raw: bytes) -> ChannelState:
    """Replace an open stream by its receipt; the same receipt again changes nothing.

    Raises:
        OverchargeError: the price is not the agreed one, or beyond what was granted or signed.
        ReceiptMismatchError: its place in the chain is taken or cannot be.
        ChannelDesyncError: the request is not open.
    """
    state = ledger.load_channel(connection, channel_id)
    if _is_stored(connection, state, receipt, raw):
        return state
    _known_stream(state, receipt.request_id).check_receipt(receipt)
    _check_place(connection, state, receipt)
    ledger.delete_stream(connection, channel_id, receipt.request_id)
    ledger.add_receipt(connection, receipt, raw, channel_id=channel_id)
    return _chain(connection, channel_id)


def recover(connection: Connection, channel_id: int, receipt: Receipt, raw: bytes) -> ChannelState:
    """As `settle`, but a receipt of a request unknown here may use up credit.

    Raises:
        OverchargeError: also, an unknown request that costs more than the credit.
        ReceiptMismatchError: its place in the chain is taken or cannot be.
    """
    state = ledger.load_channel(connection, channel_id)
    if state.stream(receipt.request_id) is not None:
        return settle(connection, channel_id, receipt, raw)
    if _is_stored(connection, state, receipt, raw):
        return state
    _check_place(connection, state, receipt)
    if receipt.price > state.credit:
        raise OverchargeError(
            f"a receipt for a request unknown here asks {receipt.price} nano; "
            f"only {state.credit} nano were signed and not yet spent"
        )
    ledger.add_receipt(connection, receipt, raw, channel_id=channel_id)
    return _chain(connection, channel_id)


def refuse(connection: Connection, channel_id: int, request_id: bytes) -> ChannelState:
    """Forget a stream that was never billed; what was signed for it stays credit."""
    ledger.delete_stream(connection, channel_id, request_id)
    return ledger.load_channel(connection, channel_id)


def adopt_signed(
    connection: Connection, channel_id: int, signed: int, *, proven: bool
) -> ChannelState:
    """Take over a higher `signed` that our own signature proves.

    Raises:
        ChannelDesyncError: a higher claim without proof.
    """
    state = ledger.load_channel(connection, channel_id)
    if signed <= state.signed:
        return state
    if not proven:
        raise ChannelDesyncError(
            f"the provider claims {signed} nano signed, without our signature; "
            f"the ledger says {state.signed}"
        )
    state = replace(state, signed=signed)
    ledger.save_channel(connection, state)
    return state


def _raise_signed(connection: Connection, state: ChannelState, wanted: int) -> ChannelState:
    after = state.sign_up_to(wanted)
    if after.signed > state.signed:
        ledger.save_channel(connection, after)
    return after


def _known_stream(state: ChannelState, request_id: bytes) -> OpenStream:
    stream = state.stream(request_id)
    if stream is None:
        raise ChannelDesyncError(
            f"request {request_id.hex()} is not open in the channel {state.address.raw}"
        )
    return stream


def _is_stored(connection: Connection, state: ChannelState, receipt: Receipt, raw: bytes) -> bool:
    stored = ledger.receipt_of(connection, state.provider_key, receipt.request_id)
    if stored not in {None, raw}:
        raise ReceiptMismatchError("the provider signed two different receipts for one request")
    return stored is not None


def _check_place(connection: Connection, state: ChannelState, receipt: Receipt) -> None:
    taken = ledger.place_of(connection, state.id, receipt.seq) is not None
    if receipt.seq <= state.seq or taken:
        raise ReceiptMismatchError(f"the provider used the receipt number {receipt.seq} twice")
    if receipt.spent < state.spent + receipt.price:
        raise ReceiptMismatchError(
            f"receipt {receipt.seq} says {receipt.spent} nano spent, less than the "
            f"{state.spent} before it and its own price"
        )
    # The provider never works beyond `signed` (payments.md §3), so no total can lie above it.
    if receipt.spent > state.signed:
        raise OverchargeError(
            f"receipt {receipt.seq} says {receipt.spent} nano spent; only {state.signed} were signed"
        )


def _chain(connection: Connection, channel_id: int) -> ChannelState:
    """Count the stored receipts that now follow without a gap: spent(seq) = spent(seq − 1) + price."""
    state = ledger.load_channel(connection, channel_id)
    seq, spent = state.seq, state.spent
    while (place := ledger.place_of(connection, channel_id, seq + 1)) is not None:
        price, total = place
        if total != spent + price:
            raise ReceiptMismatchError(
                f"receipt {seq + 1} says {total} nano spent; {spent} before it and its price of "
                f"{price} make {spent + price}"
            )
        seq, spent = seq + 1, total
        ledger.chain_receipt(connection, channel_id, seq)
    if seq == state.seq:
        return state
    ledger.save_channel(connection, replace(state, seq=seq, spent=spent))
    return ledger.load_channel(connection, channel_id)
