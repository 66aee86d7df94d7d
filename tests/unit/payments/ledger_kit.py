"""An open channel in a ledger, and an honest or lying provider's words, for the tests of accounting."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from postgres_fixtures import database_url

from cocoon_sdk.keys import Ed25519Key, derive_channel_key
from cocoon_sdk.payments import ledger
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus
from cocoon_sdk.payments.channel import PaymentChannel
from cocoon_sdk.payments.meter import Counts, Price, cost
from cocoon_sdk.payments.receipt import FinishReason, Receipt, sign_receipt
from cocoon_sdk.payments.tables import CLIENT_MIGRATIONS
from cocoon_sdk.payments.voucher import Voucher, verify_voucher
from cocoon_sdk.protocol import messages
from cocoon_sdk.store.database import Database
from cocoon_sdk.ton.address import Address

MASTER = Ed25519Key(bytes([7]) * 32)
PROVIDER = Ed25519Key(bytes([8]) * 32)
NETWORK = -217
SALT = 12345
CLIENT = derive_channel_key(
    MASTER.seed, network=NETWORK, provider_key=PROVIDER.public_key, salt=SALT
)
PRICE = Price(
    prompt=20_000_000, cached=2_000_000, completion=100_000_000
)  # 20, 2, 100 nano a token
BALANCE = 200_000_000

STATE = ChannelState(
    id=0,
    network=NETWORK,
    address=Address(0, b"h" * 32),
    epoch=42,
    provider_key=PROVIDER.public_key,
    client_key=CLIENT.public_key,
    salt=SALT,
    close_delay=3600,
    client=Address(0, b"w" * 32),
    payout=Address(0, b"p" * 32),
    status=ChannelStatus.OPEN,
    created_at=1000,
    deposit=BALANCE,
    balance=BALANCE,
    redeemed=0,
    close_at=0,
    seen_at=1000,
    signed=0,
    spent=0,
    seq=0,
)


def open_ledger(folder: Path) -> Database:
    """The ledger of a test's folder; opening it again is another process, or a restart."""
    return Database(database_url(folder, "client.sqlite"), migrations=CLIENT_MIGRATIONS)


def add_channel(database: Database, state: ChannelState = STATE) -> PaymentChannel:
    number = database.run_sync(lambda c: ledger.add_channel(c, state))
    return channel_of(database, number)


def channel_of(database: Database, number: int) -> PaymentChannel:
    state = database.run_sync(lambda c: ledger.load_channel(c, number))
    return PaymentChannel(database, state, CLIENT, clock=lambda: 2000)


def request_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


def meter(counts: Counts, wanted: int = 2**62, due: int | None = None) -> messages.Meter:
    return messages.Meter(
        counts.prompt,
        counts.cached,
        counts.completion,
        b"r" * 32,
        cost(counts, PRICE) if due is None else due,
        wanted,
    )


def receipt(number: int, counts: Counts, seq: int, spent: int, **changes: object) -> Receipt:
    made = Receipt(
        finish=FinishReason.STOP,
        provider=PROVIDER.public_key,
        client=CLIENT.public_key,
        network=NETWORK,
        channel=STATE.address.hash,
        epoch=STATE.epoch,
        session_id=b"s" * 16,
        request_id=request_id(number),
        request_hash=b"q" * 32,
        response_hash=b"a" * 32,
        model_hash=b"m" * 32,
        counts=counts,
        price=cost(counts, PRICE),
        spent=spent,
        seq=seq,
        time_ms=seq,
    )
    return dataclasses.replace(made, **changes)


async def settle(channel: PaymentChannel, made: Receipt) -> None:
    await channel.settle(made.request_id, made, sign_receipt(PROVIDER, made))


def is_signed(voucher: messages.Voucher) -> bool:
    fields = Voucher(NETWORK, STATE.address, voucher.epoch, voucher.cumulative)
    return verify_voucher(CLIENT.public_key, fields, voucher.signature)
