"""Signing receipts (payments.md §4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cocoon_provider.tables import ChannelKey
from cocoon_sdk.keys import Signer
from cocoon_sdk.payments.meter import Counts
from cocoon_sdk.payments.receipt import FinishReason, Receipt, sign_receipt
from cocoon_sdk.ton.address import Address


def receipt_for(
    identity: Signer,
    network: int,
    key: ChannelKey,
    client_key: bytes,
    row: Mapping[str, Any],
    reason: FinishReason,
    *,
    price: int,
    spent: int,
    seq: int,
    now: float,
) -> bytes:
    """Sign the receipt that ends a stream of a channel. `now` is in unix seconds."""
    return sign_receipt(
        identity,
        Receipt(
            finish=reason,
            provider=identity.public_key,
            client=client_key,
            network=network,
            channel=Address.parse(key.address).hash,
            epoch=key.epoch,
            session_id=row["session_id"],
            request_id=row["request_id"],
            request_hash=row["request_hash"],
            response_hash=row["response_hash"],
            model_hash=row["model_hash"],
            counts=Counts(row["prompt"], row["cached"], row["completion"], row["reasoning"]),
            price=price,
            spent=spent,
            seq=seq,
            time_ms=int(now * 1000),
        ),
    )
