"""A TON network of one process: accounts, messages delivered in order, blocks, fees.

An external message is executed at once; the internal messages it sets off are delivered in order of
logical time until none is left. Everything is final when a call returns, so each state is that of a
masterchain block, whose number grows with time (one a second) and with work.
"""

from __future__ import annotations

from dataclasses import dataclass

from cocoon_sdk.devnet.clock import Clock
from cocoon_sdk.devnet.executor import FIRST_LT, Executor
from cocoon_sdk.devnet.records import (
    Account,
    Transaction,
    empty_account,
    read_account,
    read_message,
    read_transaction,
)
from cocoon_sdk.devnet.storage import Queued, Storage, StoredTransaction
from cocoon_sdk.errors import ChainDataError, ConfigError, StoreError
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Builder, Cell, cell_from_boc, cell_to_boc
from cocoon_sdk.ton.message import normalised_hash, split_external

FAUCET = Address(-1, b"\x66" * 32)  # where faucet money comes from; it has no state
MAX_FAUCET = 10**16  # ten million coins at a time
LT_STEP = 1_000_000
MAX_PER_BLOCK = 256
MAX_BLOCKS = 64  # per call; what is left then continues with the next call


@dataclass(frozen=True, slots=True)
class Block:
    """The newest masterchain block."""

    seqno: int
    time: int
    lt: int


