"""What the wallet can do for a channel, each as the one message that does it (payments.md §1)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cocoon_sdk.payments.accounting import ChannelState
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Builder, Cell
from cocoon_sdk.ton.contract.channel import (
    ATTACHED,
    cancel_close_body,
    coop_close_body,
    deposit_body,
    finalize_body,
    request_close_body,
)
from cocoon_sdk.ton.transfer import CARRY_BALANCE, IGNORE_ERRORS, OutMessage

MAX_COMMENT = 120  # bytes: what fits one cell beside the tag


class MoveKind(StrEnum):
    """What a message of the wallet is for."""

    OPEN = "open"
    TOP_UP = "topup"
    REQUEST_CLOSE = "request_close"
    CANCEL_CLOSE = "cancel_close"
    FINALIZE = "finalize"
    COOP_CLOSE = "coop_close"
    SWEEP = "sweep"


# Nano that each costs in the end with the fees of 2026, wallet and contract together, measured on the
# real executor. A wallet's first transaction also deploys it.
TYPICAL_FEES = {
    MoveKind.OPEN: 2_600_000,
    MoveKind.TOP_UP: 700_000,
    MoveKind.REQUEST_CLOSE: 1_000_000,
    MoveKind.CANCEL_CLOSE: 1_000_000,
    MoveKind.FINALIZE: 950_000,
    MoveKind.COOP_CLOSE: 1_450_000,
    MoveKind.SWEEP: 550_000,
}


@dataclass(frozen=True, slots=True)
class Move:
    """One message with its purpose.

    Attributes:
        subject: what it is about, as people name it: a channel, for an opening the provider, for a sweep
            the destination. Two moves of one kind, subject and amount are the same wish.
        channel: whose accounts it changes; of an opening, as the ledger shall know it.
    """

    kind: MoveKind
    message: OutMessage
    subject: str
    channel: ChannelState | None = None

    @property
    def wish(self) -> tuple[str, str, int]:
        """What makes two moves the same."""
        return self.kind, self.subject, self.message.value

    @property
    def returned(self) -> bool:
        """Whether the value is attached for gas only, and what is left of it comes back."""
        return self.kind not in {MoveKind.OPEN, MoveKind.TOP_UP, MoveKind.SWEEP}


def opening(state: ChannelState, init: Cell) -> Move:
    """Deploy and fund the channel that `state` describes."""
    message = OutMessage(
        to=state.address, value=state.deposit, body=deposit_body(), state_init=init
    )
    return Move(MoveKind.OPEN, message, state.provider_key.hex(), state)


def topping_up(state: ChannelState, amount: int) -> Move:
    """Add `amount` nano."""
    message = OutMessage(to=state.address, value=amount, body=deposit_body())
    return Move(MoveKind.TOP_UP, message, state.address.raw, state)


def requesting_close(state: ChannelState) -> Move:
    """Start the close delay."""
    return _operation(MoveKind.REQUEST_CLOSE, state, request_close_body())


def cancelling_close(state: ChannelState) -> Move:
    """Take that back."""
    return _operation(MoveKind.CANCEL_CLOSE, state, cancel_close_body())


def finalizing(state: ChannelState) -> Move:
    """Take everything home after the delay."""
    return _operation(MoveKind.FINALIZE, state, finalize_body())


def closing_together(state: ChannelState, signature: bytes, auth: Cell) -> Move:
    """Close at once with the provider's signature."""
    return _operation(MoveKind.COOP_CLOSE, state, coop_close_body(0, signature, auth))


def empty_auth() -> Cell:
    """Stands for a consent that was not given yet, where only the costs of a close are asked for."""
    return Builder().end_cell()


def sweeping(to: Address, *, bounce: bool, comment: str = "") -> Move:
    """Send all that the wallet holds. `comment` of at most 120 bytes goes along, as exchanges ask for."""
    body = None
    if comment:
        body = Builder().store_uint(0, 32).store_bytes(comment.encode()).end_cell()
    mode = CARRY_BALANCE | IGNORE_ERRORS
    return Move(MoveKind.SWEEP, OutMessage(to, 0, body, bounce=bounce, mode=mode), to.raw)


def _operation(kind: MoveKind, state: ChannelState, body: Cell) -> Move:
    message = OutMessage(to=state.address, value=ATTACHED, body=body)
    return Move(kind, message, state.address.raw, state)
