"""What this package needs of a TON network: account states, sending, and traces (payments.md §2).

There are no get-methods: contract data is read as a cell and parsed here, so that what a state says
can be checked against its hash. Every state is one that a masterchain block has confirmed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from cocoon_sdk.ton.address import Address

MAINNET = -239
TESTNET = -3
DEVNET_NETWORK = -217  # of its own, so that nothing signed on a devnet means anything elsewhere

AccountStatus = Literal["active", "uninit", "frozen", "nonexist"]


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account as of one masterchain block.

    Attributes:
        balance: nano.
        code_hash: of the code cell, 32 bytes; None unless active.
        data: the data cell as a bag of cells; None unless active.
        last_lt: logical time of its newest transaction, 0 where it never had one.
        block_seqno: of the masterchain block that confirms this state.
        block_time: Unix seconds of that block.
    """

    address: Address
    balance: int
    status: AccountStatus
    code_hash: bytes | None
    data: bytes | None
    last_lt: int
    block_seqno: int
    block_time: int


@dataclass(frozen=True, slots=True)
class TransactionInfo:
    """One transaction of a trace.

    Attributes:
        now: Unix seconds.
        success: it ran and carried out every action, or had no code to run and kept the value.
        exit_code: the TVM's, or the action phase's where that failed; None where nothing ran.
        fees: nano, what the transaction itself paid.
        in_value: nano that came with the message, 0 for an external one.
        in_opcode: the first 32 bits of the body, if it has as many.
    """

    account: Address
    lt: int
    now: int
    success: bool
    exit_code: int | None
    fees: int
    in_value: int
    in_opcode: int | None


class ChainClient(Protocol):
    """Access to one TON network. All methods may raise ChainUnavailableError or ChainDataError."""

    @property
    def network(self) -> int:
        """The global id: -239 mainnet, -3 testnet, -217 a devnet."""
        ...

    async def get_account(self, address: Address) -> AccountState:
        """The newest masterchain-confirmed state of one account."""
        ...

    async def send_boc(self, boc: bytes) -> bytes:
        """Hand in an external message; returns its normalised hash. Repeating it is harmless.

        Raises:
            TransactionFailedError: the contract refused the message; nothing was executed.
            ChainUnavailableError: it is unknown whether the message was taken.
        """
        ...

    async def wait_message(
        self,
        msg_hash: bytes,
        *,
        timeout: float = 60.0,  # noqa: ASYNC109 - unlike a cancellation it raises our own error
    ) -> tuple[TransactionInfo, ...]:
        """Wait until everything that an external message set off is confirmed.

        First comes its own transaction, then the others in order of logical time. Failed ones are
        returned, not raised.

        Raises:
            ChainUnavailableError: `timeout` seconds passed first.
        """
        ...

    async def time(self) -> int:
        """Unix seconds of the newest masterchain block."""
        ...

    async def aclose(self) -> None:
        """Release connections."""
        ...
