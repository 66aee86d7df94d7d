"""Which of a provider's addresses answers: all are tried in their order, the next before the last gives up."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from cocoon_sdk.errors import ConnectError
from cocoon_sdk.registry.endpoint import Endpoint

STAGGER = 0.25  # seconds between attempts, as RFC 8305 advises


@dataclass(frozen=True, slots=True)
class Site:
    """Where a provider is: the URL it signed, and the address that was checked and is dialled."""

    endpoint: Endpoint
    address: str


Connect = Callable[[Site], Awaitable[socket.socket]]


async def connect_tcp(site: Site) -> socket.socket:
    """A connected socket to the site's very address; no name is looked up.

    Raises:
        OSError: nobody answers there.
    """
    version = ipaddress.ip_address(site.address.partition("%")[0]).version
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setblocking(False)
        await asyncio.get_running_loop().sock_connect(found, (site.address, site.endpoint.port))
    except BaseException:
        found.close()
        raise
    return found


async def first_reached(
    sites: Sequence[Site], *, connect: Connect = connect_tcp
) -> tuple[Site, socket.socket]:
    """The first site that takes a TCP connection, and the connection. The others are let go.

    Raises:
        ConnectError: none does; with the reason of the first.
    """
    queue, running = deque(sites), dict[asyncio.Task[socket.socket], Site]()
    failure: OSError | None = None
    try:
        while queue or running:
            if queue:
                site = queue.popleft()
                running[asyncio.ensure_future(connect(site))] = site
            done, _ = await asyncio.wait(
                running, timeout=STAGGER if queue else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in sorted(done, key=lambda one: list(running).index(one)):
                site = running.pop(task)
                try:
                    return site, task.result()
                except OSError as error:
                    failure = failure or error
    finally:
        for task in running:
            task.cancel()
        for late in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(late, socket.socket):
                late.close()
    url = sites[0].endpoint.url
    raise ConnectError(f"cannot reach {url}: {failure}; the provider may be down") from failure
