from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest

from cocoon_sdk.errors import ConfigError, ConnectError, DeadlineError
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.registry.endpoint import parse_endpoint
from cocoon_sdk.transport.dial import Peer
from cocoon_sdk.transport.pool import Pool
from cocoon_sdk.transport.reach import Site
from cocoon_sdk.transport.slot import Slot

pytestmark = pytest.mark.anyio


def make_peer(url: str = "ws://127.0.0.1:1", *, key: bool = False) -> Peer:
    signer = Ed25519Key.generate() if key else None
    return Peer(Site(parse_endpoint(url), "127.0.0.1"), b"p" * 32, signer, None, None)


class FakeConnection:
    """As much of a Connection as the pool touches."""

    def __init__(self, size: int = 8) -> None:
        self.left = size
        self.spent = False
        self.ageing = False
        self.closed = False

    def slot(self) -> Slot | None:
        if self.spent or self.left == 0:
            return None
        self.left -= 1
        return Slot(self)  # type: ignore[arg-type]

    def give_back(self) -> None:
        self.left += 1

    async def close(self) -> None:
        self.closed = True


class Dialler:
    """Counts what is dialled; `error` makes it fail."""

    def __init__(self, *, delay: float = 0.02, error: Exception | None = None) -> None:
        self.made: list[FakeConnection] = []
        self.calls = 0
        self.delay = delay
        self.error = error

    async def __call__(self, peer: Peer, *, limit: float, padding: str) -> Any:
        self.calls += 1
        await asyncio.sleep(self.delay)
        if self.error is not None:
            raise self.error
        self.made.append(FakeConnection())
        return self.made[-1]


async def test_a_slot_given_back_is_there_again() -> None:
    dial = Dialler()
    pool, peer = Pool(dial=dial), make_peer()
    slots = [(await pool.acquire(peer, limit=1))[0] for _ in range(8)]
    slots[0].release()
    slots[0].release()  # twice changes nothing
    assert dial.made[0].left == 1
    assert (await pool.acquire(peer, limit=1))[1] is True
    assert (await pool.acquire(peer, limit=1))[1] is False
    assert dial.calls == 2
    await pool.close()


async def test_those_who_come_together_share_a_handshake() -> None:
    dial = Dialler()
    pool, peer = Pool(dial=dial), make_peer()
    got = await asyncio.gather(*(pool.acquire(peer, limit=1) for _ in range(20)))
    assert dial.calls == 3
    assert [reused for _, reused in got].count(False) == 3
    await pool.close()
    assert all(connection.closed for connection in dial.made)


async def test_different_keys_never_share() -> None:
    dial = Dialler()
    pool = Pool(dial=dial)
    peers = [make_peer(), make_peer(key=True), make_peer(key=True), make_peer("ws://127.0.0.1:2")]
    for peer in peers:
        assert (await pool.acquire(peer, limit=1))[1] is False
    assert dial.calls == 4
    await pool.close()


async def test_a_failure_is_everybodys_own_copy() -> None:
    dial = Dialler(error=ConnectError("nobody there"))
    pool, peer = Pool(dial=dial), make_peer()
    errors = await asyncio.gather(
        *(pool.acquire(peer, limit=1) for _ in range(5)), return_exceptions=True
    )
    assert dial.calls == 1
    assert {type(error) for error in errors} == {ConnectError}
    assert len({id(error) for error in errors}) == 5
    dial.error = None  # and it is not remembered
    await pool.acquire(peer, limit=1)
    await pool.close()


async def test_a_handshake_survives_the_one_who_wanted_it() -> None:
    dial = Dialler(delay=0.1)
    pool, peer = Pool(dial=dial), make_peer()
    first = asyncio.create_task(pool.acquire(peer, limit=1))
    second = asyncio.create_task(pool.acquire(peer, limit=1))
    await asyncio.sleep(0.02)
    first.cancel()
    assert (await second)[1] is True
    assert dial.calls == 1
    with pytest.raises(asyncio.CancelledError):
        await first
    await pool.close()


async def test_each_waits_only_as_long_as_it_said() -> None:
    dial = Dialler(delay=0.3)
    pool, peer = Pool(dial=dial), make_peer()
    patient = asyncio.create_task(pool.acquire(peer, limit=2))
    await asyncio.sleep(0)
    with pytest.raises(DeadlineError, match=r"0\.05 s") as caught:
        await pool.acquire(peer, limit=0.05)
    assert caught.value.phase == "connect"
    await patient
    await pool.close()


