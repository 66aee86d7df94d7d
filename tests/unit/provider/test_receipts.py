"""The fields of a receipt: each from its own place (payments.md §4)."""

from __future__ import annotations

from cocoon_provider.receipts import receipt_for
from cocoon_sdk.payments.meter import Counts
from cocoon_sdk.payments.receipt import FinishReason, Receipt, verify_receipt
from cocoon_sdk.ton.chain import DEVNET_NETWORK
from tests.unit.provider.books import ADDRESS, CLIENT, EPOCH, IDENTITY, KEY


def test_every_field_is_in_its_place() -> None:
    row = {
        "session_id": b"s" * 16,
        "request_id": b"r" * 16,
        "request_hash": b"q" * 32,
        "response_hash": b"a" * 32,
        "model_hash": b"m" * 32,
        "prompt": 1,
        "cached": 2,
        "completion": 30,
        "reasoning": 4,
    }
    raw = receipt_for(
        IDENTITY, DEVNET_NETWORK, KEY, CLIENT.public_key, row, FinishReason.LENGTH,
        price=5, spent=6, seq=7, now=1.2345,
    )  # fmt: skip
    assert len(raw) == 352
    assert verify_receipt(raw, IDENTITY.public_key) == Receipt(
        finish=FinishReason.LENGTH,
        provider=IDENTITY.public_key,
        client=CLIENT.public_key,
        network=DEVNET_NETWORK,
        channel=ADDRESS.hash,
        epoch=EPOCH,
        session_id=b"s" * 16,
        request_id=b"r" * 16,
        request_hash=b"q" * 32,
        response_hash=b"a" * 32,
        model_hash=b"m" * 32,
        counts=Counts(1, 2, 30, 4),
        price=5,
        spent=6,
        seq=7,
        time_ms=1234,
    )
