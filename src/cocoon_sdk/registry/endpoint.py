"""Where a client may be sent by what others signed: schemes, and no private addresses (registry.md).

A registry or provider that names an internal address would make every client knock on its own
network (threats.md, SSRF). Names are resolved here and the caller dials the very addresses that were
checked, so a second DNS answer cannot differ.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from cocoon_sdk.errors import ConnectError, RegistryFormatError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

MAX_URL = 512

_PORTS = {"wss": 443, "https": 443, "ws": 80, "http": 80}
_PLAIN = {"ws", "http"}
# Longer or empty labels make the resolver raise what no caller expects.
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# The only IPv6 addresses of the internet; others lead to translators and networks of the place.
_UNICAST6 = ipaddress.ip_network("2000::/3")
_ASSIGNED4 = ipaddress.ip_network("192.0.0.0/24")  # by IANA, to protocols; none of it is a host


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL that follows the rules of form; its addresses are not known yet."""

    url: str
    scheme: str
    host: str
    port: int

    @property
    def secure(self) -> bool:
        """Whether the transport is TLS."""
        return self.scheme not in _PLAIN

    @property
    def loopback(self) -> bool:
        """Whether the host is this machine by name or literal address."""
        return is_loopback_host(self.host)


@dataclass(frozen=True, slots=True)
class AddressRules:
    """Which addresses a name may lead to besides those of the internet."""

    allow_private: bool = False
    allow_loopback: bool = False


def is_loopback_host(host: str) -> bool:
    """Whether `host` is `localhost` or a literal loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_endpoint(url: str, *, schemes: tuple[str, ...] = ("wss", "ws")) -> Endpoint:
    """Check the form of a URL: known scheme, TLS unless on loopback, a host, no credentials.

    Raises:
        RegistryFormatError: the message says which rule it breaks.
    """
    shown = ascii(url[:120])
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or set(url) & set(" \\"):
        raise RegistryFormatError(f"{shown} is not a URL of printable ASCII up to {MAX_URL} long")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise RegistryFormatError(f"{shown} is not a URL: {error}") from None
    scheme = parts.scheme
    if scheme not in schemes:
        raise RegistryFormatError(f"{shown} must start with one of {', '.join(schemes)}")
    if port == 0 or not (_NAME.fullmatch(host) or _is_address(host)):
        raise RegistryFormatError(f"{shown} names no host or port")
    if "@" in parts.netloc or parts.fragment:
        raise RegistryFormatError(f"{shown} carries credentials or a fragment, which are refused")
    endpoint = Endpoint(url, scheme, host, port or _PORTS[scheme])
    if scheme in _PLAIN and not endpoint.loopback:
        raise RegistryFormatError(f"{shown} is without TLS, which is only allowed on loopback")
    return endpoint


def check_address(
    text: str, *, allow_private: bool = False, allow_loopback: bool = False
) -> IPAddress:
    """The address, if a client may be sent there. IPv4 hidden inside IPv6 is judged as IPv4.

    Raises:
        ConnectError: a private, loopback, link-local, reserved or multicast address.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ConnectError(f"{text[:60]!a} is not an IP address") from None
    inner = _unwrap(address)
    if allow_private or (allow_loopback and inner.is_loopback):
        return address
    if not inner.is_global or inner.is_multicast or not _on_the_internet(inner):
        raise ConnectError(
            f"the endpoint leads to {inner}, which is not a public address; "
            "pass allow_private=True if that provider is yours"
        )
    return address


async def resolve_endpoint(
    endpoint: Endpoint,
    *,
    allow_private: bool = False,
    allow_loopback: bool = False,
    resolve: Resolver | None = None,
) -> tuple[str, ...]:
    """The addresses to dial, all of them allowed; one forbidden address refuses the endpoint.

    Raises:
        ConnectError: the name does not resolve, or leads to an address that is not allowed.
    """
    try:
        found = await (resolve or _resolve)(endpoint.host, endpoint.port)
    except (OSError, UnicodeError) as error:
        raise ConnectError(f"{endpoint.host} does not resolve: {error}") from None
    if not found:
        raise ConnectError(f"{endpoint.host} has no address")
    return tuple(
        str(check_address(text, allow_private=allow_private, allow_loopback=allow_loopback))
        for text in dict.fromkeys(found)
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _resolve(host: str, port: int) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(item[4][0]) for item in found]


def _on_the_internet(address: IPAddress) -> bool:
    """Beyond `is_global`, which goes by lists of exceptions that grow with the years."""
    if isinstance(address, ipaddress.IPv6Address):
        return address in _UNICAST6
    return address not in _ASSIGNED4


def _unwrap(address: IPAddress) -> IPAddress:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address.teredo is not None:
        inner = address.teredo[1]
    if inner is None and address in _NAT64:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address
