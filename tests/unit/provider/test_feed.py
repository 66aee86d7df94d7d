"""A backend's events, its failures, and a backend that does not stop when told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from cocoon_provider.backends.base import Event, Finished, Prefilled
from cocoon_provider.feed import Feed
from cocoon_sdk.errors import ProviderInternalError

pytestmark = pytest.mark.anyio


class Scripted:
    """A generation that runs a script; `cancelled` tells whether it was stopped."""

    prompt_tokens = max_tokens = 1

    def __init__(self, script: Callable[[], AsyncIterator[Event]]) -> None:
        self._script = script
        self.cancelled = False

    def grant(self, *, prompt: int, completion: int) -> None:
        return

    def cancel(self) -> None:
        self.cancelled = True

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._script()


async def ended(feed: Feed, wake: asyncio.Event) -> None:
    async with asyncio.timeout(5):
        while not feed.ended:
            wake.clear()
            await wake.wait()


async def test_events_wait_in_order_and_the_end_wakes() -> None:
    async def script() -> AsyncIterator[Event]:
        yield Prefilled(1, 0)
        yield Finished(("stop",))

    wake = asyncio.Event()
    feed = Feed(Scripted(script), wake)
    await ended(feed, wake)
    assert list(feed.events) == [Prefilled(1, 0), Finished(("stop",))]
    await feed.stop()


async def test_a_backends_own_error_is_kept() -> None:
    failure = ProviderInternalError("out of memory")

    async def script() -> AsyncIterator[Event]:
        yield Prefilled(1, 0)
        raise failure

    wake = asyncio.Event()
    feed = Feed(Scripted(script), wake)
    await ended(feed, wake)
    assert feed.failure() is failure
    assert list(feed.events) == [Prefilled(1, 0)]


async def test_an_unexpected_error_is_named_in_the_log_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def script() -> AsyncIterator[Event]:
        raise KeyError("SECRET-CANARY")
        yield  # makes it a generator

    wake = asyncio.Event()
    feed = Feed(Scripted(script), wake)
    await ended(feed, wake)
    assert isinstance(feed.failure(), ProviderInternalError)
    assert "SECRET-CANARY" not in caplog.text + str(feed.failure())
    assert "KeyError" in caplog.text


async def test_a_backend_that_ends_without_a_word_has_failed() -> None:
    async def script() -> AsyncIterator[Event]:
        return
        yield

    wake = asyncio.Event()
    feed = Feed(Scripted(script), wake)
    await ended(feed, wake)
    assert "half-way" in str(feed.failure())


async def test_a_backend_that_does_not_stop_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cocoon_provider.feed._STOP_SECONDS", 0.02)
    cut: list[bool] = []

    async def script() -> AsyncIterator[Event]:
        try:
            await asyncio.Event().wait()
        finally:
            cut.append(True)
        yield Prefilled(1, 0)

    generation = Scripted(script)
    feed = Feed(generation, asyncio.Event())
    await asyncio.sleep(0)
    await feed.stop()
    assert generation.cancelled
    assert (cut, feed.ended) == ([True], True)
