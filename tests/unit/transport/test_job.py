"""Time limits of a request's phases, and what a finish RESULT may hold."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from cocoon_sdk.errors import DeadlineError
from cocoon_sdk.protocol.messages import Result
from cocoon_sdk.transport.job import Deadlines, Finish

pytestmark = pytest.mark.anyio


async def phase_of(deadlines: Deadlines, *, started: float, seen: bool) -> str:
    with pytest.raises(DeadlineError) as caught:
        await deadlines.bound(asyncio.sleep(5), started=started, first_token_seen=seen)
    assert isinstance(caught.value.__cause__, TimeoutError)
    return caught.value.phase


async def test_each_phase_has_its_own_limit() -> None:
    now = time.monotonic()
    limits = Deadlines(first_token=0.02, idle=0.02, total_at=None)
    assert await phase_of(limits, started=now, seen=False) == "first_token"
    assert await phase_of(limits, started=now, seen=True) == "idle"


async def test_the_first_token_counts_from_the_request_and_not_from_the_last_frame() -> None:
    limits = Deadlines(first_token=1.0, idle=60.0, total_at=None)
    started = time.monotonic()
    assert await phase_of(limits, started=started - 0.98, seen=False) == "first_token"
    assert time.monotonic() - started < 0.5


async def test_the_total_wins_where_it_is_first() -> None:
    now = time.monotonic()
    limits = Deadlines(first_token=60.0, idle=60.0, total_at=now + 0.02)
    assert await phase_of(limits, started=now, seen=False) == "total"
    assert await phase_of(limits, started=now, seen=True) == "total"


async def test_what_comes_in_time_is_handed_on() -> None:
    async def work() -> str:
        return "frame"

    limits = Deadlines(first_token=1.0, idle=1.0, total_at=None)
    got = await limits.bound(work(), started=time.monotonic(), first_token_seen=False)
    assert got == "frame"


async def test_a_cancel_is_not_taken_for_a_deadline() -> None:
    limits = Deadlines(first_token=60.0, idle=60.0, total_at=None)
    task = asyncio.create_task(
        limits.bound(asyncio.sleep(60), started=time.monotonic(), first_token_seen=True)
    )
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("kind", "data", "found"),
    [
        ("finish", {"choice": 1, "reason": "stop"}, Finish(1, "stop")),
        ("finish", {"reason": "length"}, Finish(0, "length")),
        ("finish", {"choice": "1", "reason": "stop"}, None),
        ("finish", {"choice": 0}, None),
        ("finish", ["stop"], None),
        ("finish", None, None),
        ("logprobs", {"choice": 0, "reason": "stop"}, None),
    ],
)
def test_a_finish_is_taken_only_where_it_is_one(kind: str, data: Any, found: Finish | None) -> None:
    assert Finish.of(Result(0, 0, 1, kind, data)) == found
