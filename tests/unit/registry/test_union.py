"""Several registries as one: who is listed by any of them, and what one of them cannot do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from registry_world import DAY, NOW, World, descriptor_of, make_keys

from cocoon_sdk.errors import (
    ConfigError,
    RegistryEquivocationError,
    RegistryExpiredError,
    RegistryRollbackError,
    RegistrySignatureError,
    RegistryUnavailableError,
)
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.registry import union as union_module
from cocoon_sdk.registry.descriptor import sign_descriptor
from cocoon_sdk.registry.fetch import RETRY_AFTER, RegistryClient
from cocoon_sdk.registry.model import Entry
from cocoon_sdk.registry.shared import SharedProvider
from cocoon_sdk.registry.union import RegistryUnion

pytestmark = pytest.mark.anyio

ALICE, BOB, CAROL = make_keys("listed", 3)
A, B, C = (key.public_key.hex() for key in (ALICE, BOB, CAROL))


def entry(key: Ed25519Key, **changes: Any) -> Entry:
    return sign_descriptor(key, descriptor_of(key, network="devnet", **changes))


class Operators:
    """Two or more operators, each with keys of its own, and a client that reads them all."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.folder, self.patch = folder, monkeypatch
        self.worlds: dict[str, World] = {}
        for name in names:
            world = World()
            world.locator, world.network = name, f"devnet/{name}"
            world.root_keys = make_keys(f"root {name}", 3)
            world.registry_keys = make_keys(f"registry {name}", 3)
            world.publish_root(1)
            self.worlds[name] = world
        self.now = NOW
        monkeypatch.setattr(union_module, "unix_time", lambda: self.now)
        monkeypatch.setattr(union_module, "GRACE", 0.5)
        monkeypatch.setattr(
            "cocoon_sdk.registry.opening.open_source", lambda name, **_: self.worlds[name]
        )

    def lists(self, name: str, *entries: Entry, version: int = 1, **changes: Any) -> None:
        plain = msgspec.to_builtins(list(entries))
        self.worlds[name].publish_registry(version, entries=plain, **changes)

    def client(self, name: str, **options: Any) -> RegistryClient:
        world = self.worlds[name]
        trust = [f"ed25519:{key.public_key.hex()}" for key in world.root_keys]
        return RegistryClient(
            name,
            trust=trust,
            cache_dir=self.folder,
            clock=lambda: self.now,
            rng=Random(1),
            **options,
        )

    def union(self) -> RegistryUnion:
        return RegistryUnion([self.client(name) for name in self.worlds])


@pytest.fixture
def operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operators:
    return Operators(tmp_path, monkeypatch, "one", "two")


async def test_whoever_is_listed_by_one_can_be_chosen(operators: Operators) -> None:
    operators.lists("one", entry(ALICE), entry(BOB))
    operators.lists("two", entry(BOB), entry(CAROL))
    union = operators.union()
    snapshot = await union.snapshot("m")
    assert (snapshot.network, snapshot.errors) == (-217, ())
    assert {one.id: one.registries for one in snapshot.providers} == {
        A: ("devnet/one",),
        B: ("devnet/one", "devnet/two"),
        C: ("devnet/two",),
    }
    assert {one.id for one in snapshot.for_model("m")} == {A, B, C}
    assert snapshot.for_model("other") == ()
    assert snapshot.models == {"m": 4}
    carol = snapshot.get(C)
    assert carol is not None
    assert carol.chosen(NOW).origin.registry == "devnet/two"
    assert snapshot.get("00" * 32) is None
    assert await union.snapshot("m") is snapshot
    await union.aclose()


async def test_of_two_descriptions_the_newest_valid_one_counts(operators: Operators) -> None:
    operators.lists("one", entry(ALICE, seq=6), entry(BOB, seq=6), entry(CAROL, seq=6))
    forged = entry(CAROL, seq=99)
    forged = Entry(d=forged.d, s=entry(CAROL, seq=98).s)
    operators.lists("two", entry(ALICE, seq=7), entry(BOB, seq=5), forged)
    snapshot = await operators.union().snapshot()
    found = {}
    for name in (A, B, C):
        shared = snapshot.get(name)
        assert isinstance(shared, SharedProvider)
        assert shared.public_key.hex() == name
        assert shared.problem(NOW) is None
        found[name] = (shared.verify(NOW).seq, shared.chosen(NOW).origin.registry)
    assert found == {
        A: (7, "devnet/two"),
        B: (6, "devnet/one"),
        C: (6, "devnet/one"),  # what another operator invents hides nobody
    }


