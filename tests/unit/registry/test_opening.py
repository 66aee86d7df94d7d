"""From what the user wrote to the parts that hold one registry."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import httpx
import msgspec
import pytest
from registry_world import NOW, World, descriptor_of, make_keys

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.registry import anchor as anchor_module
from cocoon_sdk.registry.anchor import AnchorCheck
from cocoon_sdk.registry.descriptor import sign_descriptor
from cocoon_sdk.registry.fetch import RegistryClient
from cocoon_sdk.registry.snapshot import make_snapshot
from cocoon_sdk.registry.trust import parse_trust
from cocoon_sdk.registry.verify import TrustedSet
from cocoon_sdk.registry.views import CANDIDATES_PER_MODEL

pytestmark = pytest.mark.anyio


async def test_a_path_as_text_asks_no_mirror_of_the_root(tmp_path: Path) -> None:
    """Who names a file on this machine does not want the network asked."""
    world = World()
    world.publish_root(1, mirrors=["https://m.example/"])
    (tmp_path / "registry.json").write_bytes(world.registry_raw or b"")
    (tmp_path / "root.json").write_bytes(world.roots[1])

    def handle(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.url)

    client = RegistryClient(
        str(tmp_path),
        trust=world.trust,
        cache=False,
        clock=world.clock,
        transport=httpx.MockTransport(handle),
    )
    await client.snapshot()
    assert client._opened is not None
    assert len(client._opened.updater.places.in_order()) == 1


async def test_a_mirror_that_the_user_named_before_proves_the_cache_for_a_new_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry's new address that is down at the first start stops nobody who knows a mirror."""
    worlds = {"known": World(), "new": World()}
    for name, world in worlds.items():
        world.locator = name
    worlds["new"].registry_raw = None
    monkeypatch.setattr("cocoon_sdk.registry.opening.open_source", lambda one, **_: worlds[one])
    options: dict[str, Any] = {
        "trust": worlds["known"].trust,
        "cache_dir": tmp_path,
        "clock": worlds["known"].clock,
    }
    await RegistryClient("known", **options).snapshot()
    worlds["known"].registry_raw = None
    client = RegistryClient("new", mirrors=["known"], **options)
    assert (await client.snapshot()).version == 1


async def test_an_address_with_letters_that_only_look_like_ascii_is_refused() -> None:
    client = RegistryClient("https://example.org/r\u0435gistry.json", trust=World().trust)
    with pytest.raises(ConfigError, match="not a URL of printable ASCII"):
        await client.snapshot()


async def test_the_draw_is_the_callers_where_one_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a simulation or a report of a fault draws can be drawn again."""
    world = World()
    keys = make_keys("drawn", CANDIDATES_PER_MODEL + 40)
    entries = [sign_descriptor(key, descriptor_of(key)) for key in keys]
    world.publish_registry(1, entries=msgspec.to_builtins(entries))
    monkeypatch.setattr("cocoon_sdk.registry.opening.open_source", lambda *_, **__: world)

    async def drawn(rng: Random | None) -> list[str]:
        client = RegistryClient("world", trust=world.trust, cache=False, clock=world.clock, rng=rng)
        return [one.id for one in (await client.snapshot("m")).providers]

    assert await drawn(Random(3)) == await drawn(Random(3))
    assert await drawn(None) != await drawn(None)


async def test_who_asks_for_one_provider_is_not_shown_the_one_asked_for_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    keys = make_keys("drawn", CANDIDATES_PER_MODEL + 40)
    entries = [sign_descriptor(key, descriptor_of(key)) for key in keys]
    world.publish_registry(1, entries=msgspec.to_builtins(entries))
    monkeypatch.setattr("cocoon_sdk.registry.opening.open_source", lambda *_, **__: world)
    client = RegistryClient("world", trust=world.trust, cache=False, clock=world.clock)
    for key in keys[:3]:
        name = key.public_key.hex()
        assert [one.id for one in (await client.snapshot("m", only=[name])).providers] == [name]


async def test_a_check_without_a_chain_of_its_own_asks_the_public_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    trusted = TrustedSet(parse_trust(world.trust))
    root = trusted.update_root(world.roots[1])
    registry = trusted.update_registry(world.registry_raw or b"", NOW)
    opened: list[int] = []

    def public(network: int) -> Any:
        opened.append(network)
        return None

    monkeypatch.setattr(anchor_module, "_public_chain", public)
    assert not await AnchorCheck("warn").is_newer(root, registry)
    assert opened == [-217]


def test_the_providers_of_a_model_are_searched_once() -> None:
    world = World()
    trusted = TrustedSet(parse_trust(world.trust))
    trusted.update_root(world.roots[1])
    snapshot = make_snapshot(trusted.update_registry(world.registry_raw or b"", NOW))
    assert snapshot.for_model("m")
    assert snapshot.for_model("m") is snapshot.for_model("m")
