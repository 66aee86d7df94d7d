"""What the wallet's commands do between asking and saying."""

from __future__ import annotations

import asyncio
from typing import Any

from cocoon_sdk.cli.desk import Desk, master_key_path
from cocoon_sdk.errors import ChannelDesyncError, ConfigError
from cocoon_sdk.keys import Ed25519Key, load_or_create_key
from cocoon_sdk.payments import channels, closing
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus
from cocoon_sdk.payments.amounts import format_coins
from cocoon_sdk.payments.channel import channel_signer

POLL_SECONDS = 2.0
LOOK_AGAIN = 30 * 86_400  # seconds for which `show` checks that a closed channel is really gone


async def current_channels(desk: Desk) -> list[ChannelState]:
    """The ledger's channels as the chain has them now, without openings that never happened."""
    found = [await _refreshed(desk, state) for state in await desk.channels()]
    return [one for one in found if one.epoch or one.status is not ChannelStatus.CLOSED]


async def require_no_channel(desk: Desk, provider_key: bytes) -> None:
    """A second channel with a provider locks coins that nothing asks for.

    Raises:
        ConfigError: there is a channel already; it says how to use that one.
    """
    for known in await desk.channels():
        if known.provider_key != provider_key or known.status is ChannelStatus.CLOSED:
            continue
        state = await channels.refresh(desk.chain, desk.database, known)
        name = state.address.raw
        advice = {
            ChannelStatus.OPEN: f"with {format_coins(state.available)} to spend; "
            f"add to it: cocoon wallet top-up {name} AMOUNT",
            ChannelStatus.OPENING: "that is opening; look again with: cocoon wallet show",
            ChannelStatus.CLOSING: f"that is closing; use it again: cocoon wallet cancel-close {name}",
        }.get(state.status)
        if advice is not None:
            raise ConfigError(
                f"you already have the channel {name} with this provider, {advice} "
                "(--another opens one more)"
            )


async def voucher_master(desk: Desk) -> Ed25519Key:
    """The key from which voucher keys are derived, made where no open channel needs an older one.

    Raises:
        ConfigError: open channels are of a key that is missing, or not the one in the file.
    """
    path = master_key_path()
    needed = [
        state
        for state in await desk.channels()
        if state.status in {ChannelStatus.OPENING, ChannelStatus.OPEN}
    ]
    if not needed or path.exists():
        master = load_or_create_key(path)
        problem = f"{path} is not the voucher key"
        needed = [state for state in needed if not _signs(master, state)]
    else:
        problem = f"there is no voucher key at {path}"
    if needed:
        raise ConfigError(
            f"{problem} with which the channel {needed[0].address.raw} was opened; restore that file, "
            "or set COCOON_VOUCHER_KEY to it. Without it the channel cannot pay, but "
            f"`cocoon wallet close {needed[0].address.raw}` brings its coins back"
        )
    return master


def _signs(master: Ed25519Key, state: ChannelState) -> bool:
    try:
        channel_signer(master, state)
    except ChannelDesyncError:
        return False
    return True


async def leave(desk: Desk, state: ChannelState, *, wait: bool) -> ChannelState:
    """Start the close, or finish it where its delay is over; with `wait`, both."""
    parts: dict[str, Any] = {
        "chain": desk.chain,
        "wallet": desk.wallet,
        "database": desk.database,
    }
    state = await closing.request_close(state=state, **parts)
    while state.close_at > await desk.chain.time():
        if not wait:
            return state
        await asyncio.sleep(POLL_SECONDS)
    return await closing.finalize(state=state, **parts)


async def _refreshed(desk: Desk, state: ChannelState) -> ChannelState:
    if state.status is ChannelStatus.CLOSED:
        closed_for = await desk.chain.time() - state.seen_at
        if closed_for > LOOK_AGAIN:
            return state
    return await channels.refresh(desk.chain, desk.database, state)
