"""What a client does beside handing out snapshots: in the background, at the start, at the end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fake_anchor import CONTRACT, FakeChainClient
from registry_world import World, descriptor_of, make_keys

from cocoon_sdk.errors import (
    RegistryEquivocationError,
    RegistrySignatureError,
    RegistryUnavailableError,
)
from cocoon_sdk.registry.descriptor import sign_descriptor
from cocoon_sdk.registry.fetch import RegistryClient
from cocoon_sdk.registry.sources import Fetched
from cocoon_sdk.registry.verify import Seen

pytestmark = pytest.mark.anyio

NO_LONGER_FRESH = 4 * 3600


class Gated(World):
    """Answers while its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()

    async def registry(self, etag: str | None) -> Fetched | None:
        await self.gate.wait()
        return await super().registry(etag)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Gated:
    made = Gated()
    monkeypatch.setattr("cocoon_sdk.registry.opening.open_source", lambda *_, **__: made)
    return made


def client_of(world: World, folder: Path, **options: Any) -> RegistryClient:
    defaults: dict[str, Any] = {"cache_dir": folder, "clock": world.clock, "rng": Random(1)}
    return RegistryClient("world", trust=world.trust, **(defaults | options))


async def background(client: RegistryClient) -> None:
    """Let what runs in the background end."""
    assert client._background is not None
    await client._background


def evidence_in(folder: Path) -> list[Path]:
    return list((folder / "evidence").iterdir()) if (folder / "evidence").exists() else []


async def test_a_fork_may_be_shown_before_the_first_snapshot(world: Gated, tmp_path: Path) -> None:
    await client_of(world, tmp_path).snapshot()
    fork = world.make_registry(1, entries=[])
    client = client_of(world, tmp_path)
    with pytest.raises(RegistryEquivocationError):
        await client.confront(fork)
    with pytest.raises(RegistryEquivocationError):
        await client.snapshot()


async def test_a_fork_that_another_worker_left_is_met_before_anything_is_asked(
    world: Gated, tmp_path: Path
) -> None:
    """The client held one file in memory only; its next start finds the cache with the other."""
    held = client_of(world, tmp_path)
    await held.snapshot()
    (path,) = tmp_path.rglob("registry.json")
    path.write_bytes(world.make_registry(1, entries=[]))
    world.asked.clear()
    later = client_of(world, tmp_path)
    with pytest.raises(RegistryEquivocationError):
        await later.snapshot()
    assert isinstance(later.refresh_error, RegistryEquivocationError)
    assert world.asked == []


async def test_a_fork_met_at_the_start_is_not_forgotten_when_the_cache_looks_well_again(
    world: Gated, tmp_path: Path
) -> None:
    await client_of(world, tmp_path).snapshot()
    (path,) = tmp_path.rglob("registry.json")
    honest = path.read_bytes()
    path.write_bytes(world.make_registry(1, entries=[]))
    later = client_of(world, tmp_path)
    assert not await later.confront(b"rubbish")  # opens it
    path.write_bytes(honest)
    with pytest.raises(RegistryEquivocationError):
        await later.snapshot()


async def test_a_fork_that_another_worker_accepted_is_met_in_the_background(
    world: Gated, tmp_path: Path
) -> None:
    client = client_of(world, tmp_path)
    await client.snapshot()
    (path,) = tmp_path.rglob("registry.json")
    path.write_bytes(world.make_registry(1, entries=[]))
    world.now += NO_LONGER_FRESH
    await client.snapshot()
    await background(client)
    with pytest.raises(RegistryEquivocationError) as caught:
        await client.snapshot()
    assert [str(one) for one in evidence_in(tmp_path)] == [caught.value.evidence]