async def test_the_first_registry_counts_where_both_say_the_same(operators: Operators) -> None:
    operators.lists("one", entry(ALICE))
    operators.lists("two", entry(ALICE))
    shared = (await operators.union().snapshot()).get(A)
    assert shared is not None
    assert shared.chosen(NOW).origin.registry == "devnet/one"


async def test_no_operator_alone_can_revoke(operators: Operators) -> None:
    operators.lists("one", entry(ALICE, seq=9), revoked=[A], min_seq={A: 99})
    operators.lists("two", entry(ALICE, seq=8))
    shared = (await operators.union().snapshot()).get(A)
    assert shared is not None
    assert shared.verify(NOW).seq == 8
    assert shared.chosen(NOW).origin.registry == "devnet/two"


async def test_a_provider_that_all_refuse(operators: Operators) -> None:
    operators.lists("one", entry(ALICE), revoked=[A])
    operators.lists("two", entry(ALICE), min_seq={A: 99})
    shared = (await operators.union().snapshot()).get(A)
    assert shared is not None
    assert "revoked" in (shared.problem(NOW) or "")
    with pytest.raises(RegistrySignatureError, match="revoked"):
        shared.verify(NOW)


async def test_models_of_both_descriptions(operators: Operators) -> None:
    first = descriptor_of(ALICE, network="devnet").models[0]
    other = msgspec.structs.replace(first, id="n")
    operators.lists("one", entry(ALICE))
    operators.lists("two", entry(ALICE, models=[first, other], seq=6))
    snapshot = await operators.union().snapshot()
    assert [one.id for one in snapshot.for_model("n")] == [A]


@pytest.mark.parametrize("dead", ["one", "two"])
async def test_one_that_is_down_does_not_stop_the_other(
    operators: Operators, dead: str, caplog: pytest.LogCaptureFixture
) -> None:
    operators.lists("one", entry(ALICE))
    operators.lists("two", entry(ALICE))
    operators.worlds[dead].registry_raw = None
    union = operators.union()
    snapshot = await union.snapshot()
    assert len(snapshot.parts) == 1
    assert isinstance(snapshot.failures[dead], RegistryUnavailableError)
    assert snapshot.errors == (snapshot.failures[dead],)
    asked = len(operators.worlds[dead].asked)
    assert await union.snapshot() is snapshot
    assert len(operators.worlds[dead].asked) == asked  # not on every request
    operators.now += RETRY_AFTER
    assert len((await union.snapshot()).parts) == 1
    told = [one for one in caplog.messages if one.startswith(f"the registry {dead} is left out")]
    assert len(told) == 1  # not at every attempt
    operators.lists(dead, entry(ALICE))
    operators.now += RETRY_AFTER
    assert len((await union.snapshot()).parts) == 2


async def test_one_that_expired_or_forked_is_left_out(operators: Operators) -> None:
    operators.lists("one", entry(ALICE))
    operators.lists("two", entry(BOB), expires=NOW + 30 * DAY)
    union = operators.union()
    await union.snapshot()
    operators.now += 2 * DAY
    snapshot = await union.snapshot()
    assert isinstance(snapshot.failures["one"], RegistryExpiredError)
    assert [one.id for one in snapshot.providers] == [B]
    operators.lists("two", entry(CAROL), expires=NOW + 30 * DAY)
    with pytest.raises(RegistryEquivocationError):
        await union._members[1].client.refresh()
    with pytest.raises(RegistryExpiredError):  # nothing is left; the first one's reason
        await union.snapshot()


async def test_a_slow_one_is_left_out_and_joins_later(operators: Operators) -> None:
    operators.lists("one", entry(ALICE))
    operators.lists("two", entry(BOB))
    gate = asyncio.Event()
    world = operators.worlds["one"]
    honest = world.registry

    async def slow(etag: str | None) -> Any:
        await gate.wait()
        return await honest(etag)

    world.registry = slow  # type: ignore[method-assign] # the test's own world
    union = operators.union()
    async with asyncio.timeout(5):
        snapshot = await union.snapshot()
        assert [one.id for one in snapshot.providers] == [B]
        assert "not answered yet" in str(snapshot.failures["one"])
        assert [one.id for one in (await union.snapshot()).providers] == [B]
        gate.set()
        while len((await union.snapshot()).parts) < 2:
            await asyncio.sleep(0.01)
    await union.aclose()


async def test_closing_stops_one_that_never_answers(operators: Operators) -> None:
    operators.lists("two", entry(BOB))

    async def never(etag: str | None) -> Any:
        await asyncio.Event().wait()

    operators.worlds["one"].registry = never  # type: ignore[method-assign] # the test's own world
    union = operators.union()
    await union.snapshot()
    task = union._members[0].task
    async with asyncio.timeout(5):
        await union.aclose()
    assert task is not None
    assert task.cancelled()


