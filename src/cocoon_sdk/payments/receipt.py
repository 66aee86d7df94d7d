"""Receipts: 288 bytes of fields and the provider's signature end every request (payments.md §4).

Receipts never carry text: requests and answers appear as hashes only.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum

from cocoon_sdk.errors import ReceiptMismatchError
from cocoon_sdk.keys import DOMAIN_RECEIPT, SIGNATURE_BYTES, Signer, verify_signature
from cocoon_sdk.payments.amounts import MAX_NANO
from cocoon_sdk.payments.meter import Counts

VERSION = 1
RECEIPT_BYTES = 352
NO_CLIENT = bytes(32)
NO_CHANNEL = bytes(32)
_LAYOUT = struct.Struct("<BBBB32s32si32sQ16s16s32s32s32sIIIIQQQQ")
_REQUEST_LABEL = b"cocoon/1 req\0"
_RESPONSE_LABEL = b"cocoon/1 resp\0"


class FinishReason(IntEnum):
    """Why the answer ended. The first four are OpenAI's."""

    STOP = 0
    LENGTH = 1
    TOOL_CALLS = 2
    CONTENT_FILTER = 3
    CANCELLED = 4
    ERROR = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What was asked, delivered and charged. Amounts in nano, `time_ms` in unix milliseconds.

    Free requests without a channel have `client`, `channel`, `epoch`, `price`, `spent` and `seq` zero.
    """

    finish: FinishReason
    provider: bytes
    client: bytes
    network: int
    channel: bytes
    epoch: int
    session_id: bytes
    request_id: bytes
    request_hash: bytes
    response_hash: bytes
    model_hash: bytes
    counts: Counts
    price: int
    spent: int
    seq: int
    time_ms: int

    def pack(self) -> bytes:
        """The 288 bytes that are signed.

        Raises:
            ValueError: a field does not fit its place.
        """
        sized = (
            (32, (self.provider, self.client, self.channel)),
            (32, (self.request_hash, self.response_hash, self.model_hash)),
            (16, (self.session_id, self.request_id)),
        )
        for size, values in sized:
            if any(len(value) != size for value in values):
                raise ValueError(f"a receipt field is not {size} bytes long")
        try:
            return _LAYOUT.pack(
                VERSION, 0, self.finish, 0,
                self.provider, self.client, self.network, self.channel, self.epoch,
                self.session_id, self.request_id,
                self.request_hash, self.response_hash, self.model_hash,
                *self.counts,
                self.price, self.spent, self.seq, self.time_ms,
            )  # fmt: skip
        except struct.error as error:
            raise ValueError(f"a receipt number does not fit: {error}") from error


def sign_receipt(signer: Signer, receipt: Receipt) -> bytes:
    """The 352 bytes of a RECEIPT frame.

    Raises:
        ValueError: `signer` is not the provider that the receipt names, or a field does not fit.
    """
    if signer.public_key != receipt.provider:
        raise ValueError("a receipt is signed by the provider that it names")
    fields = receipt.pack()
    return fields + signer.sign(DOMAIN_RECEIPT + fields)


def parse_receipt(raw: bytes) -> Receipt:
    """The fields of a receipt; its signature is not checked here.

    Raises:
        ReceiptMismatchError: wrong length or version, unknown flags, or amounts that cannot be.
    """
    if len(raw) != RECEIPT_BYTES:
        raise ReceiptMismatchError(f"a receipt has {RECEIPT_BYTES} bytes, not {len(raw)}")
    version, flags, finish, zero, *rest = _LAYOUT.unpack(raw[: _LAYOUT.size])
    if version != VERSION or flags or zero:
        raise ReceiptMismatchError(
            f"receipt version {version}, flags {flags}: only version 1 is known"
        )
    try:
        reason = FinishReason(finish)
    except ValueError as error:
        raise ReceiptMismatchError(f"unknown finish reason {finish} in a receipt") from error
    provider, client, network, channel, epoch, session_id, request_id = rest[:7]
    request_hash, response_hash, model_hash = rest[7:10]
    counts = Counts(*rest[10:14])
    price, spent, seq, time_ms = rest[14:]
    if not price <= spent <= MAX_NANO:
        raise ReceiptMismatchError(f"a receipt with price {price} nano and spent {spent} nano")
    if max(seq, time_ms) > MAX_NANO:  # no ledger can hold it
        raise ReceiptMismatchError(f"a receipt with number {seq} and time {time_ms} ms")
    if counts.reasoning > counts.completion:
        raise ReceiptMismatchError(
            f"a receipt with {counts.reasoning} reasoning tokens among {counts.completion}"
        )
    return Receipt(
        finish=reason, provider=provider, client=client, network=network, channel=channel,
        epoch=epoch, session_id=session_id, request_id=request_id, request_hash=request_hash,
        response_hash=response_hash, model_hash=model_hash, counts=counts, price=price,
        spent=spent, seq=seq, time_ms=time_ms,
    )  # fmt: skip


def verify_receipt(raw: bytes, provider_key: bytes) -> Receipt:
    """The fields of a receipt that `provider_key` signed and that names it.

    Raises:
        ReceiptMismatchError: malformed, of another provider, or the signature is wrong.
    """
    receipt = parse_receipt(raw)
    if receipt.provider != provider_key:
        raise ReceiptMismatchError(
            f"the receipt names provider {receipt.provider.hex()}, not {provider_key.hex()}"
        )
    fields, signature = raw[:-SIGNATURE_BYTES], raw[-SIGNATURE_BYTES:]
    if not verify_signature(provider_key, DOMAIN_RECEIPT + fields, signature):
        raise ReceiptMismatchError(
            "the signature of the receipt is wrong; do not trust this provider"
        )
    return receipt


def request_hash(body: bytes) -> bytes:
    """BLAKE2b-256 over the REQUEST body as it travelled, unfragmented."""
    return hashlib.blake2b(_REQUEST_LABEL + body, digest_size=32).digest()


class ResponseHash:
    """The running hash over DELTA and RESULT bodies in order, unfragmented."""

    __slots__ = ("_hash",)

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(_RESPONSE_LABEL, digest_size=32)

    def update(self, ftype: int, body: bytes) -> None:
        """Take in one delivered frame body."""
        self._hash.update(struct.pack("<BI", ftype, len(body)))
        self._hash.update(body)

    def digest(self) -> bytes:
        """The hash of what was taken in so far; more may follow."""
        return self._hash.digest()
