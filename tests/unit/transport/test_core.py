"""What all requests share: one loop, background work that ends, callbacks that may fail."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import pytest

from cocoon_sdk.errors import ConfigError, ReceiptMismatchError, StreamTruncatedError
from cocoon_sdk.transport import core as module
from cocoon_sdk.transport.core import Core, Timeouts

pytestmark = pytest.mark.anyio


class Registry:
    closed = False

    async def aclose(self) -> None:
        self.closed = True


def make_core(**changes: Any) -> Core:
    nothing = cast("Any", None)
    settings: dict[str, Any] = {
        "registry": Registry(),
        "database": nothing,
        "master": lambda: None,
        "budget": nothing,
        "on_event": None,
        "padding": "default",
        "attestations": None,
    }
    return Core(**(settings | changes))


@pytest.mark.parametrize("name", ["connect", "first_token", "idle", "total"])
@pytest.mark.parametrize("value", [0, -1, "5", True, float("nan")])
def test_a_timeout_is_a_positive_number(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        Timeouts(**{name: value})


def test_only_the_total_may_be_without_limit() -> None:
    assert Timeouts(total=None).total is None
    with pytest.raises(ConfigError):
        Timeouts(idle=cast("float", None))


def test_it_belongs_to_the_loop_of_its_first_use() -> None:
    core = make_core()

    async def enter() -> None:
        core.enter()

    asyncio.run(enter())
    with pytest.raises(ConfigError, match="another event loop"):
        asyncio.run(enter())


async def test_closed_it_takes_nothing_more() -> None:
    core = make_core()
    core.enter()
    assert core.opened
    await core.close()
    await core.close()
    assert not core.opened
    assert cast("Registry", core.registry).closed
    with pytest.raises(ConfigError, match="closed"):
        core.enter()


async def test_closing_waits_for_what_runs_and_then_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BACKGROUND_GRACE", 0.1)
    core, seen = make_core(), list[str]()

    async def short() -> None:
        await asyncio.sleep(0.02)
        core.background(child())

    async def child() -> None:
        await asyncio.sleep(0.02)
        seen.append("child of background work")

    async def endless() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("cancelled")

    core.background(short())
    task = core.background(endless())
    async with asyncio.timeout(2):
        await core.close()
    assert seen == ["child of background work", "cancelled"]
    assert task.cancelled()


async def test_failures_in_the_background_name_no_content(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    core = make_core()

    async def fails(error: Exception) -> None:
        raise error

    for error in (StreamTruncatedError("known"), ValueError("the prompt itself")):
        await asyncio.wait({core.background(fails(error))})
    await asyncio.sleep(0)
    assert "ValueError" in caplog.text
    assert "the prompt itself" not in caplog.text


async def test_a_callback_that_fails_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_event: object) -> None:
        raise RuntimeError

    make_core(on_event=broken).emit(cast("Any", object()))
    assert "on_event" in caplog.text


async def test_a_provider_is_distrusted_for_the_first_reason() -> None:
    core = make_core()
    core.distrust("aa", ReceiptMismatchError("first"))
    core.distrust("aa", ReceiptMismatchError("second"))
    assert core.quarantined == {"aa": "first"}
