"""What is said when a wallet holds too little."""

from __future__ import annotations

from cocoon_sdk.errors import InsufficientFundsError
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import DEVNET_NETWORK, MAINNET
from cocoon_sdk.ton.coins import NANO_PER_COIN, format_amount, format_coins


def too_little(
    address: Address, network: int, *, holds: int, needed: int
) -> InsufficientFundsError:
    """The error with the wallet's address as people pass it around, amounts in coins, and what to do."""
    name = address.friendly(bounceable=False, testnet=network != MAINNET)
    lacking = needed - holds
    advice = f"send it {format_coins(lacking)} more"
    if network == DEVNET_NETWORK:
        advice += f": cocoon devnet fund {name} {-(-lacking // NANO_PER_COIN)}"
    return InsufficientFundsError(
        f"the wallet {name} holds {format_coins(holds)}, but values and fees need "
        f"{format_amount(needed)}; {advice}",
        needed=needed,
    )
