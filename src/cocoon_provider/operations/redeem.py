"""`redeem`: settle on demand, while `serve` runs or not."""

from __future__ import annotations

from cocoon_provider.config import Config
from cocoon_provider.operations.home import Home


async def redeem_now(home: Home, config: Config) -> int:
    """Redeem all channels that are worth their fee; what came in, in nano.

    Raises:
        InsufficientFundsError: the wallet needs coins for fees first.
        ChainError: the chain is down or refused.
    """
    books = home.books(config)
    try:
        await books.settlement.refresh()
        return await books.settlement.redeem(everything=True)
    finally:
        await books.aclose()
