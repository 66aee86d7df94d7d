import asyncio
import time
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from fake_anchor import CONTRACT, FakeChainClient
from registry_world import DAY, NOW, World, make_keys

from cocoon_sdk.errors import (
    ConfigError,
    RegistryEquivocationError,
    RegistryExpiredError,
    RegistryFormatError,
    RegistryRollbackError,
    RegistrySignatureError,
    RegistryUnavailableError,
)
from cocoon_sdk.registry.evidence import check_evidence
from cocoon_sdk.registry.fetch import RETRY_AFTER, RegistryClient, unix_time
from cocoon_sdk.registry.trust import parse_trust
from cocoon_sdk.registry.verify import Seen

pytestmark = pytest.mark.anyio

URL = "https://example.org/registry.json"


class Site:
    """The world behind HTTP, which can be down, slow, and count."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.down = False
        self.gate: asyncio.Event | None = None
        self.asked: list[str] = []

    async def handle(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.rpartition("/")[2]
        self.asked.append(name)
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            raise httpx.ConnectError("down")
        if name == "registry.json":
            body, tag = self.world.registry_raw, f'"{self.world.digest()}"'
            if request.headers.get("If-None-Match") == tag:
                return httpx.Response(304)
            return httpx.Response(200, content=_once(body or b""), headers={"ETag": tag})
        version = name.removesuffix("root.json").rstrip(".")
        root = self.world.roots.get(int(version) if version else max(self.world.roots))
        return httpx.Response(404) if root is None else httpx.Response(200, content=_once(root))


async def _once(body: bytes):
    yield body


@pytest.fixture
def site() -> Site:
    return Site(World())


def client_of(site: Site, folder: Path, **options: Any) -> RegistryClient:
    defaults: dict[str, Any] = {
        "trust": site.world.trust,
        "cache_dir": folder,
        "clock": site.world.clock,
        "transport": httpx.MockTransport(site.handle),
    }
    return RegistryClient(URL, **(defaults | options))


async def settle(client: RegistryClient) -> None:
    """Let a refresh in the background end."""
    task = client._background
    if task is not None:
        await task


async def test_first_snapshot(site: Site, tmp_path: Path) -> None:
    client = client_of(site, tmp_path)
    snapshot = await client.snapshot()
    assert site.asked == ["registry.json", "root.json"]
    assert (snapshot.network, snapshot.registry, snapshot.version) == (-217, "devnet/test", 1)
    assert snapshot.digest.hex() == site.world.digest()
    assert [provider.id for provider in snapshot.providers] == [
        site.world.provider.public_key.hex()
    ]
    assert snapshot.providers[0].verify(NOW).endpoints == ["wss://provider.example"]
    assert not snapshot.origin.allow_loopback  # devnet, but not from this machine
    assert await client.snapshot() is snapshot
    assert len(site.asked) == 2
    await client.aclose()


async def test_a_second_run_starts_from_the_cache(site: Site, tmp_path: Path) -> None:
    await client_of(site, tmp_path).snapshot()
    site.down = True
    snapshot = await client_of(site, tmp_path).snapshot()
    assert snapshot.version == 1
    assert site.asked == ["registry.json", "root.json"]


async def test_no_cache_means_no_files(site: Site, tmp_path: Path) -> None:
    await client_of(site, tmp_path, cache=False).snapshot()
    assert not list(tmp_path.iterdir())


async def test_refresh_in_the_background_once_no_longer_fresh(site: Site, tmp_path: Path) -> None:
    client = client_of(site, tmp_path)
    await client.snapshot()
    site.world.now += 3 * 3600 - 1
    await client.snapshot()
    assert client._background is None
    site.world.now += 1
    site.world.publish_registry(2)
    assert (await client.snapshot()).version == 1
    await settle(client)
    assert (await client.snapshot()).version == 2


async def test_one_background_refresh_does_not_stand_in_the_way_of_the_next(
    site: Site, tmp_path: Path
) -> None:
    client = client_of(site, tmp_path)
    await client.snapshot()
    for version in (2, 3):
        site.world.now += 3 * 3600
        site.world.publish_registry(version)
        await client.snapshot()
        await settle(client)
        assert (await client.snapshot()).version == version


async def test_a_registry_that_is_not_signed_again_in_time_is_not_asked_for_with_every_request(
    site: Site, tmp_path: Path
) -> None:
    client = client_of(site, tmp_path)
    await client.snapshot()
    site.world.now += 3 * 3600
    for moved, asked in ((0, 2), (RETRY_AFTER - 1, 2), (1, 3)):
        site.world.now += moved
        for _ in range(3):
            await client.snapshot()
            await settle(client)
        assert site.asked.count("registry.json") == asked
    site.world.publish_registry(2)
    site.world.now += RETRY_AFTER
    await client.snapshot()
    await settle(client)
    assert (await client.snapshot()).version == 2
    await client.aclose()


async def test_a_registry_that_claims_to_stay_fresh_is_asked_for_within_a_day(
    site: Site, tmp_path: Path
) -> None:
    """Or a thief of the registry keys could keep the root that replaces them from ever being seen."""
    world = site.world
    honest = world.digest()
    world.publish_registry(2**53 - 1, fresh_until=NOW + 9 * 365 * DAY, expires=NOW + 9 * 365 * DAY)
    client = client_of(site, tmp_path)
    assert (await client.snapshot()).version == 2**53 - 1
    world.registry_keys = make_keys("new registry", 3)
    world.publish_root(2)
    world.now += DAY - 1
    world.publish_registry(2, prev=honest)
    await client.snapshot()
    await settle(client)
    assert (await client.snapshot()).version == 2**53 - 1
    world.now += 1
    await client.snapshot()
    await settle(client)
    assert (await client.snapshot()).version == 2
    await client.aclose()


async def test_a_fork_met_in_the_background_is_kept_as_evidence(site: Site, tmp_path: Path) -> None:
    client = client_of(site, tmp_path)
    await client.snapshot()
    site.world.now += 3 * 3600
    site.world.publish_registry(1, entries=[])
    await client.snapshot()
    await settle(client)
    assert list((tmp_path / "evidence").iterdir())
    with pytest.raises(RegistryEquivocationError):
        await client.snapshot()


async def test_a_fork_instead_of_an_expired_copy_is_called_a_fork(
    site: Site, tmp_path: Path
) -> None:
    client = client_of(site, tmp_path)
    await client.snapshot()
    site.world.now += DAY
    site.world.publish_registry(1, entries=[])
    with pytest.raises(RegistryEquivocationError):
        await client.snapshot()


async def test_what_another_worker_saw_counts_for_the_next_refresh(
    site: Site, tmp_path: Path
) -> None:
    client = client_of(site, tmp_path)
    await client.snapshot()
    old = site.world.registry_raw
    site.world.publish_registry(2)
    await client_of(site, tmp_path).refresh()
    site.world.registry_raw = old
    with pytest.raises(RegistryRollbackError):
        await client.refresh()


async def test_the_tag_saves_the_body(site: Site, tmp_path: Path) -> None:
    client = client_of(site, tmp_path)
    first = await client.snapshot()
    assert await client.refresh() is first
    assert site.asked.count("root.json") == 1


async def test_the_copy_serves_while_the_mirror_is_down_until_it_expires(
    site: Site, tmp_path: Path
) -> None:
    client = client_of(site, tmp_path)
    first = await client.snapshot()
    site.down = True
    site.world.now += 4 * 3600
    assert await client.snapshot() is first
    await settle(client)
    assert isinstance(client.refresh_error, RegistryUnavailableError)
    assert (await client.snapshot()).errors == (client.refresh_error,)
    asked = len(site.asked)
    site.world.now += RETRY_AFTER - 1
    assert (await client.snapshot()).digest == first.digest
    await settle(client)
    assert len(site.asked) == asked  # not on every call
    site.world.now = NOW + DAY
    with pytest.raises(RegistryUnavailableError):
        await client.snapshot()
    site.down = False
    site.world.publish_registry(2)
    assert (await client.snapshot()).version == 2
    assert client.refresh_error is None
    await client.aclose()


async def test_stale_copies_only_where_allowed(site: Site, tmp_path: Path) -> None:
    await client_of(site, tmp_path).snapshot()
    site.world.now += 2 * DAY
    with pytest.raises(RegistryExpiredError, match="expired"):
        await client_of(site, tmp_path).snapshot()
    client = client_of(site, tmp_path, allow_stale=True)
    snapshot = await client.snapshot()
    assert snapshot.stale
    await client.aclose()


async def test_callers_do_not_wait_for_a_slow_mirror(site: Site, tmp_path: Path) -> None:
    client = client_of(site, tmp_path)
    first = await client.snapshot()
    site.world.now += 4 * 3600
    site.gate = asyncio.Event()
    async with asyncio.timeout(5):
        assert await client.snapshot() is first
        task = client._background
        assert [await client.snapshot() for _ in range(2)] == [first] * 2
    await asyncio.sleep(0.05)
    assert site.asked.count("registry.json") == 2  # one refresh for all
    assert task is not None
    assert client._background is task
    await client.aclose()
    assert task.cancelled()


async def test_many_callers_at_once_fetch_once(site: Site, tmp_path: Path) -> None:
    client = client_of(site, tmp_path)
    snapshots = await asyncio.gather(*(client.snapshot() for _ in range(20)))
    assert len(set(map(id, snapshots))) == 1
    assert site.asked == ["registry.json", "root.json"]


async def test_sequence_numbers_survive_the_process(site: Site, tmp_path: Path) -> None:
    first = client_of(site, tmp_path)
    provider = (await first.snapshot()).providers[0]
    assert provider.verify(NOW).seq == 5
    await first.aclose()
    site.world.publish_registry(2, entries=[_plain(site.world.entry(seq=4))])
    second = client_of(site, tmp_path)
    snapshot = await second.refresh()
    assert "seq 4 is below 5" in (snapshot.providers[0].problem(NOW) or "")
    await second.aclose()


async def test_sequence_numbers_do_not_wait_for_the_end(site: Site, tmp_path: Path) -> None:
    """A process that is killed has seen what it has seen."""
    first = client_of(site, tmp_path)
    (await first.snapshot()).providers[0].verify(NOW)
    await first.snapshot()
    site.world.publish_registry(2, entries=[_plain(site.world.entry(seq=4))])
    snapshot = await client_of(site, tmp_path).refresh()
    assert "seq 4 is below 5" in (snapshot.providers[0].problem(NOW) or "")


async def test_a_worker_adopts_what_another_fetched(site: Site, tmp_path: Path) -> None:
    one, two = client_of(site, tmp_path), client_of(site, tmp_path)
    await one.snapshot()
    await two.snapshot()
    site.world.now += 4 * 3600
    site.world.publish_registry(2)
    await one.refresh()
    asked = len(site.asked)
    await two.snapshot()
    await settle(two)
    assert (await two.snapshot()).version == 2
    assert len(site.asked) == asked


async def test_sources_of_every_kind(site: Site, tmp_path: Path) -> None:
    world = site.world
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "registry.json").write_bytes(world.registry_raw or b"")
    (folder / "root.json").write_bytes(world.roots[1])
    options: dict[str, Any] = {"clock": world.clock, "cache_dir": tmp_path / "cache"}
    for source, trust in (
        (folder, world.trust),
        (str(folder / "registry.json"), world.trust),
        (folder, folder / "root.json"),
        (world.registry_raw or b"", world.roots[1]),
        (world.registry_raw or b"", folder / "root.json"),
    ):
        client = RegistryClient(source, trust=trust, **options)
        snapshot = await client.snapshot()
        assert snapshot.version == 1
        assert snapshot.origin.allow_loopback
        await client.aclose()


async def test_a_file_signed_again_is_read_again(site: Site, tmp_path: Path) -> None:
    world = site.world
    (tmp_path / "registry.json").write_bytes(world.registry_raw or b"")
    client = RegistryClient(tmp_path, trust=world.roots[1], clock=world.clock)
    assert (await client.snapshot()).version == 1
    world.now += 1
    (tmp_path / "registry.json").write_bytes(world.publish_registry(2, entries=[]))
    assert (await client.snapshot()).version == 2
    again = RegistryClient(tmp_path, trust=world.roots[1], clock=world.clock)
    assert (await again.snapshot()).version == 2


async def test_a_file_that_is_broken_again_and_again_is_not_read_for_every_request(
    site: Site, tmp_path: Path
) -> None:
    world = site.world
    path = tmp_path / "registry.json"
    path.write_bytes(world.registry_raw or b"")
    client = RegistryClient(path, trust=world.roots[1], clock=world.clock)
    await client.snapshot()
    path.write_bytes(b"half a fi")
    assert (await client.snapshot()).version == 1
    first = client.refresh_error
    assert first is not None
    path.write_bytes(b"half a file")
    assert (await client.snapshot()).version == 1
    assert client.refresh_error is first
    world.now += RETRY_AFTER
    await client.snapshot()
    assert client.refresh_error is not first


async def test_bytes_need_a_pinned_root(site: Site) -> None:
    client = RegistryClient(site.world.registry_raw or b"", trust=site.world.trust)
    with pytest.raises(ConfigError, match=r"root\.json as trust"):
        await client.snapshot()


async def test_the_wrong_trust(site: Site, tmp_path: Path) -> None:
    stranger = ["ed25519:" + World().registry_keys[0].public_key.hex()]
    with pytest.raises(RegistrySignatureError, match="trusted root keys"):
        await client_of(site, tmp_path, trust=stranger).snapshot()


async def test_an_insisted_network(site: Site, tmp_path: Path) -> None:
    assert await client_of(site, tmp_path / "a", network="devnet/test").snapshot()
    with pytest.raises(Exception, match="expected -239/main"):
        await client_of(site, tmp_path / "b", network="-239/main").snapshot()


def _plain(entry: Any) -> dict[str, str]:
    return {"d": entry.d, "s": entry.s}


async def test_a_path_that_leads_nowhere_is_noticed_although_the_cache_is_fresh(
    site: Site, tmp_path: Path
) -> None:
    world, cache, folder = site.world, tmp_path / "cache", tmp_path / "files"
    folder.mkdir()
    (folder / "registry.json").write_bytes(world.registry_raw or b"")
    options: dict[str, Any] = {"trust": world.roots[1], "clock": world.clock, "cache_dir": cache}
    held = RegistryClient(folder, **options)
    await held.snapshot()
    with pytest.raises(RegistryUnavailableError, match=r"no registry file at .*nowhere"):
        await RegistryClient(tmp_path / "nowhere", **options).snapshot()
    (folder / "registry.json").unlink()
    for client in (held, RegistryClient(folder, **options)):
        with pytest.raises(RegistryUnavailableError, match="no registry file"):
            await client.snapshot()


async def test_the_first_use_of_a_source_fetches_although_the_cache_is_fresh(
    site: Site, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "trust": site.world.roots[1],
        "cache_dir": tmp_path,
        "clock": site.world.clock,
        "transport": httpx.MockTransport(site.handle),
    }
    await RegistryClient(URL, **options).snapshot()
    site.down = True
    mirror = RegistryClient("https://mirror.example/registry.json", **options)
    for _ in range(2):
        with pytest.raises(RegistryUnavailableError):
            await mirror.snapshot()
    assert (await RegistryClient(URL, **options).snapshot()).version == 1
    site.down = False
    assert (await mirror.snapshot()).version == 1
    site.down = True
    known = RegistryClient("https://mirror.example/registry.json", **options)
    assert (await known.snapshot()).version == 1


async def test_the_evidence_of_a_fork_is_kept(site: Site, tmp_path: Path) -> None:
    client = client_of(site, tmp_path)
    await client.snapshot()
    site.world.publish_registry(1, entries=[])
    with pytest.raises(RegistryEquivocationError) as caught:
        await client.refresh()
    assert caught.value.evidence is not None
    path = Path(caught.value.evidence)
    assert path.parent == tmp_path / "evidence"
    first, second = check_evidence(path.read_bytes(), parse_trust(site.world.trust))
    assert {first.raw, second.raw} == set(caught.value.envelopes)
    with pytest.raises(RegistryEquivocationError) as again:
        await client.snapshot()
    assert again.value is caught.value


async def test_evidence_without_a_cache_or_with_one_that_is_in_the_way(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "evidence").write_text("in the way")
    honest = site.world.registry_raw
    for cache in (False, True):
        site.world.registry_raw = honest
        client = client_of(site, tmp_path, cache=cache)
        await client.snapshot()
        site.world.publish_registry(1, entries=[])
        with pytest.raises(RegistryEquivocationError) as caught:
            await client.refresh()
        assert caught.value.evidence is None
        assert len(caught.value.envelopes) == 2
    assert "evidence of a fork cannot be written" in caplog.text


async def test_a_registry_that_a_provider_shows(site: Site, tmp_path: Path) -> None:
    client = client_of(site, tmp_path)
    honest = await client.snapshot()
    assert not await client.confront(b"rubbish")
    assert await client.snapshot() is honest
    newer = site.world.make_registry(2)
    assert await client.confront(newer)
    assert (await client.snapshot()).version == 1
    with pytest.raises(RegistryEquivocationError) as caught:
        await client.confront(site.world.make_registry(1, entries=[]))
    assert caught.value.evidence is not None
    with pytest.raises(RegistryEquivocationError):
        await client.snapshot()


async def test_a_fork_stays_a_fork_whatever_is_fetched_next(site: Site, tmp_path: Path) -> None:
    client = client_of(site, tmp_path)
    await client.snapshot()
    fork = site.world.make_registry(1, entries=[])
    # A refresh in the background waits while the fork is judged.
    site.world.now += 3 * 3600
    site.gate = asyncio.Event()
    await client.snapshot()
    judging = asyncio.create_task(client.confront(fork))
    await asyncio.sleep(0.01)
    site.world.publish_registry(2)
    site.gate.set()
    results = await asyncio.gather(judging, return_exceptions=True)
    if not isinstance(results[0], RegistryEquivocationError):  # version 2 came first, as it may
        with pytest.raises(RegistryEquivocationError):
            await client.confront(site.world.make_registry(2, entries=[]))
    for _ in range(2):
        with pytest.raises(RegistryEquivocationError):
            await client.refresh()
        with pytest.raises(RegistryEquivocationError):
            await client.snapshot()


async def test_a_refresh_that_waited_for_the_judgement_changes_nothing(
    site: Site, tmp_path: Path
) -> None:
    client = client_of(site, tmp_path)
    await client.snapshot()
    judging = asyncio.create_task(client.confront(site.world.make_registry(1, entries=[])))
    await asyncio.sleep(0)  # it holds the lock
    site.world.now += 3 * 3600
    await client.snapshot()  # begins a refresh in the background
    waiting = asyncio.create_task(client.refresh())
    for task in (judging, waiting):
        with pytest.raises(RegistryEquivocationError):
            await task
    for _ in range(5):
        await asyncio.sleep(0.005)
    with pytest.raises(RegistryEquivocationError):
        await client.snapshot()


async def test_a_fork_in_the_cache_of_another_worker_is_met_at_the_start(
    site: Site, tmp_path: Path
) -> None:
    client = client_of(site, tmp_path)
    await client.snapshot()
    (path,) = tmp_path.rglob("registry.json")
    path.write_bytes(site.world.make_registry(1, entries=[]))
    with pytest.raises(RegistryEquivocationError):
        await client_of(site, tmp_path).snapshot()


async def test_an_anchor_policy_that_is_unknown(site: Site, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="anchor is 'maybe'"):
        await client_of(site, tmp_path, anchor="maybe").snapshot()


async def test_the_anchor_is_asked_and_closed(site: Site, tmp_path: Path) -> None:
    site.world.publish_root(1, anchor={"contract": CONTRACT})
    chain = FakeChainClient(Seen(1, 5, bytes(32)))
    client = client_of(site, tmp_path, anchor="warn", open_chain=lambda _: chain)
    snapshot = await client.snapshot()
    assert isinstance(snapshot.errors[0], RegistryRollbackError)
    await client.aclose()
    assert chain.closed
    refused = client_of(site, tmp_path / "x", anchor="require", open_chain=lambda _: chain)
    with pytest.raises(RegistryRollbackError, match="the anchor on chain names version 5"):
        await refused.snapshot()
    await client_of(site, tmp_path).aclose()  # one that was never used


async def test_mirrors_given_and_named(site: Site, tmp_path: Path) -> None:
    world, hosts = site.world, []
    world.publish_root(1, mirrors=["https://named.example/files/", "http://not-tls.example/"])

    async def handle(request: httpx.Request) -> httpx.Response:
        hosts.append(f"{request.headers['Host']}{request.url.path}")
        if request.headers["Host"] == "example.org" and down:
            raise httpx.ConnectError("down")
        return await site.handle(request)

    async def resolve(host: str, port: int) -> list[str]:
        return ["93.184.216.34"]

    down = False
    options: dict[str, Any] = {"transport": httpx.MockTransport(handle), "rng": Random(1)}
    client = client_of(site, tmp_path, **options)
    await client.snapshot()
    down = True
    client._opened.updater.places.in_order()[1]._resolve = resolve
    hosts.clear()
    assert (await client.refresh()).version == 1
    assert sorted(hosts) == ["example.org/registry.json", "named.example/files/registry.json"]
    given = client_of(
        site, tmp_path / "x", mirrors=["https://given.example/registry.json"], **options
    )
    hosts.clear()
    assert (await given.snapshot()).version == 1
    assert "given.example/registry.json" in hosts


async def test_a_file_that_turns_bad_leaves_the_copy_a_fork_does_not(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world, path = site.world, tmp_path / "registry.json"
    path.write_bytes(world.registry_raw or b"")
    client = RegistryClient(
        tmp_path, trust=world.roots[1], clock=world.clock, cache_dir=tmp_path / "cache"
    )
    first = await client.snapshot()
    path.write_bytes(b"rubbish")
    assert (await client.snapshot()).digest == first.digest
    assert isinstance(client.refresh_error, RegistryFormatError)
    assert "serves on" in caplog.text
    world.now += RETRY_AFTER
    path.write_bytes(world.make_registry(1, entries=[]))
    with pytest.raises(RegistryEquivocationError):
        await client.snapshot()


def test_the_clock_is_the_systems() -> None:
    assert abs(unix_time() - time.time()) < 5
