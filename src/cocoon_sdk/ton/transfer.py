"""One message that a wallet is told to send, and one that it has signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cocoon_sdk.errors import ConfigError, TransactionFailedError
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Cell, cell_from_boc
from cocoon_sdk.ton.chain import TransactionInfo
from cocoon_sdk.ton.exit_codes import meaning
from cocoon_sdk.ton.fees import estimate
from cocoon_sdk.ton.message import internal_message, normalised_hash

DEFAULT_MODE = 3  # the wallet pays the fees; an action that cannot be carried out is skipped
IGNORE_ERRORS = 2
CARRY_BALANCE = 128  # the message takes along all that the wallet holds


@dataclass(frozen=True, slots=True)
class OutMessage:
    """One message that the wallet is to send.

    Attributes:
        value: nano.
        bounce: whether the value comes back where the destination fails.
        mode: the send mode; +2 is demanded by the wallet's code for signed external messages.
    """

    to: Address
    value: int
    body: Cell | None = None
    bounce: bool = True
    state_init: Cell | None = None
    mode: int = DEFAULT_MODE

    @property
    def carries_all(self) -> bool:
        """Whether it takes along the whole balance, whatever `value` says."""
        return bool(self.mode & CARRY_BALANCE)

    def cell(self) -> Cell:
        """The message as the wallet puts it into its actions."""
        return internal_message(
            self.to, self.value, bounce=self.bounce, body=self.body, init=self.state_init
        )

    def __post_init__(self) -> None:
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            raise ConfigError(f"an amount is a whole number of nano, got {self.value!r}")
        if not self.mode & IGNORE_ERRORS or not 0 <= self.mode <= 255:
            raise ConfigError(f"send mode {self.mode}: the wallet takes only modes with +2")


@dataclass(frozen=True, slots=True)
class SignedTransfer:
    """A message of the wallet that is signed: executed once, at `seqno`, before `valid_until`, or never.

    Attributes:
        boc: the external message as a bag of cells.
        valid_until: Unix seconds.
    """

    boc: bytes
    seqno: int
    valid_until: int

    @property
    def msg_hash(self) -> bytes:
        """The normalised hash by which its trace is found."""
        return normalised_hash(cell_from_boc(self.boc))


def failure(row: TransactionInfo) -> TransactionFailedError:
    """The error for a failed transaction, in words."""
    return TransactionFailedError(
        f"the transaction of {row.account} at {row.lt} failed (exit code {row.exit_code}: "
        f"{meaning(row.exit_code)}); fees are lost, values came back where they bounce",
        exit_code=row.exit_code,
    )


def fees_at_most(messages: Sequence[OutMessage]) -> int:
    """Nano that the wallet itself may need for sending these, beside their values."""
    return estimate(message.cell() for message in messages)
