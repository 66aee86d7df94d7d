"""Asking a provider to agree to a close at once: CLOSE_REQUEST, answered by CLOSE_AUTH (payments.md §3)."""

from __future__ import annotations

import asyncio
import time

from cocoon_sdk.errors import ChannelDesyncError, DeadlineError
from cocoon_sdk.payments.channel import PaymentChannel
from cocoon_sdk.protocol.messages import CloseAuth, CloseRequest, Error
from cocoon_sdk.protocol.params import ChannelId, RegistryRef
from cocoon_sdk.registry.listed import ListedProvider
from cocoon_sdk.registry.shared import SharedProvider
from cocoon_sdk.transport.connection import Connection
from cocoon_sdk.transport.dial import Peer, open_connection
from cocoon_sdk.transport.failures import error_from_frame
from cocoon_sdk.transport.recovery import recover_receipts
from cocoon_sdk.transport.sites import Sites

CONNECT_LIMIT = 10.0
CONSENT_LIMIT = 30.0  # the provider waits for streams of other connections


async def provider_consent(
    listed: ListedProvider | SharedProvider, channel: PaymentChannel, *, allow_private: bool = False
) -> CloseAuth:
    """The provider's signature under `final`, which is not checked here; see `closing.plan_coop_close`.

    Missing receipts are fetched first. After this the provider takes no more vouchers of the channel, so
    it is not asked while requests have no receipt: their price is not in anybody's `spent`.

    Raises:
        RequestError: it cannot be reached, or refused.
        ChannelDesyncError: it knows another channel, or requests have no receipt.
        DeadlineError: it did not answer in time.
        VerificationError: a receipt that it gave is wrong.
        RegistryError: its descriptor is not valid now.
    """
    entry = listed.chosen(int(time.time()))
    descriptor, origin = entry.verify(int(time.time())), entry.origin
    sites = await Sites().of(
        descriptor.endpoints, allow_private=allow_private, allow_loopback=origin.allow_loopback
    )
    peer = Peer(
        site=sites[0],
        provider_id=descriptor.public_key,
        signer=channel.signer,
        channel=ChannelId(channel.address.workchain, channel.address.hash),
        registry=RegistryRef(origin.registry_id, origin.version, origin.digest),
        suites=tuple(descriptor.suites),
        others=sites[1:],
    )
    connection = await open_connection(peer, limit=CONNECT_LIMIT)
    try:
        await recover_receipts(connection, channel, ())
        state = await channel.reload()
        if state.streams or state.pending:
            raise ChannelDesyncError(
                f"{len(state.streams) or 'some'} requests of the channel {state.address.raw} have no "
                "receipt; the provider was not asked"
            )
        async with asyncio.timeout(CONSENT_LIMIT):
            return await _ask(connection, channel)
    except TimeoutError as error:
        raise DeadlineError(
            f"the provider did not agree to a close in {CONSENT_LIMIT:g} s; requests may be running there",
            phase="idle",
        ) from error
    finally:
        await connection.close()


async def _ask(connection: Connection, channel: PaymentChannel) -> CloseAuth:
    slot = connection.slot()
    if slot is None:
        raise ChannelDesyncError("the session with the provider takes no more requests")
    stream = slot.open(CloseRequest(channel.epoch), end=True)
    await connection.flush()
    answer = (await stream.receive()).message
    if isinstance(answer, Error):
        raise error_from_frame(answer)
    if not isinstance(answer, CloseAuth):
        raise ChannelDesyncError("the provider answered a close request with something else")
    return answer
