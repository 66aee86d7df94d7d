"""The wallet that pays for channels: version V5R1, up to 255 messages in one transaction.

A message of the wallet is executed once, at one `seqno`, before its `valid_until`. One is signed, and
then only that one is repeated or awaited, so that no failure, timeout or lost answer can pay twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

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
from cocoon_sdk.ton.cells import Builder, cell_from_boc, cell_to_boc
from cocoon_sdk.ton.chain import AccountState, ChainClient, TransactionInfo
from cocoon_sdk.ton.message import external_message, state_init
from cocoon_sdk.ton.shortage import too_little
from cocoon_sdk.ton.transfer import OutMessage, SignedTransfer, failure, fees_at_most
from cocoon_sdk.ton.wallet_code import WALLET_CODE_HASH, wallet_code, wallet_id

__all__ = ["OutMessage", "SignedTransfer", "Wallet", "wallet_id"]

MAX_MESSAGES = 255
OTHER_SEQNO = 133  # the wallet's exit code
LIFETIME = 90  # seconds for which a signed message may be executed
EXPIRY_MARGIN = 15  # seconds by which a shard's clock may be behind the masterchain's
INDEX_DELAY = 15.0  # seconds that the index of traces may lag behind the account's state
INDEX_SURE = 900  # seconds after which a trace that the index does not know never was

_SIGNED_EXTERNAL = 0x7369676E
_SEND_MESSAGE = 0x0EC3C86D


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
        needed = fees_at_most(messages) + sum(m.value for m in messages if not m.carries_all)
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
        async with self._lock:
            transfer = await self.sign(chain, messages)
            trace = await self._hand_in(chain, transfer, timeout)
        failed = [row for row in (trace if check else trace[:1]) if not row.success]
        if failed:
            raise failure(failed[0])
        return trace

    async def sign(self, chain: ChainClient, messages: Sequence[OutMessage]) -> SignedTransfer:
        """The one signed message that sends all of these, for whoever must store it before it goes out.

        Until it was delivered or has expired nothing else should be signed: a message with the same
        `seqno` would exclude it.

        Raises:
            ConfigError: the wallet is of another network; no message or more than 255.
            InsufficientFundsError: the balance does not cover values and fees.
        """
        if chain.network != self.network:
            raise ConfigError(f"a wallet of network {self.network} cannot send on {chain.network}")
        state = await self.check_funds(chain, messages)
        seqno, valid_until = self._seqno_of(state), state.block_time + LIFETIME
        boc = self.build_transfer(messages, seqno, valid_until, deploy=state.status != "active")
        return SignedTransfer(boc, seqno, valid_until)

    async def deliver(
        self,
        chain: ChainClient,
        transfer: SignedTransfer,
        *,
        timeout: float = 60.0,  # noqa: ASYNC109 - unlike a cancellation it raises our own error
    ) -> tuple[TransactionInfo, ...] | None:
        """Hand in what `sign` gave, or find out what became of it, in whatever process that was.

        Returns:
            the whole trace, failed rows included; None where it was not executed and never can be.

        Raises:
            TransactionFailedError: refused; nothing was executed.
            ChainUnavailableError: the outcome is not known yet.
        """
        async with self._lock:
            state = await self._account(chain)
            if self._seqno_of(state) == transfer.seqno:
                if state.block_time > transfer.valid_until + EXPIRY_MARGIN:
                    return None
                try:
                    return await self._hand_in(chain, transfer, timeout)
                except TransactionFailedError as error:
                    # A number that has moved on may be this very message, handed in by another process.
                    state = await self._account(chain)
                    if self._seqno_of(state) == transfer.seqno and error.exit_code != OTHER_SEQNO:
                        raise
            # Executed, if not by us; or another message of this wallet took its place.
            try:
                return await chain.wait_message(transfer.msg_hash, timeout=INDEX_DELAY)
            except (ChainError, ConfigError) as error:
                if state.block_time > transfer.valid_until + INDEX_SURE:
                    return None
                raise _unknown(transfer) from error

    async def _hand_in(
        self, chain: ChainClient, transfer: SignedTransfer, patience: float
    ) -> tuple[TransactionInfo, ...]:
        """Send for the first time and wait."""
        with contextlib.suppress(ChainUnavailableError):  # then the search below decides
            await chain.send_boc(transfer.boc)
        try:
            trace = await chain.wait_message(transfer.msg_hash, timeout=patience)
        except (ChainError, ConfigError) as error:  # whatever it is, the message may be executed
            trace = await self._find_out(chain, transfer, error)
        self._next_seqno = max(self._next_seqno, transfer.seqno + 1)
        return trace

    async def _find_out(
        self, chain: ChainClient, transfer: SignedTransfer, cause: CocoonError
    ) -> tuple[TransactionInfo, ...]:
        """Judge by the account whether a message whose trace did not show up was executed."""
        expired = False
        with contextlib.suppress(ChainError, ConfigError):
            state = await chain.get_account(self.address)
            if self._seqno_of(state) > transfer.seqno:
                return await chain.wait_message(transfer.msg_hash, timeout=INDEX_DELAY)
            expired = state.block_time > transfer.valid_until + EXPIRY_MARGIN
        if expired:
            raise ChainUnavailableError(
                f"message {transfer.msg_hash.hex()} expired unexecuted; nothing was sent, try again"
            ) from cause
        raise _unknown(transfer) from cause

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


def _unknown(transfer: SignedTransfer) -> ChainUnavailableError:
    return ChainUnavailableError(
        f"message {transfer.msg_hash.hex()} is not confirmed; it can still be executed until "
        f"{transfer.valid_until} (Unix time), so look at the balance before paying anew"
    )