async def test_a_fork_that_one_request_finds_ends_those_that_waited_for_it(
    world: Gated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(world, tmp_path)
    await client.snapshot()
    changed = [True]
    monkeypatch.setattr(world, "has_changed", lambda: changed[0])
    world.publish_registry(1, entries=[])
    world.gate.clear()
    requests = [asyncio.create_task(client.snapshot()) for _ in range(3)]
    await asyncio.sleep(0.05)
    changed[0] = False  # the file was read once
    world.gate.set()
    async with asyncio.timeout(5):
        found = await asyncio.gather(*requests, return_exceptions=True)
    assert [type(one) for one in found] == [RegistryEquivocationError] * 3


async def test_a_fork_found_while_a_refresh_waited_is_not_made_up_for_by_a_newer_file(
    world: Gated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, other = client_of(world, tmp_path), client_of(world, tmp_path)
    await client.snapshot()
    fork = world.make_registry(1, entries=[])
    assert client._opened is not None
    updater, go_on = client._opened.updater, asyncio.Event()
    honest = updater.confront

    async def slow(envelope: bytes) -> bool:
        await go_on.wait()
        return await honest(envelope)

    monkeypatch.setattr(updater, "confront", slow)
    confronted = asyncio.create_task(client.confront(fork))
    await asyncio.sleep(0)
    world.now += NO_LONGER_FRESH
    world.publish_registry(2)
    await other.refresh()
    assert (await client.snapshot()).version == 1  # and a refresh waits in the background
    await asyncio.sleep(0.05)
    go_on.set()
    with pytest.raises(RegistryEquivocationError):
        await confronted
    await background(client)
    with pytest.raises(RegistryEquivocationError):
        await client.snapshot()


async def test_one_file_proves_no_fork_so_there_is_no_evidence_of_it(
    world: Gated, tmp_path: Path
) -> None:
    """The chain names another content, and nobody has shown that one."""
    world.publish_root(1, anchor={"contract": CONTRACT})
    chain = FakeChainClient(Seen(1, 1, bytes(32)))
    client = client_of(world, tmp_path, anchor="require", open_chain=lambda _: chain)
    with pytest.raises(RegistryEquivocationError) as caught:
        await client.snapshot()
    assert len(caught.value.envelopes) == 1
    assert caught.value.evidence is None
    assert evidence_in(tmp_path) == []


async def test_a_request_does_not_wait_for_a_slow_mirror_to_remember_a_number(
    world: Gated, tmp_path: Path
) -> None:
    client = client_of(world, tmp_path)
    first = await client.snapshot()
    world.now += NO_LONGER_FRESH
    world.gate.clear()
    await client.snapshot()
    await asyncio.sleep(0.05)  # the refresh in the background now waits for the mirror
    assert client._lock.locked()
    assert first.providers[0].verify(world.now).seq == 5
    async with asyncio.timeout(5):
        assert await client.snapshot() is first
    world.gate.set()
    await background(client)
    await client.aclose()


async def test_keys_that_another_worker_saw_replaced_while_this_one_refreshes(
    world: Gated, tmp_path: Path
) -> None:
    """The copy is gone in the middle of the refresh; the client asks for a new one."""
    client, other = client_of(world, tmp_path), client_of(world, tmp_path)
    await client.snapshot()
    await other.snapshot()
    stolen, world.registry_keys = world.registry_keys, make_keys("new registry", 3)
    world.publish_root(2)
    world.publish_registry(2, stolen)
    with pytest.raises(RegistrySignatureError):
        await other.refresh()
    world.now += NO_LONGER_FRESH
    assert (await client.snapshot()).version == 1  # it does not know yet
    world.publish_registry(2)
    await background(client)
    snapshot = await client.snapshot()
    assert (snapshot.version, snapshot.root_version) == (2, 2)
    assert client.refresh_error is None


async def test_a_copy_without_a_cache_serves_while_the_mirror_is_down(
    world: Gated, tmp_path: Path
) -> None:
    client = client_of(world, tmp_path, cache=False)
    await client.snapshot()
    world.registry_raw = None
    for _ in range(2):
        with pytest.raises(RegistryUnavailableError):
            await client.refresh()
        assert (await client.snapshot()).version == 1


async def test_closing_ends_the_loading_of_shards(world: Gated, tmp_path: Path) -> None:
    keys = make_keys("in shards", 3)
    world.publish_shards(1, [sign_descriptor(key, descriptor_of(key)) for key in keys])
    asked = asyncio.Event()

    async def never(sha256: str, length: int) -> bytes | None:
        asked.set()
        await asyncio.Event().wait()
        return None

    world.shard = never  # type: ignore[method-assign] # the test's own world
    client = client_of(world, tmp_path)
    waiting = asyncio.create_task(client.snapshot("m"))
    async with asyncio.timeout(5):
        await asked.wait()
        waiting.cancel()  # the request is given up; the shard is still on its way
        await asyncio.wait([waiting])
        assert client._opened is not None
        loading = list(client._opened.views._shelf._loading.values())
        assert not any(task.done() for task in loading)
        await client.aclose()
    assert loading
    assert all(task.done() for task in loading)
