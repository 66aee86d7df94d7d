"""The public port: websockets in, sessions out, plain GETs beside them; and the way down."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import cast

from websockets.asyncio.server import Server as WebsocketServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from cocoon_provider.config import Limits, Listen
from cocoon_provider.connection import Connection
from cocoon_provider.doors import AddressLimiter, Doors
from cocoon_provider.guard import GuardedSocket
from cocoon_provider.limits import HandshakeGate
from cocoon_provider.public import PublicPages, too_many
from cocoon_provider.service import Service
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import Signer
from cocoon_sdk.protocol.constants import MAX_MESSAGE, SUBPROTOCOL
from cocoon_sdk.protocol.session import ServerSession

log = logging.getLogger(__name__)

MAX_QUEUE = 16  # wire.md, "Limits"
WRITE_HIGH_WATER = 64 * 1024  # one message more than this may wait for a slow reader
# Seconds: from the TCP connection to the upgrade, between keep-alives, and for their answer.
OPEN_TIMEOUT = 5.0
PING_INTERVAL = 20.0
PING_TIMEOUT = 20.0
CLOSE_TIMEOUT = 3.0
_VISITORS = 64  # sockets beyond sessions and handshakes, for plain GETs

# Strangers' faults are no news of ours, and their traces would fill the log.
_quiet = logging.getLogger(f"{__name__}.sockets")
_quiet.setLevel(logging.CRITICAL)


class Server:
    """Accepts connections until it is stopped.

    Args:
        max_request_bytes: The longest REQUEST body over all models.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        identity: Signer,
        service: Service,
        pages: PublicPages,
        listen: Listen,
        limits: Limits,
        max_request_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        self._identity = identity
        self._service = service
        self._pages = pages
        self._listen = listen
        self._limits = limits
        self._max_request_bytes = max_request_bytes
        self._clock = clock
        self._gate = HandshakeGate(limits.handshakes)
        self._addresses = AddressLimiter(
            per_second=limits.hellos_per_second, burst=limits.hello_burst, clock=clock
        )
        self._doors = Doors(
            total=limits.connections + limits.handshakes + _VISITORS,
            per_address=limits.connections_per_address,
        )
        self._connections: set[Connection] = set()
        self._server: WebsocketServer | None = None

    async def start(self) -> int:
        """Listen; the port.

        Raises:
            ConfigError: the address cannot be used.
        """
        socket = partial(
            GuardedSocket,
            doors=self._doors,
            by_peer=not self._limits.trusted_proxy_header,
            clock=self._clock,
        )
        try:
            self._server = await serve(
                self._handle,
                self._listen.host,
                self._listen.port,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                compression=None,
                max_size=MAX_MESSAGE,
                max_queue=MAX_QUEUE,
                write_limit=WRITE_HIGH_WATER,
                open_timeout=OPEN_TIMEOUT,
                ping_interval=PING_INTERVAL,
                ping_timeout=PING_TIMEOUT,
                close_timeout=CLOSE_TIMEOUT,
                process_request=self._process_request,
                server_header=None,
                logger=_quiet,
                create_connection=cast("type[ServerConnection]", socket),
            )
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {self._listen.host}:{self._listen.port}: {error.strerror}; "
                "choose another listen.host or listen.port"
            ) from error
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    async def drained(self, seconds: float) -> bool:
        """Wait for the running streams; False if some are still running after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                for connection in tuple(self._connections):
                    await connection.drained()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Say CLOSE on every connection and stop listening."""
        if self._server is None:
            return
        await asyncio.gather(
            *(connection.go_away() for connection in tuple(self._connections)),
            return_exceptions=True,
        )
        self._server.close()
        await self._server.wait_closed()

    async def _handle(self, socket: ServerConnection) -> None:
        session = ServerSession(
            identity=self._identity,
            random=secrets.token_bytes,
            clock=self._clock,
            max_request_bytes=self._max_request_bytes,
        )
        connection = Connection(
            cast("GuardedSocket", socket), session, self._service, self._gate, self._clock
        )
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    def _process_request(self, socket: ServerConnection, request: Request) -> Response | None:
        address = self._address(socket, request)
        if not self._addresses.allow(address):
            return too_many()
        page = self._pages.answer(request)
        crowded = len(self._connections) >= self._limits.connections or self._gate.full
        if page is None and isinstance(socket, GuardedSocket) and not socket.claim(address):
            return too_many()
        if page is None and crowded:
            return socket.respond(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections\n")
        return page

    def _address(self, socket: ServerConnection, request: Request) -> str:
        """Who connects. A proxy's header counts only where the operator trusts one."""
        header = self._limits.trusted_proxy_header
        if header:
            forwarded = request.headers.get_all(header)
            if forwarded:
                return forwarded[-1].rsplit(",", 1)[-1].strip()
        peer = socket.remote_address
        return str(peer[0]) if peer else ""
