"""The wallet that pays for channels: version V5R1, up to 255 messages in one transaction.

A message of the wallet is executed once, at one `seqno`, before its `valid_until`. `send` signs
exactly one message and then only repeats or awaits that one, so that no failure, timeout or lost
answer can pay twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from cocoon_sdk.errors import (
    ChainDataError,
    ChainError,
    ChainUnavailableError,
    CocoonError,
    ConfigError,
    TransactionFailedError,
)
from cocoon_sdk.keys import Signer
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Builder, Cell, cell_from_boc, cell_to_boc
from cocoon_sdk.ton.chain import AccountState, ChainClient, TransactionInfo
from cocoon_sdk.ton.fees import estimate
from cocoon_sdk.ton.message import external_message, internal_message, normalised_hash, state_init
from cocoon_sdk.ton.shortage import too_little
from cocoon_sdk.ton.wallet_code import WALLET_CODE_HASH, wallet_code

MAX_MESSAGES = 255
DEFAULT_MODE = 3  # the wallet pays the fees; an action that cannot be carried out is skipped
LIFETIME = 90  # seconds for which a signed message may be executed
INDEX_DELAY = 15.0  # seconds that the index of traces may lag behind the account's state

_SIGNED_EXTERNAL = 0x7369676E
_SEND_MESSAGE = 0x0EC3C86D
_IGNORE_ERRORS = 2
_CARRY_BALANCE = 128


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

    def cell(self) -> Cell:
        """The message as the wallet puts it into its actions."""
        return internal_message(
            self.to, self.value, bounce=self.bounce, body=self.body, init=self.state_init
        )

    def __post_init__(self) -> None:
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            raise ConfigError(f"an amount is a whole number of nano, got {self.value!r}")
        if not self.mode & _IGNORE_ERRORS or not 0 <= self.mode <= 255:
            raise ConfigError(f"send mode {self.mode}: the wallet takes only modes with +2")


def wallet_id(network: int, workchain: int = 0) -> int:
    """The 32-bit id of a V5R1 wallet, which is part of its address and of what it signs.

    The client's context (one set bit, workchain, version 0, subwallet 0) xor the network's global
    id, so that a signature for one network is void on the others.
    """
    context = 1 << 31 | (workchain & 0xFF) << 23
    return context ^ (network & 0xFFFFFFFF)


class Wallet:
    """A V5R1 wallet behind one key. One object at a time should send for a key."""

    def __init__(self, key: Signer, network: int, workchain: int = 0) -> None:
        """Nothing is read or sent; the wallet deploys itself with its first message."""
        self.network = network
        self._key = key
        self._id = wallet_id(network, workchain)
        data = (
            Builder()
            .store_bool(True)  # signatures of the key are allowed
            .store_uint(0, 32)
            .store_uint(self._id, 32)
            .store_bytes(key.public_key)
            .store_maybe_ref(None)  # no extensions
            .end_cell()
        )
        self._init = state_init(wallet_code(), data)
        self.address = Address(workchain, self._init.hash)
        self._next_seqno = 0
        self._lock = asyncio.Lock()

    async def seqno(self, chain: ChainClient) -> int:
        """The number that the next message must carry, 0 before the wallet is deployed."""
        return self._seqno_of(await self._account(chain))

    async def check_funds(self, chain: ChainClient, messages: Sequence[OutMessage]) -> AccountState:
        """The wallet's account; raises InsufficientFundsError where it cannot pay for these messages."""
        state = await self._account(chain)
        needed = estimate(message.cell() for message in messages)
        needed += sum(m.value for m in messages if not m.mode & _CARRY_BALANCE)
        if state.balance < needed:
            raise too_little(self.address, self.network, holds=state.balance, needed=needed)
        return state

    def build_transfer(
        self, messages: Sequence[OutMessage], seqno: int, valid_until: int, *, deploy: bool
    ) -> bytes:
        """The signed external message as a bag of cells.

        Raises:
            ConfigError: no message or more than 255.
        """
        if not 1 <= len(messages) <= MAX_MESSAGES:
            raise ConfigError(f"a wallet sends 1 to {MAX_MESSAGES} messages, got {len(messages)}")
        actions = Builder().end_cell()
        for message in messages:
            actions = (
                Builder()
                .store_ref(actions)
                .store_uint(_SEND_MESSAGE, 32)
                .store_uint(message.mode, 8)
                .store_ref(message.cell())
                .end_cell()
            )
        request = (
            Builder()
            .store_uint(_SIGNED_EXTERNAL, 32)
            .store_uint(self._id, 32)
            .store_uint(valid_until, 32)
            .store_uint(seqno, 32)
            .store_maybe_ref(actions)
            .store_bool(False)  # no change of extensions
            .end_cell()
        )
        signature = self._key.sign(request.hash)
        body = Builder().store_cell(request).store_bytes(signature).end_cell()
        return cell_to_boc(external_message(self.address, body, self._init if deploy else None))

    async def send(
        self,
        chain: ChainClient,
        messages: Sequence[OutMessage],
        *,
        timeout: float = 60.0,  # noqa: ASYNC109 - unlike a cancellation it raises our own error
        check: bool = True,
    ) -> tuple[TransactionInfo, ...]:
        """Send all messages in one transaction and wait until everything they set off is confirmed.

        `check` raises on any failed transaction of the trace; without it only on the wallet's own,
        for batches whose parts are looked at one by one.

        Raises:
            InsufficientFundsError: the balance does not cover values and fees; nothing was sent.
            TransactionFailedError: refused (nothing was executed), or executed and failed.
            ChainUnavailableError: the outcome is not known yet; the message says until when it can
                still be executed. A later message with the same `seqno` excludes this one.
        """
        if chain.network != self.network:
            raise ConfigError(f"a wallet of network {self.network} cannot send on {chain.network}")
        async with self._lock:
            state = await self.check_funds(chain, messages)
            seqno = self._seqno_of(state)
            valid_until = state.block_time + LIFETIME
            boc = self.build_transfer(messages, seqno, valid_until, deploy=state.status != "active")
            trace = await self._deliver(chain, boc, seqno, valid_until, timeout)
            self._next_seqno = max(self._next_seqno, seqno + 1)
        failed = [row for row in (trace if check else trace[:1]) if not row.success]
        if failed:
            raise TransactionFailedError(
                f"the transaction of {failed[0].account} at {failed[0].lt} failed "
                f"(exit code {failed[0].exit_code}); fees are lost, values came back where they bounce",
                exit_code=failed[0].exit_code,
            )
        return trace

    async def _deliver(
        self, chain: ChainClient, boc: bytes, seqno: int, valid_until: int, patience: float
    ) -> tuple[TransactionInfo, ...]:
        """Hand in one signed message and find out what became of it."""
        msg_hash = normalised_hash(cell_from_boc(boc))
        with contextlib.suppress(ChainUnavailableError):  # then the search below decides
            await chain.send_boc(boc)
        try:
            return await chain.wait_message(msg_hash, timeout=patience)
        except (ChainError, ConfigError) as error:  # whatever it is, the message may be executed
            return await self._find_out(chain, msg_hash, seqno, valid_until, error)

    async def _find_out(
        self,
        chain: ChainClient,
        msg_hash: bytes,
        seqno: int,
        valid_until: int,
        cause: CocoonError,
    ) -> tuple[TransactionInfo, ...]:
        """Judge by the account whether a message whose trace did not show up was executed."""
        expired = False
        with contextlib.suppress(ChainError, ConfigError):
            state = await chain.get_account(self.address)
            if self._seqno_of(state) > seqno:
                return await chain.wait_message(msg_hash, timeout=INDEX_DELAY)
            expired = state.block_time > valid_until
        if expired:
            raise ChainUnavailableError(
                f"message {msg_hash.hex()} expired unexecuted; nothing was sent, try again"
            ) from cause
        raise ChainUnavailableError(
            f"message {msg_hash.hex()} is not confirmed; it can still be executed until "
            f"{valid_until} (Unix time), so look at the balance before paying anew"
        ) from cause

    async def _account(self, chain: ChainClient) -> AccountState:
        """Our state, not older than the last transaction that we saw confirmed."""
        for attempt in range(10):
            state = await chain.get_account(self.address)
            if self._next_seqno == 0 or (
                state.status == "active" and self._seqno_of(state) >= self._next_seqno
            ):
                return state
            await asyncio.sleep(0.2 * (attempt + 1))  # another replica of the API, a block behind
        raise ChainUnavailableError("the chain API lags behind a transaction already confirmed")

    def _seqno_of(self, state: AccountState) -> int:
        if state.status == "frozen":
            raise ChainDataError(f"the wallet {self.address} is frozen; unfreeze it first")
        if state.status != "active":
            return 0
        if state.code_hash != WALLET_CODE_HASH or state.data is None:
            raise ChainDataError(f"the account {self.address} does not run the V5R1 wallet code")
        reader = cell_from_boc(state.data).begin_parse()
        allowed, seqno, found_id = reader.load_bool(), reader.load_uint(32), reader.load_uint(32)
        if not allowed or found_id != self._id or reader.load_bytes(32) != self._key.public_key:
            raise ChainDataError(f"the wallet {self.address} does not obey this key")
        return seqno
