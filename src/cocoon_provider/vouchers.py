"""Taking vouchers: the checks of payments.md §3 "Provider, per voucher", each with its own refusal.

A voucher arrives as fields; the cell is rebuilt from them, never parsed from the peer.
"""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping, update

from cocoon_provider.refusals import Refusal
from cocoon_provider.tables import AUTHORISED, ChannelKey, channels, of_channel
from cocoon_sdk.errors import WireCode
from cocoon_sdk.payments.voucher import Voucher, redeemable_limit, verify_voucher
from cocoon_sdk.protocol import messages
from cocoon_sdk.ton.address import Address


def check_signature(
    voucher: messages.Voucher, *, network: int, address: str, client_key: bytes
) -> None:
    """Rebuild the cell and verify the client's signature over it.

    Raises:
        Refusal: `voucher_rejected`: amount out of range or a wrong signature.
    """
    fields = Voucher(network, Address.parse(address), voucher.epoch, voucher.cumulative)
    if not verify_voucher(client_key, fields, voucher.signature):
        raise Refusal(
            WireCode.VOUCHER_REJECTED,
            "the voucher's signature does not verify; it must be made by the channel's key over "
            "this network, channel, epoch and amount",
        )


def check_state(voucher: messages.Voucher, channel: RowMapping) -> None:
    """The checks against the channel's row, which the caller has locked.

    Raises:
        Refusal: `epoch_mismatch`, `channel_closing` or `insufficient_funds` with the shortfall.
    """
    check_epoch(voucher.epoch, channel)
    if channel["close_at"] or channel["gone"]:
        raise Refusal(
            WireCode.CHANNEL_CLOSING,
            "the channel is being closed on chain; cancel the close or open another channel",
        )
    if channel["closing"] == AUTHORISED:
        raise Refusal(
            WireCode.CHANNEL_CLOSING,
            "a cooperative close of this channel was signed; open another channel",
        )
    ceiling = redeemable_limit(balance=channel["balance"], redeemed=channel["redeemed"])
    if voucher.cumulative > ceiling:
        raise Refusal(
            WireCode.INSUFFICIENT_FUNDS,
            f"the voucher says {voucher.cumulative} nano, the channel can pay {ceiling}; "
            "top it up and wait for the confirmation",
            required=voucher.cumulative,
            accepted=channel["signed"],
            available=ceiling,
        )


def check_epoch(epoch: int, channel: RowMapping) -> None:
    """Vouchers of another life of the channel are void.

    Raises:
        Refusal: `epoch_mismatch`.
    """
    if epoch != channel["epoch"]:
        raise Refusal(
            WireCode.EPOCH_MISMATCH,
            f"the voucher is for epoch {epoch}, the channel is in epoch {channel['epoch']}; "
            "read the channel from the chain",
        )


def store_voucher(
    connection: Connection,
    key: ChannelKey,
    channel: RowMapping,
    voucher: messages.Voucher | None,
) -> int:
    """Keep the voucher if it is the highest; the highest amount after it.

    Connections overtake each other, so a lower one is no error and changes nothing.
    """
    signed = int(channel["signed"])
    if voucher is None:
        return signed
    check_epoch(voucher.epoch, channel)
    if voucher.cumulative <= signed:
        return signed
    check_state(voucher, channel)
    connection.execute(
        update(channels)
        .where(of_channel(channels, key))
        .values(signed=voucher.cumulative, signature=voucher.signature)
    )
    return voucher.cumulative
