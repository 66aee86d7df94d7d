"""The network's own transaction executor (C++, through tonpy) as a function.

An account and a message go in; a new account and a transaction come out. Nothing is kept between
calls but the emulator, one for each thread that calls.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from dataclasses import dataclass
from typing import Any

from cocoon_sdk.errors import ChainDataError, ConfigError
from cocoon_sdk.ton.cells import Cell, cell_from_boc, cell_to_boc

_EXIT_CODE = re.compile(r"terminating vm with exit code (-?\d+)")

FIRST_LT = 3_709_412_000_001
"""The lowest logical time: below it tonpy applies the rules of years ago."""


@dataclass(frozen=True, slots=True)
class TransactionResult:
    """What one message did to one account.

    Attributes:
        account: the account's new `ShardAccount` cell.
        transaction: the transaction; `records.read_transaction` reads it.
    """

    account: Cell
    transaction: Cell


class MessageRefusedError(Exception):
    """An external message was not accepted: the account is unchanged, no transaction exists.

    `exit_code` is the TVM's, where the account had code to run.
    """

    def __init__(self, detail: str, exit_code: int | None) -> None:
        super().__init__(detail)
        self.exit_code = exit_code


class Executor:
    """Runs transactions under one blockchain configuration (see blockchain_config.py)."""

    def __init__(self, config: Cell) -> None:
        """Set up; the emulators are made on first use in each thread.

        Raises:
            ConfigError: tonpy is not installed, or not available for this platform.
        """
        try:
            from tonpy.libs import python_ton
        except ImportError as error:
            raise ConfigError(
                "the devnet needs tonpy: pip install 'cocoon-sdk[devnet]' on Python 3.11-3.13 "
                "(there is no build for Linux on arm64)"
            ) from error
        self._ton: Any = python_ton
        self._config = cell_to_boc(config)
        self._local = threading.local()

    def execute(self, account: Cell, message: Cell, *, now: int, lt: int) -> TransactionResult:
        """Deliver `message`, internal or external, to the account at Unix time `now`.

        Args:
            account: the `ShardAccount` cell; `records.empty_account()` for a fresh address.
            message: the inbound message, complete with source, value, times and fees.
            now: Unix seconds; the rent since the account's last transaction is charged.
            lt: logical time of the transaction, at least FIRST_LT and above the account's last.

        Raises:
            MessageRefusedError: an external message was not accepted.
            ConfigError: `lt` is too low.
            ChainDataError: the account or message is not one that the network could carry.
        """
        if lt < FIRST_LT:
            raise ConfigError(f"logical time {lt} is below {FIRST_LT}")
        emulator = self._emulator()
        # Contracts that use randomness see the same on every run of the same transaction.
        emulator.set_rand_seed(
            hashlib.sha256(account.hash + message.hash + lt.to_bytes(8, "big")).hexdigest().upper()
        )
        try:
            done = emulator.emulate_transaction(
                self._native(account), self._native(message), str(now), str(lt), 1, False
            )
        except RuntimeError as error:
            if "external message rejected" in str(error):  # no code, or no money, to accept it
                raise MessageRefusedError(
                    "the account cannot accept external messages", None
                ) from error
            raise ChainDataError(f"the executor cannot run this message: {error}") from error
        if not done:
            code = _EXIT_CODE.search(emulator.vm_log)
            raise MessageRefusedError(
                "the account did not accept the external message",
                None if code is None else int(code[1]),
            )
        return TransactionResult(
            account=self._cell(emulator.account_cell),
            transaction=self._cell(emulator.transaction_cell),
        )

    def _emulator(self) -> Any:
        """This thread's emulator; tonpy's are not to be shared."""
        emulator = getattr(self._local, "emulator", None)
        if emulator is None:
            config = self._ton.parse_string_to_cell(base64.b64encode(self._config).decode("ascii"))
            emulator = self._ton.PyEmulator(config)
            self._local.emulator = emulator
        return emulator

    def _native(self, cell: Cell) -> Any:
        return self._ton.parse_string_to_cell(base64.b64encode(cell_to_boc(cell)).decode("ascii"))

    @staticmethod
    def _cell(native: Any) -> Cell:
        if native.is_null():
            raise ChainDataError("the executor returned no cell")
        return cell_from_boc(base64.b64decode(native.to_boc()))