async def test_what_has_ended_is_dropped_and_closed() -> None:
    dial = Dialler()
    pool, peer = Pool(dial=dial), make_peer()
    await pool.acquire(peer, limit=1)
    dial.made[0].spent = True
    assert (await pool.acquire(peer, limit=1))[1] is False
    assert dial.made[0].closed
    assert dial.calls == 2
    await pool.close()


async def test_a_closed_pool_gives_nothing_and_waits_for_nobody() -> None:
    dial = Dialler(delay=60)
    pool, peer = Pool(dial=dial), make_peer()
    waiting = asyncio.create_task(pool.acquire(peer, limit=60))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(1):
        await pool.close()
    for use in (waiting, asyncio.create_task(pool.acquire(peer, limit=1))):
        with pytest.raises(ConfigError, match="closed"):
            await use


async def test_a_successor_is_made_before_a_session_is_too_old() -> None:
    dial = Dialler()
    pool, peer = Pool(dial=dial), make_peer()
    running, _ = await pool.acquire(peer, limit=1)
    dial.made[0].ageing = True
    async with asyncio.timeout(0.015):  # less than a handshake takes: nobody waits for it
        slot, reused = await pool.acquire(peer, limit=1)
    assert (reused, slot.connection) == (True, dial.made[0])
    await pool.acquire(peer, limit=1)
    await asyncio.sleep(0.001)
    assert dial.calls == 2  # one successor, however many ask
    await asyncio.sleep(0.05)
    slot, reused = await pool.acquire(peer, limit=1)
    assert (reused, slot.connection) == (True, dial.made[1])
    assert not dial.made[0].closed  # what runs there may end
    running.release()
    await pool.close()


async def test_a_successor_that_cannot_be_made_is_no_news() -> None:
    dial = Dialler()
    pool, peer = Pool(dial=dial), make_peer()
    await pool.acquire(peer, limit=1)
    dial.made[0].ageing = True
    dial.error = ConnectError("nobody there")
    for _ in range(3):
        assert (await pool.acquire(peer, limit=1))[1] is True
        await asyncio.sleep(0.03)
    await pool.close()


async def test_ended_sessions_of_other_peers_are_let_go_as_well() -> None:
    dial = Dialler()
    pool = Pool(dial=dial)
    await pool.acquire(make_peer(), limit=1)
    dial.made[0].spent = True
    await pool.acquire(make_peer(key=True), limit=1)
    assert dial.made[0].closed
    assert len(pool._live) == 1
    await pool.close()


def test_keys_tell_peers_apart_not_registries() -> None:
    from cocoon_sdk.protocol.params import RegistryRef

    one = make_peer()
    newer = Peer(
        one.site, one.provider_id, None, None, RegistryRef(b"r" * 8, 2, secrets.token_bytes(32))
    )
    assert one.key == newer.key


def test_a_padding_that_there_is_not() -> None:
    for padding in ("default", "strict", "off"):
        Pool(padding=padding)
    with pytest.raises(ConfigError, match="padding is 'default', 'strict' or 'off', not 'on'"):
        Pool(padding="on")


async def test_sweeping_twice_at_once_loses_no_connection() -> None:
    """A close may take seconds; what was dialled meanwhile must still be known afterwards."""
    dial = Dialler(delay=0)
    pool = Pool(dial=dial)
    one, two, three = (make_peer(f"ws://127.0.0.1:{port}") for port in (1, 2, 3))
    for peer in (one, two):
        (await pool.acquire(peer, limit=1))[0].release()
    gates = [asyncio.Event(), asyncio.Event()]
    for connection, gate in zip(dial.made, gates, strict=True):
        connection.spent = True
        connection.close = gate.wait  # type: ignore[assignment, method-assign]
    first = asyncio.create_task(pool.acquire(three, limit=1))
    await asyncio.sleep(0.01)  # it waits for the close of the first
    second = asyncio.create_task(pool.acquire(two, limit=1))
    await asyncio.sleep(0.01)
    gates[1].set()
    await asyncio.sleep(0.01)
    gates[0].set()
    await asyncio.gather(first, second)
    await pool.close()
    assert all(connection.closed for connection in dial.made[2:])


async def test_a_slow_close_does_not_keep_the_next_handshake_waiting() -> None:
    dial = Dialler(delay=0)
    pool = Pool(dial=dial)
    peers = [make_peer(f"ws://127.0.0.1:{port}") for port in range(1, 6)]
    for peer in peers:
        (await pool.acquire(peer, limit=1))[0].release()

    async def slow() -> None:
        await asyncio.sleep(0.3)

    for connection in dial.made:
        connection.spent = True
        connection.close = slow  # type: ignore[assignment, method-assign]
    await pool.acquire(make_peer("ws://127.0.0.1:9"), limit=0.6)  # in all they take 1.5 s
    await pool.close()
