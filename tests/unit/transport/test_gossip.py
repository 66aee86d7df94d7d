"""Hints of providers: what is fetched because of one, what is judged, and what nobody can be made to do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest
from registry_world import World

from cocoon_sdk.errors import RegistryEquivocationError, StoreError
from cocoon_sdk.protocol.messages import Error
from cocoon_sdk.registry import gossip as shared
from cocoon_sdk.registry.endpoint import parse_endpoint
from cocoon_sdk.registry.gossip import ForkHint, read_claim
from cocoon_sdk.registry.listed import Origin
from cocoon_sdk.registry.verify import MAX_REGISTRY_BYTES
from cocoon_sdk.transport import gossip as module
from cocoon_sdk.transport.gossip import Gossip, HintBox
from cocoon_sdk.transport.reach import Site

pytestmark = pytest.mark.anyio

SITE = Site(parse_endpoint("wss://provider.example"), "203.0.113.7")
WORLD = World()
FORK = WORLD.make_registry(1, entries=[])
HINT = ForkHint(*read_claim(FORK), len(FORK))
ORIGIN = Origin("devnet/test", -217, 1, bytes.fromhex(WORLD.digest()), size=1_000)
MIB = 1024 * 1024


class Stage:
    """A provider's pages, a judge, and a clock."""

    def __init__(self) -> None:
        self.now = 50.0
        self.asked: list[str] = []
        self.judged: list[bytes] = []
        self.body: Callable[[str], bytes | httpx.Response] = lambda _: FORK
        self.verdict: bool | Exception = False
        self.gate: asyncio.Event | None = None
        self.gossip = Gossip(
            self, clock=lambda: self.now, transport=httpx.MockTransport(self._serve)
        )

    async def _serve(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if self.gate is not None:
            await self.gate.wait()
        body = self.body(request.url.path)
        return body if isinstance(body, httpx.Response) else httpx.Response(200, content=body)

    async def confront(self, envelope: bytes) -> bool:
        self.judged.append(envelope)
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict

    def hear(
        self, hint: ForkHint | Error = HINT, provider: str = "aa", origin: Origin = ORIGIN
    ) -> None:
        """A new session with such a hint."""
        hints = HintBox()
        self.gossip.listen(hints, SITE, provider, origin)
        hints.deliver(hint.frame() if isinstance(hint, ForkHint) else hint)

    async def settle(self) -> None:
        async with asyncio.timeout(5):
            while any(task.get_name() == "cocoon-gossip" for task in asyncio.all_tasks()):
                await asyncio.sleep(0.001)


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_the_file_behind_a_hint_is_judged_once(stage: Stage) -> None:
    for _ in range(3):
        stage.hear()
    await stage.settle()
    stage.now += module.REST_SECONDS
    stage.hear()
    await stage.settle()
    assert stage.asked == [f"/registry/{HINT.digest.hex()}/0"]
    assert stage.judged == [FORK]


async def test_a_fork_is_logged(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.verdict = RegistryEquivocationError("two files")
    stage.hear()
    await stage.settle()
    [record] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.getMessage() == "provider aa showed that the registry is forked: two files"


@pytest.mark.parametrize("error", [StoreError("full"), ValueError("a prompt")])
async def test_a_judge_that_fails_hurts_nobody(
    stage: Stage, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    stage.verdict = error
    with caplog.at_level(logging.INFO):
        stage.hear()
        await stage.settle()
    assert stage.judged == [FORK]
    assert ("ValueError" if isinstance(error, ValueError) else "full") in caplog.text
    assert "a prompt" not in caplog.text


@pytest.mark.parametrize(
    "hint",
    [
        HINT._replace(registry_id=bytes(32)),
        HINT._replace(version=2),
        HINT._replace(digest=ORIGIN.digest),
        Error("registry_fork", "nothing said"),
    ],
)
async def test_a_hint_at_something_else_costs_nothing(stage: Stage, hint: ForkHint | Error) -> None:
    stage.hear(hint)
    await stage.settle()
    assert stage.asked == []
    stage.hear()  # nor does it count
    await stage.settle()
    assert stage.judged == [FORK]


@pytest.mark.parametrize(
    ("own", "limit"),
    [(0, 16 * MIB), (9 * MIB, 18 * MIB), (100 * MIB, MAX_REGISTRY_BYTES)],
)
async def test_larger_than_makes_sense_is_not_even_begun(
    stage: Stage, own: int, limit: int
) -> None:
    origin = replace(ORIGIN, size=own)
    if limit < MAX_REGISTRY_BYTES:
        stage.hear(HINT._replace(size=limit + 1), origin=origin)
        await stage.settle()
        assert stage.asked == []
    stage.hear(HINT._replace(size=limit), origin=origin)
    await stage.settle()
    assert len(stage.asked) == 1  # its first piece is far too short
    assert stage.judged == []


async def test_pieces_are_put_together(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "PIECE_BYTES", 400)
    monkeypatch.setattr(module, "PIECE_PAUSE", 0.0)

    def piece(path: str) -> bytes:
        number = int(path.rpartition("/")[2])
        return FORK[number * 400 : (number + 1) * 400]

    stage.body = piece
    stage.hear()
    await stage.settle()
    assert stage.judged == [FORK]
    assert len(stage.asked) == -(-len(FORK) // 400) > 1
    for bad in (lambda path: piece(path)[:-1], lambda path: piece(path) + b"x"):
        stage.body = bad
        stage.hear(provider=f"bad {stage.body(stage.asked[0])[-1]!r}")
    stage.body = lambda path: piece(path) if path.endswith("/0") else httpx.Response(404)
    stage.hear(provider="half")
    await stage.settle()
    assert stage.judged == [FORK]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404),
        httpx.Response(503),
        httpx.Response(302, headers={"Location": "http://127.0.0.1/"}),
        httpx.Response(200, content=b"x" * len(FORK)),
        httpx.Response(200, content=FORK[:-1]),
        httpx.Response(200, content=FORK + b" "),
        httpx.Response(200, content=FORK, headers={"Content-Encoding": "br"}),
    ],
)
async def test_what_is_not_the_file_is_not_judged(stage: Stage, answer: httpx.Response) -> None:
    stage.body = lambda _: answer
    stage.hear()
    await stage.settle()
    assert len(stage.asked) == 1
    assert stage.judged == []


async def test_another_file_than_announced_is_not_judged(stage: Stage) -> None:
    others = [
        WORLD.make_registry(1, entries=[], revoked=["ab" * 32]),
        WORLD.make_registry(2, entries=[]),
        WORLD.make_registry(1, entries=[], network="devnet/other"),
        WORLD.roots[1],
    ]
    for number, other in enumerate(others):
        stage.body = lambda _, other=other: other
        stage.hear(HINT._replace(size=len(other)), provider=str(number))
        await stage.settle()
    assert len(stage.asked) == len(others)
    assert stage.judged == []


async def test_a_provider_is_listened_to_once_an_hour(stage: Stage) -> None:
    hints = [HINT._replace(digest=bytes([n]) * 32) for n in range(40)]
    for hint in hints:
        stage.hear(hint)
    await stage.settle()
    assert len(stage.asked) == 1
    stage.now += module.REST_SECONDS - 1
    stage.hear(hints[1])
    stage.now += 1
    stage.hear(hints[2])
    await stage.settle()
    assert [path.split("/")[2] for path in stage.asked] == [hints[n].digest.hex() for n in (0, 2)]


async def test_one_file_at_a_time_and_few_in_line(stage: Stage) -> None:
    stage.gate = asyncio.Event()
    for number in range(50):
        stage.hear(provider=f"{number:02}")
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert len(stage.asked) == 1
    stage.gate.set()
    await stage.settle()
    assert len(stage.asked) == module.MAX_WAITING
    stage.hear(provider="49")  # those that had to be dropped may come again
    await stage.settle()
    assert len(stage.asked) == module.MAX_WAITING + 1


async def test_a_provider_that_stalls_is_given_up(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "FETCH_SECONDS", 0.05)
    stage.gate = asyncio.Event()
    with caplog.at_level(logging.INFO):
        stage.hear()
        stage.hear(provider="bb")
        await stage.settle()
    assert len(stage.asked) == 2
    assert stage.judged == []
    assert caplog.text.count("says nothing") == 2


async def test_closing_waits_for_nothing(stage: Stage) -> None:
    stage.gate = asyncio.Event()
    stage.hear()
    stage.hear(provider="bb")
    while not stage.asked:
        await asyncio.sleep(0.001)
    async with asyncio.timeout(1):
        await stage.gossip.aclose()
    await stage.settle()
    assert stage.judged == []


async def test_what_is_remembered_is_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 2)
    for provider in ("a", "b", "c", "a", "c"):
        stage.hear(provider=provider)
        await stage.settle()
    assert len(stage.asked) == 4


def test_a_session_has_one_hint_and_one_listener() -> None:
    first, second = Error("registry_fork", "1"), Error("registry_fork", "2")
    heard: list[Error] = []
    for early in (False, True):
        box = HintBox()
        if early:
            box.deliver(first)
        box.listen(heard.append)
        box.listen(lambda _: heard.append(second))
        box.deliver(first)
        box.deliver(second)
        assert heard == [first]
        heard.clear()
