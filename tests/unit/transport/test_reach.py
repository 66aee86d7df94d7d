"""Which address answers first, and what becomes of the others."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from cocoon_sdk.errors import ConnectError
from cocoon_sdk.registry.endpoint import parse_endpoint
from cocoon_sdk.transport import reach
from cocoon_sdk.transport.reach import Site, connect_tcp, first_reached

pytestmark = pytest.mark.anyio

ENDPOINT = parse_endpoint("wss://provider.example")
SITES = [Site(ENDPOINT, f"192.0.2.{number}") for number in range(4)]


class Network:
    """Says per address after how long it connects, or fails; remembers who was tried when."""

    def __init__(self, **plans: float | OSError) -> None:
        self.plans = {f"192.0.2.{name[1:]}": plan for name, plan in plans.items()}
        self.tried: list[str] = []
        self.made: dict[str, socket.socket] = {}

    async def __call__(self, site: Site) -> socket.socket:
        self.tried.append(site.address)
        plan = self.plans[site.address]
        if isinstance(plan, OSError):
            raise plan
        await asyncio.sleep(plan)
        made = self.made[site.address] = socket.socket()
        return made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "STAGGER", 0.05)


async def test_the_first_has_the_first_try() -> None:
    network = Network(_0=0.01, _1=0.0)
    site, made = await first_reached(SITES[:2], connect=network)
    made.close()
    assert (site, network.tried) == (SITES[0], ["192.0.2.0"])


async def test_the_next_starts_before_the_last_gives_up() -> None:
    network = Network(_0=60.0, _1=60.0, _2=0.0, _3=0.0)
    started = time.monotonic()
    site, made = await first_reached(SITES, connect=network)
    made.close()
    assert site == SITES[2]
    assert network.tried == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]
    assert 0.09 < time.monotonic() - started < 2


async def test_after_a_failure_the_next_starts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "STAGGER", 60.0)
    network = Network(_0=ConnectionRefusedError("refused"), _1=OSError("unreachable"), _2=0.0)
    async with asyncio.timeout(2):
        site, made = await first_reached(SITES[:3], connect=network)
    made.close()
    assert site == SITES[2]


async def test_when_none_answers_the_first_reason_is_told() -> None:
    network = Network(_0=ConnectionRefusedError("refused here"), _1=OSError("unreachable"))
    with pytest.raises(ConnectError, match=r"wss://provider\.example: refused here"):
        await first_reached(SITES[:2], connect=network)


async def test_nothing_is_left_of_those_that_came_second() -> None:
    network = Network(_0=0.07, _1=0.02)  # both at about the same moment
    _, made = await first_reached(SITES[:2], connect=network)
    await asyncio.sleep(0.1)
    assert [one for one in network.made.values() if one.fileno() >= 0] == [made]
    made.close()


async def test_cancelled_it_leaves_no_attempt_behind() -> None:
    before = asyncio.all_tasks()
    network = Network(_0=60.0, _1=60.0)
    task = asyncio.create_task(first_reached(SITES[:2], connect=network))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == before


async def test_the_very_address_is_dialled() -> None:
    """No name is looked up again: what the endpoint's host would say does not matter."""
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    endpoint = parse_endpoint(f"wss://does-not-resolve.invalid:{port}")
    made = await connect_tcp(Site(endpoint, "127.0.0.1"))
    assert made.getpeername() == ("127.0.0.1", port)
    made.close()
    server.close()
    await server.wait_closed()
