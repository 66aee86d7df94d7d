"""Token buckets per address, and the sockets that an address may hold."""

from __future__ import annotations

import pytest

from cocoon_provider.doors import MAX_TRACKED_ADDRESSES, AddressLimiter, Doors, address_group


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_holds_its_burst_and_refills() -> None:
    clock = Clock()
    limiter = AddressLimiter(per_second=2.0, burst=3, clock=clock)
    assert [limiter.allow("a") for _ in range(4)] == [True, True, True, False]
    assert limiter.allow("b")
    clock.now += 0.4
    assert not limiter.allow("a")
    clock.now += 0.1
    assert limiter.allow("a")
    clock.now += 1_000
    assert [limiter.allow("a") for _ in range(4)] == [True, True, True, False]
    clock.now -= 50  # a clock that steps back takes nothing away and gives nothing
    assert not limiter.allow("a")


def test_only_so_many_addresses_are_remembered() -> None:
    limiter = AddressLimiter(per_second=0.0, burst=1, clock=Clock())
    assert limiter.allow("first")
    assert not limiter.allow("first")
    for number in range(MAX_TRACKED_ADDRESSES):
        limiter.allow(str(number))
    assert limiter.allow("first")
    assert len(limiter._buckets) == MAX_TRACKED_ADDRESSES


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("not an address", "not an address"),
    ],
)
def test_in_ipv6_a_network_counts_as_one(address: str, group: str) -> None:
    assert address_group(address) == group


def test_addresses_of_one_network_share_a_bucket() -> None:
    limiter = AddressLimiter(per_second=0.0, burst=1, clock=Clock())
    assert limiter.allow("2001:db8::1")
    assert not limiter.allow("2001:db8::2")
    assert limiter.allow("2001:db8:0:1::1")


def test_sockets_are_counted_in_all_and_per_address() -> None:
    doors = Doors(total=3, per_address=2)
    assert [doors.enter() for _ in range(4)] == [True, True, True, False]
    doors.leave()
    assert doors.enter()
    assert [doors.claim("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert doors.claim("192.0.2.2")
    doors.release("192.0.2.1")
    assert doors.claim("192.0.2.1")
    for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
        doors.release(address)
    assert not doors._held  # nothing is remembered of those who are gone