class DevNetwork:
    """The network's state and its rules. Used by one thread only."""

    def __init__(self, network: int, storage: Storage, executor: Executor) -> None:
        """Continue what the storage holds, or start anew.

        Raises:
            StoreError: the storage is of another network.
        """
        self.network = network
        self._storage = storage
        self._executor = executor
        stored = storage.get("network", network)
        if stored != network:
            raise StoreError(f"the devnet's file is of network {stored}, not {network}")
        self._clock = Clock(offset=storage.get("offset"), floor=storage.get("time"))
        if not storage.get("genesis"):
            with storage.block():
                storage.set("network", network)
                storage.set("genesis", self._clock.now() - 1)
                storage.set("lt", FIRST_LT)
        self._genesis = storage.get("genesis")
        self._shown = 0  # the highest block number that anyone has seen
        self._deliver_rest()

    def close(self) -> None:
        """Close the storage."""
        self._storage.close()

    def block(self) -> Block:
        """The newest masterchain block; without traffic there is one a second."""
        now = self._clock.now()
        self._shown = max(self._storage.get("seqno"), now - self._genesis, self._shown)
        return Block(self._shown, now, self._storage.get("lt"))

    def account(self, address: Address) -> Account:
        """The state of one account."""
        return read_account(self._shard_account(address))

    def submit(self, boc: bytes) -> Cell:
        """Execute an external message and everything that follows from it; returns the message.

        Raises:
            MessageRefusedError: the contract did not accept it.
            ChainDataError: not an external message.
        """
        cell = cell_from_boc(boc)
        split_external(cell)
        with self._storage.block():
            seqno, now = self._open_block()
            root = self._apply(cell, None, seqno, now)
            self._storage.name_message(normalised_hash(cell), root)
            self._deliver(seqno, now, MAX_PER_BLOCK - 1)
        self._deliver_rest()
        return cell

    def faucet(self, address: Address, amount: int) -> int:
        """Send new money to an address; returns its balance afterwards.

        Raises:
            ConfigError: an amount outside 1 … `MAX_FAUCET`.
        """
        if not 1 <= amount <= MAX_FAUCET:
            raise ConfigError(f"the faucet gives 1 to {MAX_FAUCET} nano at a time, got {amount}")
        with self._storage.block():
            seqno, now = self._open_block()
            message = _faucet_message(address, amount, self._take_lt(), now)
            self._storage.set("minted", self._storage.get("minted") + amount)
            self._apply(message, None, seqno, now)
            self._deliver(seqno, now, MAX_PER_BLOCK - 1)
        self._deliver_rest()
        return self.account(address).balance

    def advance(self, seconds: int) -> Block:
        """Move the clock forward."""
        self._clock.advance(seconds)
        with self._storage.block():
            self._storage.set("offset", self._clock.offset)
            self._open_block()
        return self.block()

    def trace_of(self, message_hash: bytes) -> tuple[list[StoredTransaction], int] | None:
        """The trace of a message in logical time, and how many of its messages are on their way.

        None where the message is not known.
        """
        trace = self._storage.trace_of(message_hash)
        if trace is None:
            return None
        return self._storage.trace_transactions(trace), self._storage.queued(trace)

    def transactions(self, address: Address, limit: int) -> list[StoredTransaction]:
        """The newest transactions of an account, newest first."""
        return self._storage.account_transactions(address, limit)

    def totals(self) -> dict[str, int]:
        """All money in nano: what the faucet made is what accounts and fees hold."""
        balances = [read_account(cell_from_boc(boc)).balance for _, boc in self._storage.accounts()]
        return {
            "accounts": len(balances),
            "balances": sum(balances),
            "fees": self._storage.get("fees"),
            "minted": self._storage.get("minted"),
            "queued": self._storage.queued(),
        }

    def _shard_account(self, address: Address) -> Cell:
        boc = self._storage.account(address)
        return empty_account() if boc is None else cell_from_boc(boc)

    def _open_block(self) -> tuple[int, int]:
        """Number and time of the block that is being made; logical time starts afresh."""
        now = self._clock.now()
        seqno = max(self._storage.get("seqno") + 1, now - self._genesis, self._shown + 1)
        lt = self._storage.get("lt")
        self._storage.set("lt", lt + LT_STEP - lt % LT_STEP)
        self._storage.set("seqno", seqno)
        self._storage.set("time", now)
        return seqno, now

    def _take_lt(self) -> int:
        lt = self._storage.get("lt")
        self._storage.set("lt", lt + 1)
        return lt

    def _apply(self, message: Cell, trace: bytes | None, seqno: int, now: int) -> bytes:
        """Execute one message in the open block and put its out messages on their way.

        Returns the trace, which is named after the hash of its first transaction.
        """
        address = read_message(message).destination
        if address is None:
            raise ChainDataError("a message has no destination")
        result = self._executor.execute(
            self._shard_account(address), message, now=now, lt=self._take_lt()
        )
        transaction = read_transaction(result.transaction)
        trace = trace or transaction.cell.hash
        self._storage.put_account(address, cell_to_boc(result.account))
        boc = cell_to_boc(transaction.cell)
        row = StoredTransaction(transaction.cell.hash, trace, address, seqno, boc)
        self._storage.add_transaction(row, transaction.lt)
        self._storage.name_message(message.hash, trace)
        self._book(transaction)
        for out in transaction.out_messages:
            if out.kind == "internal":
                self._storage.enqueue(Queued(out.created_lt, trace, cell_to_boc(out.cell)))
        return trace

    def _book(self, transaction: Transaction) -> None:
        """Collect the fees: of the transaction, and the forwarding of the message it took in."""
        collected = transaction.total_fees + transaction.in_message.forward_fee
        self._storage.set("fees", self._storage.get("fees") + collected)
        self._storage.set("lt", max(self._storage.get("lt"), transaction.end_lt + 1))

    def _deliver(self, seqno: int, now: int, most: int) -> None:
        for _ in range(most):
            queued = self._storage.next_queued()
            if queued is None:
                return
            self._storage.dequeue(queued.lt)
            self._apply(cell_from_boc(queued.boc), queued.trace, seqno, now)

    def _deliver_rest(self) -> None:
        for _ in range(MAX_BLOCKS):
            if not self._storage.queued():
                return
            with self._storage.block():
                seqno, now = self._open_block()
                self._deliver(seqno, now, MAX_PER_BLOCK)


def _faucet_message(address: Address, amount: int, lt: int, now: int) -> Cell:
    return (
        Builder()
        .store_uint(0b0100, 4)  # internal, hypercube routing disabled, no bounce
        .store_address(FAUCET)
        .store_address(address)
        .store_coins(amount)
        .store_bool(False)
        .store_coins(0)
        .store_coins(0)
        .store_uint(lt, 64)
        .store_uint(now, 32)
        .store_uint(0, 2)
        .end_cell()
    )
