"""How many sockets strangers may hold, in all and per address, and how often an address may come."""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]

MAX_TRACKED_ADDRESSES = 10_000
_IPV6_PREFIX = 64  # what one customer of a network gets; single addresses in it cost nothing


def address_group(address: str) -> str:
    """Whom an address stands for: itself, or in IPv6 its network of one customer."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class AddressLimiter:
    """A token bucket per address on new connections; the oldest addresses are forgotten first."""

    def __init__(self, *, per_second: float, burst: int, clock: Clock) -> None:
        self._rate = per_second
        self._burst = float(burst)
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def allow(self, address: str) -> bool:
        """Take one token of this address; False when none is left."""
        now, name = self._clock(), address_group(address)
        bucket = self._buckets.pop(name, None) or _Bucket(self._burst, now)
        bucket.tokens = min(
            self._burst, bucket.tokens + max(0.0, now - bucket.filled_at) * self._rate
        )
        bucket.filled_at = now
        self._buckets[name] = bucket
        while len(self._buckets) > MAX_TRACKED_ADDRESSES:
            self._buckets.popitem(last=False)
        if bucket.tokens < 1.0:
            return False
        bucket.tokens -= 1.0
        return True


class Doors:
    """Counts open sockets, those included that never say a word.

    Args:
        total: Sockets at once.
        per_address: Of these, how many one address may hold.
    """

    def __init__(self, *, total: int, per_address: int) -> None:
        self._total = total
        self._per_address = per_address
        self._open = 0
        self._held: Counter[str] = Counter()

    def enter(self) -> bool:
        """Count a socket; False when there are too many. Whoever entered leaves once."""
        if self._open >= self._total:
            return False
        self._open += 1
        return True

    def leave(self) -> None:
        """A socket is closed."""
        self._open -= 1

    def claim(self, address: str) -> bool:
        """Count a socket as one of this address; False when the address has too many."""
        name = address_group(address)
        if self._held[name] >= self._per_address:
            return False
        self._held[name] += 1
        return True

    def release(self, address: str) -> None:
        """The end of what was claimed."""
        name = address_group(address)
        self._held[name] -= 1
        if not self._held[name]:
            del self._held[name]