async def test_when_all_are_down_each_request_asks_again(operators: Operators) -> None:
    for world in operators.worlds.values():
        world.registry_raw = None
    union = operators.union()
    for _ in range(2):
        with pytest.raises(RegistryUnavailableError):
            await union.snapshot()
    operators.lists("two", entry(BOB))
    assert [one.id for one in (await union.snapshot()).providers] == [B]


async def test_all_are_of_one_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    operators = Operators(tmp_path, monkeypatch, "one", "two")
    operators.worlds["two"].network = "-3/two"
    operators.worlds["two"].publish_root(1)
    operators.lists("one", entry(ALICE))
    operators.lists("two", entry(ALICE))
    union = operators.union()
    snapshot = await union.snapshot()
    assert snapshot.network == -217
    assert isinstance(snapshot.failures["two"], ConfigError)
    operators.worlds["one"].registry_raw = None
    operators.now += 2 * DAY
    with pytest.raises(RegistryUnavailableError):
        await union.snapshot()


async def test_a_quick_registry_puts_no_other_on_its_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first in the list decides, not the first that answers."""
    operators = Operators(tmp_path, monkeypatch, "one", "two")
    operators.worlds["two"].network = "-3/two"
    operators.worlds["two"].publish_root(1)
    operators.lists("one", entry(ALICE))
    operators.lists("two", entry(BOB))
    kept, operators.worlds["one"].registry_raw = operators.worlds["one"].registry_raw, None
    union = operators.union()
    assert (await union.snapshot()).network == -3
    operators.worlds["one"].registry_raw = kept
    operators.now += 60
    snapshot = await union.snapshot()
    assert (snapshot.network, list(snapshot.failures)) == (-217, ["two"])
    assert [one.id for one in snapshot.providers] == [A]
    await union.aclose()


async def test_refresh_asks_all(operators: Operators) -> None:
    operators.lists("one", entry(ALICE))
    operators.lists("two", entry(BOB))
    union = operators.union()
    await union.snapshot()
    operators.lists("one", entry(CAROL), version=2)
    operators.worlds["two"].registry_raw = None
    snapshot = await union.refresh()
    assert {one.id for one in snapshot.providers} == {C}
    assert isinstance(snapshot.failures["two"], RegistryUnavailableError)


async def test_a_fork_that_a_provider_shows(operators: Operators) -> None:
    operators.lists("one", entry(ALICE))
    operators.lists("two", entry(BOB))
    union = operators.union()
    await union.snapshot()
    two = operators.worlds["two"]
    assert await union.confront(two.registry_raw or b"")
    assert not await union.confront(b"rubbish")
    with pytest.raises(RegistryEquivocationError):
        await union.confront(two.make_registry(1, entries=[]))
    snapshot = await union.snapshot()
    assert [one.id for one in snapshot.providers] == [A]
    assert isinstance(snapshot.failures["two"], RegistryEquivocationError)


async def test_a_registry_that_cannot_be_opened_hides_no_fork_of_another(
    operators: Operators,
) -> None:
    operators.lists("one", entry(ALICE))
    operators.lists("two", entry(BOB))
    union = operators.union()
    broken = union._members[0].client
    broken._open_registry = _unopenable
    await union.snapshot()
    assert await union.confront(operators.worlds["two"].registry_raw or b"")
    with pytest.raises(RegistryEquivocationError):
        await union.confront(operators.worlds["two"].make_registry(1, entries=[]))


async def _unopenable() -> None:
    raise ConfigError("no such trust")


async def test_unions_are_not_remembered_without_end(
    operators: Operators, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(union_module, "_REMEMBERED_UNIONS", 2)
    operators.lists("one", entry(ALICE))
    operators.lists("two", entry(BOB))
    union = operators.union()
    for version in range(2, 8):
        operators.lists("one", entry(ALICE), version=version, prev=operators.worlds["one"].digest())
        await union.refresh()
    assert len(union._unions) <= 2


async def test_an_older_file_of_one_is_that_ones_own_failure(operators: Operators) -> None:
    operators.lists("one", entry(ALICE))
    old = operators.worlds["one"].registry_raw
    operators.lists("one", entry(ALICE), version=2)
    operators.lists("two", entry(BOB))
    union = operators.union()
    await union.snapshot()
    operators.worlds["one"].registry_raw = old
    with pytest.raises(RegistryRollbackError):
        await union._members[0].client.refresh()
    snapshot = await union.snapshot()
    assert {one.id for one in snapshot.providers} == {A, B}
    assert any(isinstance(error, RegistryRollbackError) for error in snapshot.errors)
