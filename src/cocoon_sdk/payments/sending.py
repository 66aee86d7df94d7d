"""Sending from the wallet so that no crash, lost answer or second process pays twice.

The signed message is stored before it leaves. Whoever comes next finds it, and finishes it before
anything else is signed: it is executed at most once, at its number and before it expires, however often it
is handed in. A wish that was under way is therefore finished and not repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cocoon_sdk.errors import (
    ChainUnavailableError,
    ConfigError,
    PaymentError,
    TransactionFailedError,
)
from cocoon_sdk.payments import transfers
from cocoon_sdk.payments.moves import Move
from cocoon_sdk.payments.transfers import Outcome, StoredMove, StoredTransfer
from cocoon_sdk.store.database import Database
from cocoon_sdk.ton.chain import ChainClient, TransactionInfo
from cocoon_sdk.ton.transfer import failure
from cocoon_sdk.ton.wallet import Wallet

Trace = tuple[TransactionInfo, ...]
_KEPT = "The message is kept: the same command finishes it and does not send another"


@dataclass(frozen=True, slots=True)
class Sent:
    """A transfer whose outcome is known.

    Attributes:
        failed: the moves that did not do what they should; all of them where nothing was executed.
        trace: empty where nothing was executed.
        earlier: it was stored before this call and only finished by it.
    """

    moves: tuple[StoredMove, ...]
    outcome: Outcome
    failed: tuple[StoredMove, ...]
    trace: Trace
    created_at: int
    earlier: bool = False

    def check(self) -> None:
        """Raise what went wrong first.

        Raises:
            ChainUnavailableError: it expired unexecuted.
            TransactionFailedError: it failed, or the wallet skipped a message.
        """
        if self.outcome is Outcome.VOID:
            raise ChainUnavailableError(
                "the message expired unexecuted; nothing was sent, try again"
            )
        for move in self.failed:
            for row in self.trace:
                if not row.success and row.account == move.destination:
                    raise failure(row)
            if not self.trace[0].success:
                raise failure(self.trace[0])
            raise TransactionFailedError(
                f"the wallet left out the message to {move.destination}: it could not pay for it, or "
                "it is not valid; nothing was sent there"
            )


async def finish(chain: ChainClient, wallet: Wallet, database: Database) -> tuple[Sent, ...]:
    """What became of transfers that an earlier command stored and did not see through.

    One that can still be executed is handed in again.

    Raises:
        ChainUnavailableError: it is not known yet; nothing else may be sent until it is.
    """
    found = await database.run(
        lambda c: transfers.pending(c, network=wallet.network, wallet=wallet.address)
    )
    return tuple([await _see_through(chain, wallet, database, one, earlier=True) for one in found])


async def send_moves(
    chain: ChainClient, wallet: Wallet, database: Database, moves: Sequence[Move]
) -> Sent:
    """Send all of these in one transaction, after what is unfinished. Failed moves are returned.

    If the very same was unfinished and is now done, nothing is sent: that was this wish.

    Raises:
        InsufficientFundsError: the wallet holds too little; nothing was sent.
        TransactionFailedError: refused; nothing was executed.
        ChainUnavailableError: the outcome is not known; the next command will find out.
    """
    wish = [move.wish for move in moves]
    for sent in await finish(chain, wallet, database):
        if sent.outcome is Outcome.DONE and [move.wish for move in sent.moves] == wish:
            return sent
    transfer = await wallet.sign(chain, [move.message for move in moves])
    now = await chain.time()
    stored = await database.run(
        lambda c: transfers.store(
            c,
            network=wallet.network,
            wallet=wallet.address,
            transfer=transfer,
            moves=moves,
            now=now,
        )
    )
    return await _see_through(chain, wallet, database, stored, earlier=False)


async def _see_through(
    chain: ChainClient, wallet: Wallet, database: Database, stored: StoredTransfer, *, earlier: bool
) -> Sent:
    """Deliver, judge, enter."""
    void = Sent(stored.moves, Outcome.VOID, stored.moves, (), stored.created_at, earlier)
    try:
        trace = await wallet.deliver(chain, stored.transfer)
    except ChainUnavailableError as error:
        raise ChainUnavailableError(f"{error}. {_KEPT}") from error
    except (ConfigError, PaymentError, TransactionFailedError) as error:
        if earlier:  # a copy that went out before may still be on its way
            raise ChainUnavailableError(
                f"an earlier message of this wallet is refused now ({error}), but may have been taken "
                f"before; it is void after {stored.transfer.valid_until} (Unix time), try again then"
            ) from error
        await database.run(lambda c: transfers.conclude(c, stored, void.outcome, void.failed))
        raise
    sent = void
    if trace is not None:
        failed = _failed(stored.moves, trace)
        outcome = Outcome.FAILED if failed else Outcome.DONE
        sent = Sent(stored.moves, outcome, failed, trace, stored.created_at, earlier)
    await database.run(lambda c: transfers.conclude(c, stored, sent.outcome, sent.failed))
    return sent


def _failed(moves: Sequence[StoredMove], trace: Trace) -> tuple[StoredMove, ...]:
    """The moves whose destination failed, or was never reached: the wallet skips what it cannot pay."""
    if not trace[0].success:
        return tuple(moves)
    reached = {row.account for row in trace[1:] if row.success}
    broken = {row.account for row in trace[1:] if not row.success}
    return tuple(m for m in moves if m.destination in broken or m.destination not in reached)
