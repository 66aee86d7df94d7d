"""What an exit code means, in words for whoever paid for the transaction.

Codes of the channel are those of payments.md §1, codes of the wallet those of the V5R1 code; the small
ones are the TVM's and the action phase's, the same for every contract.
"""

from __future__ import annotations

from cocoon_sdk.ton.contract.constants import ContractError

_MACHINE = {
    0: "success",
    1: "success, by another way out",
    2: "the stack of the contract ran empty: a fault of its code",
    4: "an integer overflowed in the contract",
    5: "an integer was outside its range",
    6: "the contract uses an instruction that this network does not know",
    7: "a value of the wrong type: a fault of the contract's code",
    8: "a cell was written beyond its size",
    9: "the message is malformed: too short, or with parts that do not belong there",
    10: "a dictionary of the contract is broken",
    13: "out of gas: attach more",
    -14: "out of gas: attach more",
    32: "the list of actions is malformed",
    33: "too many actions: at most 255 messages in one transaction",
    34: "an action is not valid or not supported",
    35: "a message names a wrong source address",
    36: "a message names a destination that does not exist on this network",
    37: "the balance does not cover the amounts to be sent; add coins",
    38: "a message carries extra currencies that are not there",
    40: "the balance does not cover the fees of a message; add coins",
    43: "a limit of cells or of their depth was passed",
    50: "the state of the account would grow too large",
}

_CHANNEL = {
    ContractError.MALFORMED: "the message, or the signed part of it, is malformed",
    ContractError.WRONG_TAG: "what was signed is something else than this operation takes",
    ContractError.NOT_OPEN: "the channel is not open: it was closed, or never opened",
    ContractError.NOT_CLIENT: "only the wallet that opened the channel may do this",
    ContractError.NOT_PROVIDER: "only the provider's wallet may do this",
    ContractError.SIGNATURE: "the signature is not valid for this channel",
    ContractError.NETWORK: "the signature is for another network",
    ContractError.CHANNEL: "the signature is for another channel",
    ContractError.EPOCH: "the signature is for an earlier life of this channel",
    ContractError.STALE: "nothing new to pay: as much, or more, was redeemed before",
    ContractError.NO_FUNDS: "the channel does not hold what would have to be paid",
    ContractError.LOW_VALUE: "too few coins were attached: 0.02 for an operation, 0.03 to open",
    ContractError.CLOSING: "the channel is closing, so it takes no coins; cancel the close first",
    ContractError.NOT_CLOSING: "no close is running",
    ContractError.TOO_EARLY: "the close delay has not passed yet",
    ContractError.ABOVE_VOUCHER: "more was claimed than was signed",
    ContractError.CLOSE_DELAY: "the close delay is above 7 days",
    ContractError.UNKNOWN_OP: "the contract does not know this operation, or takes no text",
}

_WALLET = {
    132: "the wallet does not take signed messages",
    133: "the wallet's number has moved on: this message came twice, or another was sent first",
    134: "the message is for another wallet or network",
    135: "the signature is not of this wallet's key",
    136: "the message came after it had expired",
    137: "the wallet takes only messages that may be skipped (mode +2)",
    138: "the wallet does not know this operation",
    139: "the extension is installed already",
    140: "there is no such extension",
    141: "the message holds an action that the wallet does not take",
    142: "signatures cannot be switched off while there is no extension",
    143: "signatures are switched that way already",
    144: "the last extension cannot go while signatures are switched off",
    145: "an extension must be in the wallet's workchain",
    146: "only an extension may switch signatures",
    147: "the list of messages to send is malformed",
}

MEANINGS: dict[int, str] = _MACHINE | _WALLET | {int(code): text for code, text in _CHANNEL.items()}


def meaning(code: int | None) -> str:
    """A clause that says what the code means."""
    if code is None:
        return "nothing was executed: the account has no code, or no coins for gas"
    return MEANINGS.get(code, "not a code of the wallet, of the channel or of the machine")
