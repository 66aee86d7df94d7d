from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import numpy as np
import pytest

from cocoon_provider.backends.base import Finished, Piece
from cocoon_provider.engine.loop import Engine, EngineGeneration
from cocoon_sdk.errors import ProviderInternalError

from .fakes import EVERYTHING, FakeRunner, make_sequence, text_of

pytestmark = pytest.mark.anyio


class GatedRunner(FakeRunner):
    """Each step waits for permission."""

    def __init__(self, rows: int = 2) -> None:
        super().__init__(rows)
        self.gate = threading.Semaphore(0)

    def run(self, row: int, past: int, tokens: tuple[int, ...]) -> np.ndarray:
        self.gate.acquire()
        return super().run(row, past, tokens)


def start(runner: FakeRunner) -> Engine:
    return Engine(runner, asyncio.get_running_loop())


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = start(FakeRunner())
    yield engine
    engine.stop()


def generation(engine: Engine, prompt: str = "a", **more: int) -> EngineGeneration:
    return EngineGeneration(
        make_sequence(prompt, **more), prompt_tokens=len(prompt), max_tokens=100, engine=engine
    )


async def collect(one: EngineGeneration) -> str:
    one.grant(prompt=EVERYTHING, completion=EVERYTHING)
    return text_of([event async for event in one])


async def test_more_sequences_than_rows(engine: Engine) -> None:
    texts = await asyncio.gather(*(collect(generation(engine, chr(97 + i))) for i in range(9)))
    assert texts == ["abcdefghijklmnopqrstuvwxyz"[i + 1 :] for i in range(9)]


async def test_one_that_waits_for_its_grant_holds_up_nobody() -> None:
    engine = start(FakeRunner(rows=2))
    waiting = generation(engine)
    waiting.grant(prompt=1, completion=1)
    events = aiter(waiting)
    await anext(events)
    assert isinstance(await anext(events), Piece)
    assert await collect(generation(engine, "x")) == "yz"
    waiting.grant(prompt=1, completion=EVERYTHING)
    assert text_of([event async for event in events]) == "cdefghijklmnopqrstuvwxyz"
    engine.stop()


async def test_sequences_take_turns() -> None:
    runner = GatedRunner(rows=2)
    engine = start(runner)
    tasks = [asyncio.create_task(collect(generation(engine, p))) for p in ("a", "b")]
    await asyncio.sleep(0.05)
    runner.gate.release(500)
    await asyncio.gather(*tasks)
    rows = [row for row, _, _ in runner.calls]
    assert abs(rows[:20].count(0) - 10) <= 1
    engine.stop()


async def test_cancel_within_one_step() -> None:
    runner = GatedRunner(rows=1)
    engine = start(runner)
    one = generation(engine)
    one.grant(prompt=1, completion=EVERYTHING)
    runner.gate.release(3)
    events = aiter(one)
    for _ in range(3):
        await anext(events)
    one.cancel()
    runner.gate.release(1)
    rest = [event async for event in events]
    assert rest[-1] == Finished(("cancelled",))
    assert len(rest) <= 3
    calls = len(runner.calls)
    assert calls <= 4
    runner.gate.release(500)
    assert await collect(generation(engine, "w")) == "xyz"  # the row is free again
    engine.stop()


async def test_cancel_before_anything(engine: Engine) -> None:
    one = generation(engine)
    one.cancel()
    assert [event async for event in one] == [Finished(("cancelled",))]


async def test_a_failure_ends_only_its_own_sequence(caplog: pytest.LogCaptureFixture) -> None:
    runner = FakeRunner(rows=2)
    runner.fail_on = ord("m")
    engine = start(runner)
    bad, good = generation(engine, "a"), generation(engine, "n")
    results = await asyncio.gather(collect(bad), collect(good), return_exceptions=True)
    assert isinstance(results[0], ProviderInternalError)
    assert "device lost" not in str(results[0])
    assert "RuntimeError" in caplog.text
    assert "device lost" not in caplog.text  # a message may quote the prompt
    assert results[1] == "opqrstuvwxyz"
    assert await collect(generation(engine, "w")) == "xyz"
    engine.stop()


async def test_one_hand_over_per_step(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    calls = 0
    original = loop.call_soon_threadsafe

    def counted(*args: object) -> object:
        nonlocal calls
        calls += threading.current_thread().name == "cocoon-engine"
        return original(*args)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    runner = FakeRunner()
    engine = start(runner)
    await collect(generation(engine))
    assert calls <= len(runner.calls) + 1
    engine.stop()


async def test_stop_ends_what_runs_and_what_never_began() -> None:
    runner = GatedRunner()
    engine = start(runner)
    running, idle = generation(engine), generation(engine)
    running.grant(prompt=1, completion=EVERYTHING)
    runner.gate.release(500)
    await anext(aiter(running))
    engine.stop()
    assert [event async for event in idle] == [Finished(("cancelled",))]
