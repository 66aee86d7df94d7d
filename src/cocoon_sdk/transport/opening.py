"""A session for one trial: a warm one from the pool, or a new one with lost receipts fetched first."""

from __future__ import annotations

from cocoon_sdk.errors import ConnectError
from cocoon_sdk.protocol.params import ChannelId, RegistryRef
from cocoon_sdk.transport.core import Core
from cocoon_sdk.transport.dial import Peer
from cocoon_sdk.transport.question import Trial
from cocoon_sdk.transport.reach import Site
from cocoon_sdk.transport.recovery import recover_receipts
from cocoon_sdk.transport.slot import Slot
from cocoon_sdk.types.events import SessionReady


async def sites_of(core: Core, trial: Trial, *, allow_private: bool) -> tuple[Site, ...]:
    """Where the trial's provider can be dialled.

    Raises:
        ConnectError, RegistryFormatError: nowhere.
    """
    return await core.sites.of(
        trial.candidate.descriptor.endpoints,
        allow_private=allow_private,
        allow_loopback=trial.origin.allow_loopback,
    )


async def open_session(
    core: Core, trial: Trial, sites: tuple[Site, ...], *, limit: float
) -> tuple[Slot, bool]:
    """The right to open a stream, and whether its session had been open before.

    Raises:
        CocoonError: as `Pool.acquire` and `recover_receipts` describe.
    """
    channel, origin, descriptor = trial.paying, trial.origin, trial.candidate.descriptor
    peer = Peer(
        site=sites[0],
        provider_id=descriptor.public_key,
        signer=channel.signer if channel else None,
        channel=ChannelId(channel.address.workchain, channel.address.hash) if channel else None,
        registry=RegistryRef(origin.registry_id, origin.version, origin.digest),
        suites=tuple(descriptor.suites),
        others=sites[1:],
    )
    try:
        slot, reused = await core.pool.acquire(peer, limit=limit)
    except ConnectError:
        core.sites.forget(descriptor.endpoints)
        raise
    core.gossip.listen(
        slot.connection.hints, slot.connection.site, trial.candidate.provider, origin
    )
    try:
        core.emit(
            SessionReady(
                trial.request_id.hex(),
                trial.candidate.provider,
                slot.connection.session.suite,
                reused,
            )
        )
        if channel is not None and not reused:
            await recover_receipts(slot.connection, channel, core.live)
    except BaseException:
        slot.release()
        raise
    return slot, reused
