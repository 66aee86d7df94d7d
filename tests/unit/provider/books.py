"""A channel book on a fresh database, one registered channel, vouchers of its client."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from postgres_fixtures import database_url

from cocoon_provider.book import MIGRATIONS, ChannelBook
from cocoon_provider.opening import Ended, Opening
from cocoon_provider.registration import ChannelFacts
from cocoon_provider.tables import ChannelKey
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.payments.meter import Counts, Price, window_cost
from cocoon_sdk.payments.voucher import Voucher, sign_voucher
from cocoon_sdk.protocol import messages
from cocoon_sdk.store.database import Database
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import DEVNET_NETWORK

IDENTITY = Ed25519Key(b"\x01" * 32)
CLIENT = Ed25519Key(b"\x02" * 32)
ADDRESS = Address(0, b"\x03" * 32)
EPOCH = 77
KEY = ChannelKey(ADDRESS.raw, EPOCH)
PRICE = Price(1_000_000, 500_000, 2_000_000)  # 1, ½ and 2 nano a token
FUNDS = 1_000_000_000
NOW = 1_800_000_000

FACTS = ChannelFacts(
    key=KEY,
    client_key=CLIENT.public_key,
    close_delay=86_400,
    balance=FUNDS,
    redeemed=0,
    close_at=0,
    checked_at=NOW,
)


class Clock:
    """Unix seconds that a test moves."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


def open_book(
    folder: Path, *, clock: Callable[[], float] | None = None, instance: str = "main"
) -> ChannelBook:
    """The book in `folder`; opening it again is a restart, or another front end."""
    database = Database(database_url(folder, "book.sqlite"), migrations=MIGRATIONS)
    return ChannelBook(
        database,
        identity=IDENTITY,
        network=DEVNET_NETWORK,
        clock=clock or (lambda: float(NOW)),
        instance=instance,
    )


def voucher(
    cumulative: int,
    *,
    acked: int = 0,
    epoch: int = EPOCH,
    key: Ed25519Key = CLIENT,
    network: int = DEVNET_NETWORK,
    address: Address = ADDRESS,
) -> messages.Voucher:
    """A voucher of the channel's client, or one with something wrong."""
    fields = Voucher(network, address, epoch, cumulative)
    return messages.Voucher(epoch, cumulative, sign_voucher(key, fields), acked)


def opening(
    *,
    prompt: int = 100,
    max_tokens: int = 1_000,
    price: Price = PRICE,
    request_id: bytes | None = None,
    request_hash: bytes = b"q" * 32,
) -> Opening:
    """A stream's start with the window that the rules give it."""
    return Opening(
        request_id=request_id or secrets.token_bytes(16),
        request_hash=request_hash,
        session_id=b"s" * 16,
        model_hash=b"m" * 32,
        price=price,
        window=window_cost(price, Counts(), prompt_total=prompt, max_tokens=max_tokens),
        first=Counts(prompt=min(2_048, prompt)),
        response_hash=b"0" * 32,
    )


async def start(book: ChannelBook, begin: Opening, paid: messages.Voucher | None) -> Ended | None:
    """Open a stream on the channel."""
    return await book.open_stream(KEY, begin, paid, CLIENT.public_key)


async def pay(
    book: ChannelBook, begin: Opening, paid: messages.Voucher, window_end: int = 0
) -> None:
    """Hand in a voucher on a stream."""
    await book.take_voucher(KEY, begin.request_id, paid, CLIENT.public_key, window_end)


def closing(at: int = NOW + 86_400) -> ChannelFacts:
    """The channel after its client asked to close it."""
    return replace(FACTS, close_at=at)
