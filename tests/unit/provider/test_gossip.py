"""Registries that a provider keeps: which are told of, which are served, and how much is held."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import pytest
from registry_world import World
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from cocoon_provider import gossip as module
from cocoon_provider.config import parse_config
from cocoon_provider.gossip import RegistryGossip, open_gossip
from cocoon_provider.public import PublicPages
from cocoon_sdk.errors import ConfigError, RegistryUnavailableError, WireCode
from cocoon_sdk.protocol import messages
from cocoon_sdk.protocol.params import RegistryRef
from cocoon_sdk.protocol.session import ClientSession
from cocoon_sdk.registry.gossip import PIECE_BYTES, ForkHint, read_claim
from cocoon_sdk.registry.sources import Fetched
from tests.unit.provider.books import CLIENT, IDENTITY
from tests.unit.provider.test_connection import Stage

pytestmark = pytest.mark.anyio


class Shelf:
    """A source of one file, by tag where it has one."""

    on_this_machine = False

    def __init__(self, locator: str = "https://one.example/registry.json") -> None:
        self.locator = locator
        self.raw: bytes | None = None
        self.tag: str | None = None
        self.failure: Exception | None = None
        self.asked: list[str | None] = []

    def check(self) -> None: ...

    def has_changed(self) -> bool:
        return False

    async def registry(self, etag: str | None) -> Fetched | None:
        self.asked.append(etag)
        if self.failure is not None:
            raise self.failure
        if etag is not None and etag == self.tag:
            return None
        if self.raw is None:
            raise RegistryUnavailableError("down")
        return Fetched(self.raw, self.tag)

    async def root(self, version: int | None) -> bytes | None:
        raise AssertionError("nothing is judged here")

    async def shard(self, sha256: str, length: int) -> bytes | None:
        raise AssertionError("the index is enough")


async def look(gossip: RegistryGossip, *shelves: Shelf) -> None:
    """One round over the sources."""
    before = [len(shelf.asked) for shelf in shelves]
    task = asyncio.create_task(gossip.run())
    async with asyncio.timeout(5):
        while any(len(one.asked) == n for one, n in zip(shelves, before, strict=True)):
            await asyncio.sleep(0)
        settled = 0
        while settled < 20:  # what was read last is hashed in a thread
            await asyncio.sleep(0.002)
            settled += 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def ref(raw: bytes, **changes: object) -> RegistryRef:
    claim = read_claim(raw)
    return RegistryRef(*claim)._replace(**changes)  # type: ignore[arg-type]  # of its own fields


async def test_only_another_content_of_the_very_version_is_told() -> None:
    world, shelf = World(), Shelf()
    ours = shelf.raw = world.make_registry(1, entries=[])
    gossip = RegistryGossip([shelf])
    used = ref(world.registry_raw or b"")
    assert gossip.fork_of(used) is None
    await look(gossip, shelf)
    claim = read_claim(ours)
    assert gossip.fork_of(used) == ForkHint(*claim, len(ours))
    assert gossip.fork_of(ref(ours)) is None
    assert gossip.fork_of(used._replace(version=2)) is None
    assert gossip.fork_of(used._replace(registry_id=bytes(32))) is None


async def test_versions_stay_for_a_while_and_the_newest_content_is_told() -> None:
    world, one, two = World(), Shelf(), Shelf("https://two.example/registry.json")
    gossip = RegistryGossip([one, two])
    honest = world.registry_raw or b""
    one.raw, two.raw = honest, world.make_registry(1, entries=[])
    await look(gossip, one, two)
    told = gossip.fork_of(ref(honest, digest=bytes(32)))
    assert told is not None
    assert told.digest == read_claim(two.raw).digest
    # Who holds one of them is told of the other, both ways.
    for mine, other in ((honest, two.raw), (two.raw, honest)):
        found = gossip.fork_of(ref(mine))
        assert found is not None
        assert found.digest == read_claim(other).digest
    one.raw = two.raw = world.make_registry(2)
    await look(gossip, one, two)
    assert gossip.fork_of(ref(honest)) is not None


async def test_what_is_held_is_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world, shelf = World(), Shelf()
    gossip = RegistryGossip([shelf])
    files = [world.make_registry(n) for n in range(1, 6)]
    monkeypatch.setattr(module, "MAX_KEPT", 3)
    for shelf.raw in files:
        await look(gossip, shelf)
    held = [gossip.fork_of(ref(raw, digest=bytes(32))) is not None for raw in files]
    assert held == [False, False, True, True, True]
    monkeypatch.setattr(module, "MAX_KEPT_BYTES", len(files[3]) + len(files[4]) + 100)
    shelf.raw = world.make_registry(6, entries=[])
    await look(gossip, shelf)
    held = [gossip.fork_of(ref(raw, digest=bytes(32))) is not None for raw in files]
    assert held == [False, False, False, False, True]
    monkeypatch.setattr(module, "MAX_KEPT_BYTES", 50)
    shelf.raw = world.make_registry(7)
    for _ in range(2):
        await look(gossip, shelf)
    assert caplog.text.count("is above 50 bytes and is not kept") == 1
    assert gossip.fork_of(ref(files[4], digest=bytes(32))) is not None


async def test_a_source_that_fails_is_asked_again_and_stops_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world, bad, good = World(), Shelf(), Shelf("https://good.example/registry.json")
    gossip = RegistryGossip([bad, good])
    good.raw = world.registry_raw
    for bad.failure, bad.raw in ((None, None), (ValueError("secret"), None), (None, b"{}")):
        await look(gossip, bad, good)
        assert gossip.fork_of(ref(good.raw or b"", digest=bytes(32))) is not None
    assert len(bad.asked) == 3
    assert "down" in caplog.text
    assert "ValueError at" in caplog.text
    assert "secret" not in caplog.text


async def test_a_file_that_has_not_changed_is_not_read_again() -> None:
    world, shelf = World(), Shelf()
    shelf.raw, shelf.tag = world.registry_raw, '"t"'
    gossip = RegistryGossip([shelf])
    await look(gossip, shelf)
    await look(gossip, shelf)
    assert shelf.asked == [None, '"t"']


async def test_looks_are_repeated() -> None:
    shelf = Shelf()
    gossip = RegistryGossip([shelf], interval=0.001)
    task = asyncio.create_task(gossip.run())
    async with asyncio.timeout(5):
        while len(shelf.asked) < 3:
            await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def page(gossip: RegistryGossip | None, path: str) -> Response:
    pages = PublicPages(dict, {}, lambda: False, gossip=gossip)
    response = pages.answer(Request(path, Headers()))
    assert response is not None
    assert response.headers["Content-Length"] == str(len(response.body))
    return response


async def test_files_are_served_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", 100)
    world, shelf = World(), Shelf()
    raw = shelf.raw = world.registry_raw or b""
    gossip = RegistryGossip([shelf])
    await look(gossip, shelf)
    base = f"/registry/{world.digest()}"
    pieces = []
    while (answer := page(gossip, f"{base}/{len(pieces)}")).status_code == 200:
        assert "immutable" in answer.headers["Cache-Control"]
        pieces.append(answer.body)
    assert b"".join(pieces) == raw
    assert {len(piece) for piece in pieces[:-1]} == {100}
    for path in (
        base, f"{base}/", f"{base}/-1", f"{base}/x", f"{base}/0/0", f"{base}/10000", f"{base}/¹",
        f"/registry/{'0' * 64}/0", f"/registry/{world.digest().upper()}/0", "/registry/",
    ):  # fmt: skip
        assert page(gossip, path).status_code == 404
    assert page(None, f"{base}/0").status_code == 404


def test_pieces_are_what_a_get_may_cost() -> None:
    assert PIECE_BYTES == 1024 * 1024


def test_without_registries_there_is_no_gossip(tmp_path: Path) -> None:
    assert open_gossip([]) is None
    assert open_gossip([str(tmp_path), "https://one.example/registry.json"]) is not None


@pytest.mark.parametrize("registries", [["http://one.example/registry.json"], ["ftp://x/y"]])
def test_registries_without_tls_are_refused(registries: list[str]) -> None:
    raw = {"models": {"m": {"prompt": "0", "completion": "0"}}, "registries": registries}
    with pytest.raises(ConfigError, match="test: registries: "):
        parse_config(raw, source="test")


USED = RegistryRef(b"r" * 32, 3, b"d" * 32)


@pytest.mark.parametrize("hint", [None, messages.Error(WireCode.REGISTRY_FORK, "another one")])
async def test_a_client_is_told_once_and_at_once_of_another_registry(
    hint: messages.Error | None,
) -> None:
    stage = Stage()
    stage.client = ClientSession(
        provider_id=IDENTITY.public_key, signer=CLIENT, channel=None, registry=USED,
        random=secrets.token_bytes, clock=stage.clock,
    )  # fmt: skip
    asked: list[RegistryRef] = []

    def gossip(used: RegistryRef) -> messages.Error | None:
        asked.append(used)
        return hint

    stage.desk.gossip = gossip  # type: ignore[attr-defined]  # a client that names none is not looked up
    await stage.shake()
    for _ in range(3):
        await stage.open(messages.StateGet())
    assert asked == [USED]
    told = [event.message for event in stage.answers(0)]
    assert told == ([] if hint is None else [hint])
