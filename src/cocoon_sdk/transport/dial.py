"""Reaching a provider: TCP or TLS to the checked address, websocket upgrade, encrypted handshake."""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
import socket
import ssl
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

from websockets.asyncio.client import connect
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
from cocoon_sdk.transport.connection import Connection
from cocoon_sdk.transport.guard import GuardedClient
from cocoon_sdk.transport.reach import Site, first_reached

log = logging.getLogger(__name__)

MAX_QUEUE = 16  # wire.md, "Limits"
# Seconds. The pings keep the way through NATs open and tell of peers that are gone.
PING_INTERVAL = 20.0
PING_TIMEOUT = 20.0
CLOSE_TIMEOUT = 2.0
_FULL = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom a connection is for and as whom we come. `signer` None means anonymous.

    `site` is dialled first, `others` are where the same provider can be reached as well. `suites` are
    those that the provider's signed descriptor lists; None: all known here.
    """

    site: Site
    provider_id: bytes
    signer: Signer | None
    channel: ChannelId | None
    registry: RegistryRef | None
    suites: tuple[int, ...] | None = None
    others: tuple[Site, ...] = ()

    @property
    def sites(self) -> tuple[Site, ...]:
        """All that may be dialled, in order."""
        return (self.site, *self.others)

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
    """Dial, upgrade and run the handshake within `limit` seconds, at the first site where that works.

    Raises:
        ConnectError: nobody answers there, or it does not speak the subprotocol.
        DeadlineError: it took too long.
        HandshakeError: somebody answers who is not this provider, or it has no suite that is known here.
        ProviderOverloadedError: the provider takes no more connections now.
    """
    try:
        async with asyncio.timeout(limit):
            return await _first_session(peer, limit, padding)
    except TimeoutError as error:
        url = peer.site.endpoint.url
        raise DeadlineError(
            f"no session with {url} in {limit:g} s; the provider may be down, "
            "try another one or raise the connect timeout",
            phase="connect",
        ) from error


async def _first_session(peer: Peer, limit: float, padding: str) -> Connection:
    left, failure = list(peer.sites), None
    end = time.monotonic() + limit
    while True:
        session = _session(peer, padding)  # first: it may need what is not installed
        try:
            site, reached = await first_reached(left)
        except ConnectError as error:
            raise failure or error from error
        left.remove(site)
        try:
            # One that takes connections and then says nothing leaves half of the time to the others.
            async with asyncio.timeout((end - time.monotonic()) / 2 if left else None):
                return await _converse(site, reached, session, limit)
        except (ConnectError, HandshakeError, ProviderOverloadedError) as error:
            failure = failure or error  # what is told is about the site that stands first
            if not left:
                raise failure from error.__cause__
        except TimeoutError:
            if not left:
                raise
            failure = failure or ConnectError(f"{site.endpoint.url} does not answer")


async def _converse(
    site: Site, reached: socket.socket, session: ClientSession, limit: float
) -> Connection:
    connection = Connection(await _upgrade(site, reached, limit), session, site)
    try:
        await connection.handshake()
    except BaseException:
        await connection.close()
        raise
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


async def _upgrade(site: Site, reached: socket.socket, limit: float) -> GuardedClient:
    url = site.endpoint.url
    try:
        websocket = await connect(
            url,
            sock=reached,  # to the checked address; redirects cannot be followed on it
            proxy=None,
            subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]  # a NewType of str
            compression=None,
            max_size=MAX_MESSAGE,
            max_queue=MAX_QUEUE,
            open_timeout=limit,
            ping_interval=PING_INTERVAL,
            ping_timeout=PING_TIMEOUT,
            close_timeout=CLOSE_TIMEOUT,
            create_connection=GuardedClient,
            ssl=_tls() if site.endpoint.secure else None,
            user_agent_header=None,  # no fingerprint (wire.md, "Messages")
        )
    except InvalidStatus as error:
        raise _refused(url, error) from error
    except (InvalidURI, InvalidHandshake, ValueError) as error:
        raise ConnectError(
            f"{url} answers but does not speak {SUBPROTOCOL}; the registry may be out of date"
        ) from error
    except TimeoutError:
        raise
    except OSError as error:
        raise ConnectError(f"cannot reach {url}: {error}; the provider may be down") from error
    if websocket.subprotocol != SUBPROTOCOL:
        websocket.transport.abort()
        raise ConnectError(f"{url} did not select the subprotocol {SUBPROTOCOL}")
    return cast("GuardedClient", websocket)


def _refused(url: str, error: InvalidStatus) -> CocoonError:
    status = error.response.status_code
    if status in _FULL:
        return ProviderOverloadedError(f"{url} takes no more connections now (HTTP {status})")
    return ConnectError(
        f"{url} answered HTTP {status} instead of opening a session; the registry may be out of date"
    )
