"""What only a devnet does on request: give coins, move its clock."""

from __future__ import annotations

import os
from typing import Any

import httpx

from cocoon_sdk.errors import ChainUnavailableError, ConfigError
from cocoon_sdk.ton.address import Address


async def ask_faucet(chain: str | None, address: Address, nano: int) -> None:
    """Have the devnet at `chain` (else COCOON_CHAIN) give `nano` to an address.

    Raises:
        ConfigError: no URL is set, or the service there is no devnet.
        ChainUnavailableError: it does not answer.
    """
    await _command(chain, "faucet", {"address": address.raw, "amount": str(nano)})


async def advance_clock(chain: str | None, seconds: int) -> None:
    """Move the devnet's clock forward.

    Raises:
        ConfigError, ChainUnavailableError: as for `ask_faucet`.
    """
    await _command(chain, "clock", {"advance": seconds})


async def _command(chain: str | None, name: str, body: dict[str, Any]) -> None:
    url = (chain or os.environ.get("COCOON_CHAIN", "")).partition(",")[0].rstrip("/")
    if not url:
        raise ConfigError("no devnet: pass --chain or set COCOON_CHAIN (cocoon devnet run)")
    try:
        async with httpx.AsyncClient(timeout=30) as client:
            answer = await client.post(f"{url}/devnet/{name}", json=body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ChainUnavailableError(
            f"the devnet at {url} does not answer; is it running?"
        ) from error
    if answer.status_code != httpx.codes.OK:
        raise ConfigError(
            f"{url} refused /devnet/{name} (status {answer.status_code}); only a devnet takes it"
        )
