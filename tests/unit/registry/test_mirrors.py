"""Whom a client asks, two at a time, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import logging
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from cocoon_sdk.errors import (
    RegistryEquivocationError,
    RegistryFormatError,
    RegistryUnavailableError,
)
from cocoon_sdk.registry import mirrors
from cocoon_sdk.registry.mirrors import PAIRS_PER_REFRESH, Places, Race, mirror_url

pytestmark = pytest.mark.anyio


def place(name: str) -> Any:
    return SimpleNamespace(locator=name)


def opened(url: str) -> Any:
    if "bad" in url:
        raise RegistryFormatError("bad")
    return place(url)


@pytest.mark.parametrize(
    ("given", "file"),
    [
        ("https://a.example/x/registry.json", "https://a.example/x/registry.json"),
        ("https://a.example/x/list", "https://a.example/x/list"),
        ("https://a.example/x/", "https://a.example/x/registry.json"),
        ("https://a.example/x/?t=1", "https://a.example/x/registry.json?t=1"),
        ("https://a.example", "https://a.example/registry.json"),
    ],
)
def test_a_mirror_is_a_file_or_the_folder_of_one(given: str, file: str) -> None:
    assert mirror_url(given) == file


@pytest.mark.parametrize("url", ["https://[", "https://[bad]/", "https://[::1"])
def test_a_mirror_that_is_no_url_is_left_out(url: str) -> None:
    with pytest.raises(RegistryFormatError, match="not a URL"):
        mirror_url(url)
    places = Places([place("own")], open_mirror=lambda one: place(mirror_url(one)), rng=Random(1))
    places.follow([url, "https://a.example/x"])
    assert [one.locator for one in places.in_order()[1:]] == ["https://a.example/x"]


def test_the_own_address_comes_first_with_a_random_other() -> None:
    own = place("own")
    places = Places([own, place("b")], open_mirror=opened, rng=Random(2))
    places.follow(["c", "d", "e"])
    second: set[str] = set()
    for _ in range(100):
        pairs = list(places.pairs())
        assert pairs[0][0] is own
        assert [len(pair) for pair in pairs] == [2, 2, 1]
        second.add(pairs[0][1].locator)
        assert {one.locator for one in places.in_order()} == {"own", "b", "c", "d", "e"}
    assert second == {"b", "c", "d", "e"}


def test_no_refresh_asks_without_end() -> None:
    places = Places([place(str(number)) for number in range(50)], rng=Random(1))
    assert len(list(places.pairs())) == PAIRS_PER_REFRESH


def test_mirrors_of_the_root_are_followed_each_once(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []

    def counted(url: str) -> Any:
        calls.append(url)
        return opened(url)

    places = Places([place("own")], open_mirror=counted, rng=Random(1))
    places.follow(["own", "c", "c", "bad"])
    assert [one.locator for one in places.in_order()] == ["own", "c"]
    assert "left out" in caplog.text
    places.follow(["own", "c", "c", "bad"])
    assert len(calls) == 4
    places.follow([])
    assert [one.locator for one in places.in_order()] == ["own"]


def test_a_file_on_this_machine_has_no_mirrors_but_those_given() -> None:
    places = Places([place("own")], rng=Random(1))
    places.follow(["c"])
    assert places.in_order() == [places.primary]


async def test_both_are_asked_and_the_slower_one_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mirrors, "GRACE", 0.05)
    cancelled = asyncio.Event()

    async def ask(source: Any) -> str:
        if source.locator == "slow":
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
        return str(source.locator)

    race: Race[str] = Race()
    with caplog.at_level(logging.INFO, "cocoon_sdk"):
        async with asyncio.timeout(2):
            await race.run([place("slow"), place("fast")], ask)
    assert [answer for _, answer in race.answers] == ["fast"]
    assert cancelled.is_set()
    assert "too slow" in caplog.text


async def test_a_little_slower_is_still_heard() -> None:
    async def ask(source: Any) -> str:
        await asyncio.sleep(0.05 if source.locator == "b" else 0)
        return str(source.locator)

    race: Race[str] = Race()
    await race.run([place("a"), place("b")], ask)
    assert [answer for _, answer in race.answers] == ["a", "b"]


async def test_failures_are_kept_and_the_own_one_is_told() -> None:
    async def ask(source: Any) -> str:
        raise RegistryUnavailableError(source.locator)

    own, other = place("own"), place("other")
    race: Race[str] = Race()
    await race.run([other, own], ask)
    assert race.answers == []
    assert str(race.error_of(own)) == "own"
    alone: Race[str] = Race()
    await alone.run([other], ask)
    assert str(alone.error_of(own)) == "other"


async def test_a_fork_ends_the_race_at_once() -> None:
    async def ask(source: Any) -> str:
        if source.locator == "a":
            raise RegistryEquivocationError("fork")
        await asyncio.Event().wait()
        return ""

    race: Race[str] = Race()
    async with asyncio.timeout(2):
        with pytest.raises(RegistryEquivocationError):
            await race.run([place("a"), place("b")], ask)


async def test_a_mistake_of_our_own_is_not_an_answer() -> None:
    async def ask(source: Any) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Race[str]().run([place("a")], ask)
