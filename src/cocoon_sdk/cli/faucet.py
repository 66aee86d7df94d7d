"""Coins from a devnet's faucet."""

from __future__ import annotations

import os

import httpx

from cocoon_sdk.errors import ChainUnavailableError, ConfigError
from cocoon_sdk.ton.address import Address


async def ask_faucet(chain: str | None, address: Address, nano: int) -> None:
    """Have the devnet at `chain` (else COCOON_CHAIN) give `nano` to an address.

    Raises:
        ConfigError: no URL is set, or the service there is no devnet.
        ChainUnavailableError: it does not answer.
    """
    url = (chain or os.environ.get("COCOON_CHAIN", "")).partition(",")[0].rstrip("/")
    if not url:
        raise ConfigError("no devnet: pass --chain or set COCOON_CHAIN (cocoon devnet run)")
    try:
        async with httpx.AsyncClient(timeout=30) as client:
            answer = await client.post(
                f"{url}/devnet/faucet", json={"address": address.raw, "amount": str(nano)}
            )
    except httpx.HTTPError as error:
        raise ChainUnavailableError(
            f"the devnet at {url} does not answer; is it running?"
        ) from error
    if answer.status_code != httpx.codes.OK:
        raise ConfigError(f"{url} gives no coins (status {answer.status_code}); only a devnet does")
