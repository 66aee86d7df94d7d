"""The devnet's file: one owner, versions, all or nothing."""

from __future__ import annotations

import sqlite3

import pytest

from cocoon_sdk.devnet.storage import Queued, Storage
from cocoon_sdk.errors import StoreError
from cocoon_sdk.ton.address import Address

ACCOUNT = Address(0, b"\x01" * 32)


def test_block_is_all_or_nothing(tmp_path):
    storage = Storage(tmp_path / "a.sqlite")
    with storage.block():
        storage.put_account(ACCOUNT, b"one")
    with pytest.raises(KeyError), storage.block():
        storage.put_account(ACCOUNT, b"two")
        storage.enqueue(Queued(5, b"t", b"m"))
        storage.set("fees", 7)
        raise KeyError
    assert storage.account(ACCOUNT) == b"one"
    assert storage.queued() == 0
    assert storage.get("fees") == 0
    storage.close()


def test_state_survives_reopening(tmp_path):
    storage = Storage(tmp_path / "deep" / "a.sqlite")
    with storage.block():
        storage.put_account(ACCOUNT, b"one")
        storage.enqueue(Queued(9, b"t", b"late"))
        storage.enqueue(Queued(5, b"t", b"early"))
    storage.close()
    storage = Storage(tmp_path / "deep" / "a.sqlite")
    assert list(storage.accounts()) == [(ACCOUNT, b"one")]
    assert storage.next_queued() == Queued(5, b"t", b"early")
    storage.dequeue(5)
    assert storage.queued(b"t") == 1
    assert storage.queued(b"other") == 0
    storage.close()


def test_second_owner_is_refused(tmp_path):
    storage = Storage(tmp_path / "a.sqlite")
    with pytest.raises(StoreError, match="another devnet"):
        Storage(tmp_path / "a.sqlite")
    storage.close()


def test_newer_file_is_refused(tmp_path):
    file = tmp_path / "a.sqlite"
    Storage(file).close()
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="another version"):
        Storage(file)
