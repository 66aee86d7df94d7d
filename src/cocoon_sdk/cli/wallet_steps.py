"""What the wallet's commands do between asking and saying."""

from __future__ import annotations

from cocoon_sdk.cli.desk import Desk, master_key_path
from cocoon_sdk.cli.output import escape_controls, tell
from cocoon_sdk.errors import ChannelDesyncError, CocoonError, ConfigError
from cocoon_sdk.keys import Ed25519Key, load_key, load_or_create_key
from cocoon_sdk.payments import channels, closing, moves
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus
from cocoon_sdk.payments.amounts import format_coins
from cocoon_sdk.payments.channel import PaymentChannel, channel_signer
from cocoon_sdk.payments.moves import Move

OPEN = ChannelStatus.OPEN
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
            f"add to it: cocoon wallet topup {name} AMOUNT",
            ChannelStatus.OPENING: "that is opening; look again with: cocoon wallet show",
            ChannelStatus.CLOSING: f"that is closing; use it again: cocoon wallet cancel-close {name}",
        }.get(state.status)
        if advice is not None:
            raise ConfigError(
                f"you already have the channel {name} with this provider, {advice} "
                "(--another opens one more)"
            )


async def voucher_master(desk: Desk, *, create: bool = True) -> Ed25519Key:
    """The key from which voucher keys are derived, made where no open channel needs an older one.

    Without `create` a passing key stands for one that would be made.

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
        keep = create or path.exists()
        master = load_or_create_key(path) if keep else Ed25519Key.generate()
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


async def chosen_channels(desk: Desk, text: str | None, *, every: bool) -> list[ChannelState]:
    """The channel that is named, or all that are alive, as the chain has them now.

    Raises:
        ConfigError: neither or both were asked for; none or several match.
    """
    if every == (text is not None):
        raise ConfigError("name one channel, or pass --all; see: cocoon wallet show")
    if text is not None:
        return [await channels.refresh(desk.chain, desk.database, await desk.channel(text))]
    return [
        state
        for state in await current_channels(desk)
        if state.status in {OPEN, ChannelStatus.CLOSING}
    ]


async def agree(desk: Desk, state: ChannelState, *, coop: bool) -> Move | None:
    """How to leave a channel: with the provider's consent where that is asked for and given, else alone.

    None where it is closing already and there is no consent.
    """
    if coop:
        try:
            return await _consent(desk, state)
        except CocoonError as error:
            tell(f"no close at once: {escape_controls(str(error))}")
            if state.status is OPEN:
                tell("the close delay starts instead")
    return moves.requesting_close(state) if state.status is OPEN else None


async def _consent(desk: Desk, state: ChannelState) -> Move:
    from cocoon_sdk.transport.consent import provider_consent

    if desk.snapshot is None:
        raise ConfigError("no registry says where the provider is: pass --registry")
    listed = desk.snapshot.get(state.provider_key.hex())
    if listed is None:
        raise ConfigError("the registry does not list this provider any more")
    master = load_key(master_key_path())
    channel = PaymentChannel(desk.database, state, channel_signer(master, state))
    auth = await provider_consent(listed, channel)
    return closing.plan_coop_close(await channel.reload(), auth)


async def _refreshed(desk: Desk, state: ChannelState) -> ChannelState:
    if state.status is ChannelStatus.CLOSED:
        closed_for = await desk.chain.time() - state.seen_at
        if closed_for > LOOK_AGAIN:
            return state
    return await channels.refresh(desk.chain, desk.database, state)
