"""Which shards are fetched, from where, and what a shard that cannot be had does to the others."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec
import pytest
from registry_world import World, descriptor_of, make_keys

from cocoon_sdk.errors import RegistryFormatError, RegistryUnavailableError
from cocoon_sdk.registry.descriptor import sign_descriptor
from cocoon_sdk.registry.model import Shard
from cocoon_sdk.registry.shelf import KEEP_UNLISTED, RETRY_SHARD_AFTER, ShardShelf

pytestmark = pytest.mark.anyio


class Shelf:
    """A shelf over a world in shards."""

    def __init__(self, folder: Path | None, *mirrors: World, count: int = 6) -> None:
        self.world = World()
        keys = make_keys("listed", count)
        self.entries = [sign_descriptor(key, descriptor_of(key)) for key in keys]
        lines = self.world.publish_shards(1, self.entries)
        self.index = [msgspec.convert(line, Shard) for line in lines]
        self.shelf = ShardShelf(lambda: [self.world, *mirrors], self.world.clock)
        self.shelf.use(self.index, folder)


async def test_only_what_is_asked_for_is_fetched_once() -> None:
    made = Shelf(None)
    first, second, *_ = made.index
    await made.shelf.bring([first, second])
    await made.shelf.bring([first])
    assert set(made.shelf.loaded) == {first.name, second.name}
    assert made.world.asked == [f"shards/{one.sha256}.json" for one in (first, second)]
    assert made.shelf.holds(first)
    assert not made.shelf.holds(made.index[2])
    assert made.shelf.broken == {}


async def test_callers_at_once_share_one_fetch() -> None:
    made = Shelf(None)
    await asyncio.gather(*(made.shelf.bring(made.index) for _ in range(5)))
    assert len(made.world.asked) == len(made.index)


async def test_a_caller_that_gives_up_does_not_take_it_from_the_others() -> None:
    made = Shelf(None)
    gate = asyncio.Event()
    honest = made.world.shard

    async def slow(sha256: str, length: int) -> bytes | None:
        await gate.wait()
        return await honest(sha256, length)

    made.world.shard = slow  # type: ignore[method-assign] # the test's own world
    one, two = (asyncio.create_task(made.shelf.bring(made.index[:1])) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    await asyncio.gather(one, return_exceptions=True)
    gate.set()
    await two
    assert made.shelf.holds(made.index[0])


async def test_a_missing_shard_hurts_only_its_own_providers() -> None:
    made = Shelf(None)
    bad, good, *_ = made.index
    lost = made.world.shards.pop(bad.sha256)
    await made.shelf.bring([bad, good])
    assert set(made.shelf.loaded) == {good.name}
    assert isinstance(made.shelf.broken[bad.name], RegistryUnavailableError)
    made.world.shards[bad.sha256] = lost
    asked = len(made.world.asked)
    made.world.now += RETRY_SHARD_AFTER - 1
    await made.shelf.bring([bad])  # not on every call
    assert len(made.world.asked) == asked
    assert made.shelf.lacks(bad)
    made.world.now += 1
    assert not made.shelf.lacks(bad)
    await made.shelf.bring([bad])
    assert made.shelf.holds(bad)
    assert made.shelf.broken == {}


async def test_the_next_source_is_asked_where_the_first_gives_other_bytes() -> None:
    mirror = World()
    made = Shelf(None, mirror)
    shard = made.index[0]
    mirror.shards[shard.sha256] = made.world.shards[shard.sha256]
    made.world.shards[shard.sha256] = b"[]"
    await made.shelf.bring([shard])
    assert made.shelf.holds(shard)
    del mirror.shards[shard.sha256]
    made.shelf.use([], None)
    made.shelf.use(made.index, None)
    await made.shelf.bring([shard])
    assert isinstance(made.shelf.broken[shard.name], RegistryFormatError)  # the first one's answer


async def test_processes_share_what_was_fetched(tmp_path: Path) -> None:
    one, two = Shelf(tmp_path), Shelf(tmp_path)
    await one.shelf.bring(one.index)
    await two.shelf.bring(two.index)
    assert two.world.asked == []
    assert two.shelf.loaded == one.shelf.loaded


async def test_a_damaged_copy_is_fetched_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = Shelf(tmp_path), Shelf(tmp_path)
    await one.shelf.bring(one.index)
    shard = one.index[0]
    path = tmp_path / "shards" / f"{shard.sha256}.json"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b" ")
    await two.shelf.bring([shard])
    assert two.world.asked == [f"shards/{shard.sha256}.json"]
    assert "damaged" in caplog.text
    assert path.read_bytes() == good


async def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "shards").write_text("in the way")
    made = Shelf(tmp_path)
    await made.shelf.bring(made.index)
    await made.shelf.prune()
    assert len(made.shelf.loaded) == len(made.index)
    assert "not kept" in caplog.text


async def test_a_new_index_keeps_what_did_not_change(tmp_path: Path) -> None:
    made = Shelf(tmp_path)
    await made.shelf.bring(made.index)
    lost, *kept = made.index
    made.shelf.use(kept, tmp_path)
    assert set(made.shelf.loaded) == {shard.name for shard in kept}
    asked = len(made.world.asked)
    await made.shelf.bring(kept)
    assert len(made.world.asked) == asked
    path = tmp_path / "shards" / f"{lost.sha256}.json"
    await made.shelf.prune()
    assert path.exists()  # another process may still hold the older index
    old = path.stat().st_mtime - KEEP_UNLISTED - 60
    for shard in (lost, kept[0]):
        os.utime(tmp_path / "shards" / f"{shard.sha256}.json", (old, old))
    await made.shelf.prune()
    assert not path.exists()
    assert (tmp_path / "shards" / f"{kept[0].sha256}.json").exists()


async def test_an_index_that_moves_on_while_a_shard_loads() -> None:
    made = Shelf(None)
    gate = asyncio.Event()
    honest = made.world.shard

    async def slow(sha256: str, length: int) -> bytes | None:
        await gate.wait()
        return await honest(sha256, length)

    made.world.shard = slow  # type: ignore[method-assign] # the test's own world
    good, bad, *rest = made.index
    del made.world.shards[bad.sha256]
    task = asyncio.create_task(made.shelf.bring([good, bad]))
    await asyncio.sleep(0)
    made.shelf.use(rest, None)
    gate.set()
    await task
    assert made.shelf.loaded == {}
    assert made.shelf.broken == {}


async def test_closing_stops_what_is_loading() -> None:
    made = Shelf(None)

    async def never(sha256: str, length: int) -> bytes | None:
        await asyncio.Event().wait()

    made.world.shard = never  # type: ignore[method-assign] # the test's own world
    task = asyncio.create_task(made.shelf.bring(made.index))
    await asyncio.sleep(0)
    await made.shelf.aclose()
    await task
    assert made.shelf.loaded == {}


async def test_an_error_that_is_not_the_sources_is_not_hidden() -> None:
    made = Shelf(None)

    async def broken(sha256: str, length: int) -> bytes | None:
        raise ZeroDivisionError

    made.world.shard = broken  # type: ignore[method-assign] # the test's own world
    with pytest.raises(ZeroDivisionError):
        await made.shelf.bring(made.index[:1])
