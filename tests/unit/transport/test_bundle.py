from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from cocoon_provider.backends.echo import echo_bundle
from cocoon_sdk.errors import VerificationError
from cocoon_sdk.registry.endpoint import parse_endpoint
from cocoon_sdk.settings import cache_dir
from cocoon_sdk.transport.bundle import Bundles
from cocoon_sdk.transport.reach import Site

pytestmark = pytest.mark.anyio

BUNDLE = echo_bundle()
SITE = Site(parse_endpoint("wss://provider.example:444"), "203.0.113.7")
Handler = Callable[[httpx.Request], httpx.Response]


class Server:
    """Answers every GET and remembers the requests."""

    def __init__(self, body: bytes = BUNDLE.raw, status: int = 200) -> None:
        self.body = body
        self.status = status
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return httpx.Response(self.status, content=self.body)

    def bundles(self) -> Bundles:
        return Bundles(transport=httpx.MockTransport(self))


def cached() -> Path:
    return cache_dir() / "tokens" / BUNDLE.hash.hex()


async def test_one_fetch_serves_all_and_the_next_process() -> None:
    server = Server()
    bundles = server.bundles()
    made = await asyncio.gather(*(bundles.tokenizer(BUNDLE.hash, SITE) for _ in range(8)))
    assert len(server.seen) == 1
    assert all(one is made[0] is not None for one in made)
    assert cached().read_bytes() == BUNDLE.raw
    assert await server.bundles().tokenizer(BUNDLE.hash, SITE) is not None
    assert len(server.seen) == 1


async def test_the_checked_address_is_dialled_under_the_signed_name() -> None:
    server = Server()
    await server.bundles().tokenizer(BUNDLE.hash, SITE)
    (request,) = server.seen
    assert str(request.url) == f"https://203.0.113.7:444/tokens/{BUNDLE.hash.hex()}"
    assert request.headers["Host"] == "provider.example:444"
    assert request.extensions["sni_hostname"] == "provider.example"
    assert "python" not in request.headers["User-Agent"]


@pytest.mark.parametrize(
    "server", [Server(b"other"), Server(status=404), Server(status=302), Server(b"")]
)
async def test_nothing_but_the_named_bytes_is_taken(server: Server) -> None:
    bundles = server.bundles()
    assert await bundles.tokenizer(BUNDLE.hash, SITE) is None
    assert await bundles.tokenizer(BUNDLE.hash, SITE) is None
    assert len(server.seen) == 1  # not asked again for a while
    assert not cached().exists()


async def test_an_endless_bundle_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cocoon_sdk.transport.bundle.MAX_BUNDLE_BYTES", 10)
    assert await Server().bundles().tokenizer(BUNDLE.hash, SITE) is None


async def test_a_damaged_cache_is_fetched_again() -> None:
    cached().parent.mkdir(parents=True)
    cached().write_bytes(BUNDLE.raw[:-1])
    server = Server()
    assert await server.bundles().tokenizer(BUNDLE.hash, SITE) is not None
    assert len(server.seen) == 1
    assert cached().read_bytes() == BUNDLE.raw


async def test_a_full_disk_does_not_stop_a_request() -> None:
    cached().parent.parent.mkdir(parents=True)
    cached().parent.write_text("a file where the folder should be")
    assert await Server().bundles().tokenizer(BUNDLE.hash, SITE) is not None


async def test_the_right_hash_of_rubbish_is_the_providers_fault() -> None:
    rubbish = b'{"tokenizer": {}}'
    server = Server(rubbish)
    with pytest.raises(VerificationError):
        await server.bundles().tokenizer(hashlib.sha256(rubbish).digest(), SITE)


async def test_only_the_last_few_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cocoon_sdk.transport.bundle.MAX_LOADED", 1)
    other = BUNDLE.raw + b" "
    bodies = {BUNDLE.hash: BUNDLE.raw, hashlib.sha256(other).digest(): other}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=bodies[bytes.fromhex(request.url.path[8:])])

    bundles = Bundles(transport=httpx.MockTransport(answer))
    for name in bodies:
        assert await bundles.tokenizer(name, SITE) is not None
    assert list(bundles._loaded) == list(bodies)[1:]
