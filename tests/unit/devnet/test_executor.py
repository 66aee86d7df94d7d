"""The executor as a function: same in, same out; configuration reaches the contracts."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from cocoon_sdk.devnet.blockchain_config import FEES_2024, FEES_2026, blockchain_config
from cocoon_sdk.devnet.executor import FIRST_LT, Executor, MessageRefusedError
from cocoon_sdk.devnet.records import empty_account, read_account, read_transaction
from cocoon_sdk.errors import ChainDataError, ConfigError
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Builder, Cell, cell_to_boc
from cocoon_sdk.ton.contract.channel import (
    ChannelTerms,
    channel_address,
    deposit_body,
    parse_channel_data,
    state_init,
)
from cocoon_sdk.ton.message import external_message

CLIENT = Address(0, b"\x01" * 32)
PROVIDER = Address(0, b"\x02" * 32)
NOW = 1_790_000_000


def opening(salt: int = 1, value: int = 10**9) -> Cell:
    """The message that deploys and opens a channel."""
    terms = ChannelTerms(b"\x03" * 32, b"\x04" * 32, 3600, salt)
    return (
        Builder()
        .store_uint(0b0110, 4)
        .store_address(CLIENT)
        .store_address(channel_address(terms, CLIENT, PROVIDER))
        .store_coins(value)
        .store_bool(False)
        .store_coins(0)
        .store_coins(0)
        .store_uint(1, 64)
        .store_uint(NOW, 32)
        .store_uint(0b11, 2)
        .store_ref(state_init(terms, CLIENT, PROVIDER))
        .store_bool(True)
        .store_ref(deposit_body())
        .end_cell()
    )


@pytest.fixture(scope="module")
def executor() -> Executor:
    return Executor(blockchain_config(-217))


def test_a_transaction_and_the_account_after_it(executor: Executor) -> None:
    result = executor.execute(empty_account(), opening(), now=NOW, lt=FIRST_LT)
    transaction, account = read_transaction(result.transaction), read_account(result.account)
    assert transaction.success
    assert (transaction.lt, transaction.now) == (FIRST_LT, NOW)
    assert account.status == "active"
    assert account.balance == 10**9 - transaction.total_fees
    assert account.last_lt == FIRST_LT
    assert account.last_hash == result.transaction.hash
    assert account.data is not None
    assert parse_channel_data(cell_to_boc(account.data)).epoch == FIRST_LT


def test_the_same_in_gives_the_same_out(executor: Executor) -> None:
    one, other = (
        ex.execute(empty_account(), opening(), now=NOW, lt=FIRST_LT)
        for ex in (executor, Executor(blockchain_config(-217)))
    )
    assert one == other


def test_threads_do_not_disturb_each_other(executor: Executor) -> None:
    def run(salt: int) -> bytes:
        result = executor.execute(empty_account(), opening(salt), now=NOW, lt=FIRST_LT + salt)
        return result.transaction.hash

    alone = [run(salt) for salt in range(40)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(40))) == alone


def test_fees_come_from_the_configuration() -> None:
    def fees(config: Cell) -> int:
        result = Executor(config).execute(empty_account(), opening(), now=NOW, lt=FIRST_LT)
        return read_transaction(result.transaction).gas_fee

    new = fees(blockchain_config(-217, fees=FEES_2026))
    old = fees(blockchain_config(-217, fees=FEES_2024))
    assert abs(old - 6 * new) <= 6 * 2  # each rounds up
    assert fees(blockchain_config(-217, fees=FEES_2024.times(10))) == 10 * old


def test_external_messages_to_nobody_are_refused(executor: Executor) -> None:
    message = external_message(CLIENT, deposit_body())
    with pytest.raises(MessageRefusedError) as error:
        executor.execute(empty_account(), message, now=NOW, lt=FIRST_LT)
    assert error.value.exit_code is None


def test_old_logical_times_are_refused(executor: Executor) -> None:
    with pytest.raises(ConfigError):
        executor.execute(empty_account(), opening(), now=NOW, lt=FIRST_LT - 1)


def test_without_tonpy_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tonpy.libs", None)
    with pytest.raises(ConfigError, match=r"cocoon-sdk\[devnet\]"):
        Executor(blockchain_config(-217))


def test_what_is_no_message_is_an_error(executor: Executor) -> None:
    for account, message in (
        (empty_account(), Builder().end_cell()),
        (Builder().end_cell(), opening()),
    ):
        with pytest.raises(ChainDataError):
            executor.execute(account, message, now=NOW, lt=FIRST_LT)
    executor.execute(empty_account(), opening(), now=NOW, lt=FIRST_LT)  # it still works
