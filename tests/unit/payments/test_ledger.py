"""Rows in and out: nothing is lost on the way, and one channel's rows are not another's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection

from cocoon_sdk.errors import StoreError
from cocoon_sdk.payments import ledger
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus, OpenStream
from cocoon_sdk.payments.meter import Counts, Price
from cocoon_sdk.store.database import Database
from cocoon_sdk.ton.address import Address
from tests.unit.payments.ledger_kit import STATE, open_ledger, receipt, request_id

MOST = 2**63 - 1
FULL = ChannelState(
    id=0,
    network=-239,
    address=Address(-1, b"\xfe" * 32),
    epoch=MOST,
    provider_key=b"\x80" * 32,
    client_key=b"\x81" * 32,
    salt=MOST,
    close_delay=604_800,
    client=Address(0, b"w" * 32),
    payout=Address(-1, b"p" * 32),
    status=ChannelStatus.CLOSING,
    created_at=1,
    deposit=MOST,
    balance=MOST - 1,
    redeemed=MOST - 2,
    close_at=2**32 - 1,
    seen_at=5,
    signed=MOST - 3,
    spent=MOST - 4,
    seq=MOST - 5,
)
STREAM = OpenStream(
    request_id=request_id(1),
    opened_at=7,
    price=Price(MOST, MOST - 1, MOST - 2),
    prompt_bound=11,
    max_tokens=12,
    window_tokens=13,
    counts=Counts(14, 15, 16),
    due=MOST - 3,
    window=MOST - 4,
    response_hash=b"r" * 32,
)


@pytest.fixture
def database(ledger_folder: Path) -> Iterator[Database]:
    with open_ledger(ledger_folder) as opened:
        yield opened


def add(database: Database, state: ChannelState = FULL) -> ChannelState:
    number = database.run_sync(lambda c: ledger.add_channel(c, state))
    return database.run_sync(lambda c: ledger.load_channel(c, number))


def other(number: int, **changes: object) -> ChannelState:
    return replace(STATE, address=Address(0, bytes([number]) * 32), **changes)


def test_every_field_of_a_channel_comes_back(database: Database) -> None:
    stored = add(database)
    assert stored == replace(FULL, id=stored.id)


def test_every_field_of_a_stream_comes_back(database: Database) -> None:
    state = add(database)
    database.run_sync(lambda c: ledger.put_stream(c, state.id, STREAM))
    assert database.run_sync(lambda c: ledger.load_channel(c, state.id)).streams == (STREAM,)
    bare = replace(STREAM, response_hash=None, counts=Counts())
    database.run_sync(lambda c: ledger.put_stream(c, state.id, bare))
    assert database.run_sync(lambda c: ledger.load_channel(c, state.id)).streams == (bare,)


def test_saving_changes_what_may_change(database: Database) -> None:
    state = add(database, other(1))
    fixed = {"network", "address", "provider_key", "client_key", "salt", "close_delay", "client"}
    changed = replace(
        FULL,
        id=state.id,
        **{name: getattr(state, name) for name in (*fixed, "payout", "created_at")},
    )
    database.run_sync(lambda c: ledger.save_channel(c, changed))
    assert database.run_sync(lambda c: ledger.load_channel(c, state.id)) == changed


def test_an_unknown_channel_is_said(database: Database) -> None:
    with pytest.raises(StoreError, match="no channel 99"):
        database.run_sync(lambda c: ledger.load_channel(c, 99))


def test_channels_keep_to_themselves(database: Database) -> None:
    one, two = add(database, other(1)), add(database, other(2))
    made = receipt(1, Counts(10), seq=1, spent=200)

    def fill(connection: Connection) -> None:
        for state in (one, two):
            ledger.put_stream(connection, state.id, STREAM)
            ledger.put_stream(connection, state.id, replace(STREAM, request_id=request_id(2)))
        ledger.add_receipt(connection, made, b"raw", channel_id=one.id)
        ledger.delete_stream(connection, one.id, request_id(1))
        ledger.delete_streams(connection, two.id)

    database.run_sync(fill)
    first, second = database.run_sync(ledger.all_channels)
    assert [stream.request_id for stream in first.streams] == [request_id(2)]
    assert (second.streams, second.pending) == ((), 0)
    assert first.pending == 200
    assert database.run_sync(lambda c: ledger.place_of(c, one.id, 1)) == (200, 200)
    assert database.run_sync(lambda c: ledger.place_of(c, two.id, 1)) is None
    database.run_sync(lambda c: ledger.chain_receipt(c, two.id, 1))
    assert database.run_sync(lambda c: ledger.load_channel(c, one.id)).pending == 200
    database.run_sync(lambda c: ledger.chain_receipt(c, one.id, 1))
    assert database.run_sync(lambda c: ledger.load_channel(c, one.id)).pending == 0


def test_a_receipt_is_found_by_its_provider_and_request(database: Database) -> None:
    made = receipt(1, Counts(10), seq=1, spent=200)
    database.run_sync(lambda c: ledger.add_receipt(c, made, b"raw", channel_id=None))

    def find(provider: bytes, number: int) -> bytes | None:
        return database.run_sync(lambda c: ledger.receipt_of(c, provider, request_id(number)))

    assert find(made.provider, 1) == b"raw"
    assert find(made.provider, 2) is None
    assert find(b"x" * 32, 1) is None


def test_the_newest_receipts_come_first(database: Database) -> None:
    for number, time in ((1, 50), (2, 70), (3, 60), (4, 70)):
        made = receipt(number, Counts(), seq=number, spent=0, time_ms=time)
        raw = f"raw {number}".encode()
        database.run_sync(lambda c, m=made, r=raw: ledger.add_receipt(c, m, r, channel_id=None))
    assert database.run_sync(lambda c: ledger.stored_receipts(c, limit=3)) == [
        *(b"raw 4", b"raw 2", b"raw 3"),
    ]


def test_no_salt_or_amount_is_cut_by_the_database(database: Database) -> None:
    """SQLite would turn a larger integer into a float in silence; it must be an error."""
    with pytest.raises((StoreError, OverflowError)):
        add(database, replace(FULL, salt=MOST + 1))
