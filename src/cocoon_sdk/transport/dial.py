"""Reaching a provider: TCP or TLS to the checked address, websocket upgrade, encrypted handshake."""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
import ssl
import time
from dataclasses import dataclass
from http import HTTPStatus

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI

from cocoon_sdk.errors import (
    CocoonError,
    ConnectError,
    DeadlineError,
    HandshakeError,
    ProviderOverloadedError,
)
from cocoon_sdk.keys import Signer
from cocoon_sdk.protocol.constants import MAX_MESSAGE, SUBPROTOCOL
from cocoon_sdk.protocol.errors import UnsupportedSuiteError
from cocoon_sdk.protocol.params import ChannelId, RegistryRef
from cocoon_sdk.protocol.session import ClientSession
from cocoon_sdk.registry.endpoint import Endpoint
from cocoon_sdk.transport.connection import Connection

log = logging.getLogger(__name__)

MAX_QUEUE = 16  # wire.md, "Limits"
_FULL = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}


@dataclass(frozen=True, slots=True)
class Site:
    """Where a provider is: the URL it signed, and the address that was checked and is dialled."""

    endpoint: Endpoint
    address: str


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom a connection is for and as whom we come. `signer` None means anonymous.

    `suites` are those that the provider's signed descriptor lists; None: all known here.
    """

    site: Site
    provider_id: bytes
    signer: Signer | None
    channel: ChannelId | None
    registry: RegistryRef | None
    suites: tuple[int, ...] | None = None

    @property
    def key(self) -> tuple[str, bytes, bytes, tuple[int, ...] | None]:
        """What makes two connections interchangeable."""
        return (
            self.site.endpoint.url,
            self.provider_id,
            self.signer.public_key if self.signer is not None else b"",
            self.suites,  # a session of a weaker suite does not serve once the descriptor lists a stronger one
        )


async def open_connection(peer: Peer, *, limit: float, padding: str = "default") -> Connection:
    """Dial, upgrade and run the handshake within `limit` seconds.

    Raises:
        ConnectError: nobody answers there, or it does not speak the subprotocol.
        DeadlineError: it took too long.
        HandshakeError: somebody answers who is not this provider, or it has no suite that is known here.
        ProviderOverloadedError: the provider takes no more connections now.
    """
    url = peer.site.endpoint.url
    end = time.monotonic() + limit
    try:
        async with asyncio.timeout(limit):
            session = _session(peer, padding)  # first: it may need what is not installed
            connection = Connection(await _upgrade(peer.site, limit), session)
            try:
                await connection.handshake()
            except BaseException:
                await connection.close()
                raise
    except TimeoutError as error:
        if time.monotonic() < end:  # the system's own, not ours
            raise ConnectError(f"cannot reach {url}: it does not answer") from error
        raise DeadlineError(
            f"no session with {url} in {limit:g} s; the provider may be down, "
            "try another one or raise the connect timeout",
            phase="connect",
        ) from error
    return connection


def _session(peer: Peer, padding: str) -> ClientSession:
    if padding == "off":
        log.warning(
            "no padding towards %s: sizes show what is written; for benchmarks on loopback only",
            peer.site.endpoint.url,
        )
    try:
        return ClientSession(
            provider_id=peer.provider_id,
            signer=peer.signer,
            channel=peer.channel,
            registry=peer.registry,
            random=secrets.token_bytes,
            clock=time.monotonic,
            padding=padding,
            suites=peer.suites,
        )
    except UnsupportedSuiteError as error:
        raise HandshakeError(f"no session with {peer.site.endpoint.url}: {error}") from error


@functools.cache
def _tls() -> ssl.SSLContext:
    """For all connections: reading the system's certificates anew would hold the event loop for 20 ms each."""
    return ssl.create_default_context()


async def _upgrade(site: Site, limit: float) -> ClientConnection:
    url = site.endpoint.url
    try:
        websocket = await connect(
            url,
            host=site.address,  # not resolved a second time
            port=site.endpoint.port,
            proxy=None,
            subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]  # a NewType of str
            compression=None,
            max_size=MAX_MESSAGE,
            max_queue=MAX_QUEUE,
            open_timeout=limit,
            ssl=_tls() if site.endpoint.secure else None,
            user_agent_header=None,  # no fingerprint (wire.md, "Messages")
        )
    except InvalidStatus as error:
        raise _refused(url, error) from error
    except (InvalidURI, InvalidHandshake) as error:
        raise ConnectError(
            f"{url} answers but does not speak {SUBPROTOCOL}; the registry may be out of date"
        ) from error
    except TimeoutError:
        raise
    except OSError as error:
        raise ConnectError(f"cannot reach {url}: {error}; the provider may be down") from error
    if websocket.subprotocol != SUBPROTOCOL:
        await websocket.close()
        raise ConnectError(f"{url} did not select the subprotocol {SUBPROTOCOL}")
    return websocket


def _refused(url: str, error: InvalidStatus) -> CocoonError:
    status = error.response.status_code
    if status in _FULL:
        return ProviderOverloadedError(f"{url} takes no more connections now (HTTP {status})")
    return ConnectError(
        f"{url} answered HTTP {status} instead of opening a session; the registry may be out of date"
    )
