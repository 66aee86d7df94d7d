"""Addresses of providers: in order, checked, and not looked up for every request."""

from __future__ import annotations

from typing import Any

import pytest

from cocoon_sdk.errors import ConnectError, RegistryFormatError
from cocoon_sdk.registry.endpoint import Endpoint
from cocoon_sdk.transport.sites import KEEP_SECONDS, MAX_SITES, Sites

pytestmark = pytest.mark.anyio

ONE, TWO = "wss://one.example", "wss://two.example:444"


class Names:
    now = 0.0

    def __init__(self, **known: tuple[str, ...] | Exception) -> None:
        self.known = known
        self.asked: list[tuple[str, bool, bool]] = []
        self.sites = Sites(resolve=self.resolve, clock=lambda: self.now)

    async def resolve(
        self, endpoint: Endpoint, *, allow_private: bool, allow_loopback: bool
    ) -> tuple[str, ...]:
        self.asked.append((endpoint.host, allow_private, allow_loopback))
        found = self.known[endpoint.host.split(".")[0]]
        if isinstance(found, Exception):
            raise found
        return found

    async def of(self, *urls: str, **flags: Any) -> list[tuple[str, str]]:
        found = await self.sites.of(
            urls, **({"allow_private": False, "allow_loopback": False} | flags)
        )
        return [(site.endpoint.url, site.address) for site in found]


async def test_all_endpoints_with_all_addresses_in_order() -> None:
    names = Names(one=("192.0.2.1", "2001:db8::1"), two=("192.0.2.2",))
    assert await names.of(ONE, TWO) == [
        (ONE, "192.0.2.1"),
        (ONE, "2001:db8::1"),
        (TWO, "192.0.2.2"),
    ]


async def test_what_is_known_is_not_asked_again_for_a_while() -> None:
    names = Names(one=("192.0.2.1",))
    for _ in range(3):
        await names.of(ONE)
    assert len(names.asked) == 1
    names.now = KEEP_SECONDS
    await names.of(ONE)
    assert len(names.asked) == 2
    names.sites.forget([ONE])
    await names.of(ONE)
    assert len(names.asked) == 3


async def test_what_one_may_reach_is_no_leave_for_another() -> None:
    names = Names(one=("192.0.2.1",))
    await names.of(ONE)
    await names.of(ONE, allow_private=True)
    await names.of(ONE, allow_loopback=True)
    assert [flags for _, *flags in names.asked] == [[False, False], [True, False], [False, True]]


async def test_an_endpoint_that_cannot_be_used_does_not_spoil_the_others() -> None:
    names = Names(one=ConnectError("leads to 10.0.0.1"), two=("192.0.2.2",))
    assert await names.of(ONE, TWO, "ftp://three.example") == [(TWO, "192.0.2.2")]


async def test_where_none_can_be_used_the_first_says_why_and_nothing_is_kept() -> None:
    names = Names(one=ConnectError("leads to 10.0.0.1"))
    for _ in range(2):
        with pytest.raises(ConnectError, match=r"10\.0\.0\.1"):
            await names.of(ONE, "ftp://three.example")
    assert len(names.asked) == 2
    with pytest.raises(RegistryFormatError):
        await names.of("ftp://three.example")


async def test_a_fault_of_ours_is_not_hidden() -> None:
    names = Names(one=ValueError("a bug"), two=("192.0.2.2",))
    with pytest.raises(ValueError, match="a bug"):
        await names.of(ONE, TWO)


async def test_a_provider_with_a_thousand_addresses_gets_a_few_tries() -> None:
    names = Names(one=tuple(f"192.0.2.{number}" for number in range(100)))
    assert len(await names.of(ONE)) == MAX_SITES
