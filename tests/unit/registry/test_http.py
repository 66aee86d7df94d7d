import asyncio
import gzip
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from cocoon_sdk.errors import ConfigError, RegistryFormatError, RegistryUnavailableError
from cocoon_sdk.registry import http as registry_http
from cocoon_sdk.registry.endpoint import AddressRules
from cocoon_sdk.registry.http import HttpSource
from cocoon_sdk.registry.sources import open_source

pytestmark = pytest.mark.anyio

URL = "https://example.org/a/registry.json?token=1"


def source(handler: Callable[[httpx.Request], httpx.Response], **options: float) -> HttpSource:
    return HttpSource(URL, transport=httpx.MockTransport(handler), **options)


def answers(status: int = 200, content: object = b"{}", **headers: str):
    def handler(request: httpx.Request) -> httpx.Response:
        body = chunks(content) if isinstance(content, bytes) else content
        return httpx.Response(status, content=body, headers=headers)  # type: ignore[arg-type] # chunks

    return handler


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    """As from a socket; httpx reads plain bytes at once, and they could not be streamed."""
    for part in parts:
        yield part


async def test_body_and_tag() -> None:
    fetched = await source(answers(content=b"{}", ETag='"x"')).registry(None)
    assert fetched == (b"{}", '"x"')


async def test_not_modified_only_counts_when_asked_with_a_tag() -> None:
    seen: list[str | None] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("If-None-Match"))
        return httpx.Response(304)

    assert await source(handler).registry('"x"') is None
    with pytest.raises(RegistryUnavailableError, match="304"):
        await source(handler).registry(None)
    assert seen == ['"x"', None]


async def test_roots_lie_beside_the_registry() -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(404)

    assert await source(handler).root(None) is None
    assert await source(handler).root(7) is None
    assert asked == ["https://example.org/a/root.json", "https://example.org/a/7.root.json"]


async def test_gzip_is_asked_for_and_inflated() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["Accept-Encoding"] == "gzip"
        return httpx.Response(
            200,
            content=chunks(gzip.compress(b"{}" * 1000)),
            headers={"Content-Encoding": "gzip"},
        )

    fetched = await source(handler).registry(None)
    assert fetched is not None
    assert fetched.raw == b"{}" * 1000


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    calls = 0

    def handler(request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        return httpx.Response(status, headers={"Location": "https://169.254.169.254/"})

    with pytest.raises(RegistryUnavailableError, match="redirects are not followed"):
        await source(handler).registry(None)
    assert calls == 1


@pytest.mark.parametrize("status", [400, 403, 500, 503, 206])
async def test_other_statuses(status: int) -> None:
    with pytest.raises(RegistryUnavailableError, match=str(status)):
        await source(answers(status)).registry(None)


async def test_a_missing_registry() -> None:
    with pytest.raises(RegistryUnavailableError, match="no registry"):
        await source(answers(404)).registry(None)


async def test_an_endless_body_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_http, "MAX_REGISTRY_BYTES", 100_000)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1000
            yield b" " * 1000

    with pytest.raises(RegistryFormatError, match="above the limit of 100000"):
        await source(answers(content=endless())).registry(None)
    assert sent <= 102_000


async def test_a_body_of_200_megabytes() -> None:
    sent = 0

    async def large() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(200):
            sent += 1
            yield bytes(1 << 20)

    with pytest.raises(RegistryFormatError, match="above the limit"):
        await source(answers(content=large())).registry(None)
    assert sent <= (registry_http.MAX_REGISTRY_BYTES >> 20) + 2


async def test_a_bomb_is_never_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_http, "MAX_REGISTRY_BYTES", 1 << 20)
    bomb = gzip.compress(bytes(200 << 20))
    assert len(bomb) < 1 << 20
    with pytest.raises(RegistryFormatError, match="above the limit"):
        await source(answers(content=bomb, **{"Content-Encoding": "gzip"})).registry(None)


async def test_a_body_at_the_limit_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_http, "MAX_REGISTRY_BYTES", 1000)
    body = gzip.compress(bytes(1000))
    fetched = await source(answers(content=body, **{"Content-Encoding": "gzip"})).registry(None)
    assert fetched is not None
    assert len(fetched.raw) == 1000


@pytest.mark.parametrize(
    ("content", "encoding", "error"),
    [
        (gzip.compress(b"{}" * 500, mtime=0)[:-9], "gzip", RegistryUnavailableError),
        (b"not gzip", "gzip", RegistryFormatError),
        (gzip.compress(b"{}", mtime=0) + b"more", "gzip", RegistryFormatError),
        (b"{}", "br", RegistryUnavailableError),
        (b"{}", "gzip, gzip", RegistryUnavailableError),
        (b"", "identity", RegistryFormatError),
    ],
)
async def test_damaged_bodies(content: bytes, encoding: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await source(answers(content=content, **{"Content-Encoding": encoding})).registry(None)


async def test_a_dripping_body_meets_the_deadline() -> None:
    async def drip() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.01)
            yield b" "

    with pytest.raises(RegistryUnavailableError, match=r"within 0\.1 s"):
        await source(answers(content=drip()), timeout=0.1).registry(None)


async def test_a_connection_that_fails() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(RegistryUnavailableError, match="refused"):
        await source(handler).registry(None)


async def test_what_inflates_to_nothing_is_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The header of a gzip file may hold a name without end."""
    monkeypatch.setattr(registry_http, "MAX_REGISTRY_BYTES", 100_000)
    sent = 0

    async def named() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b"\x1f\x8b\x08\x08" + bytes(6)
        for _ in range(1000):
            sent += 1000
            yield b"n" * 1000

    with pytest.raises(RegistryFormatError, match="above the limit"):
        await source(answers(content=named(), **{"Content-Encoding": "gzip"})).registry(None)
    assert sent <= 102_000


@pytest.mark.parametrize("tag", ["\x7f", "a\x01b"])
async def test_a_tag_that_no_header_can_carry_back_is_not_kept(tag: str) -> None:
    fetched = await source(answers(ETag=tag)).registry(None)
    assert fetched is not None
    assert fetched.etag is None


async def test_an_absurd_tag_is_not_kept() -> None:
    fetched = await source(answers(ETag="x" * 300)).registry(None)
    assert fetched is not None
    assert fetched.etag is None


@pytest.mark.parametrize(
    "url", ["http://example.org/registry.json", "ftp://x/", "https://u:p@example.org/", "https://"]
)
async def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="registry"):
        open_source(url)


async def test_plain_http_on_loopback_only() -> None:
    assert open_source("http://127.0.0.1:8000/registry.json").on_this_machine
    assert not open_source("https://example.org/registry.json").on_this_machine


async def test_shards_lie_in_a_folder_beside_the_registry_and_are_capped() -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        if "none" in request.url.path:
            return httpx.Response(404)
        return httpx.Response(200, content=chunks(b"[12345678]"))

    assert await source(handler).shard("abc", 10) == b"[12345678]"
    assert asked == ["https://example.org/a/shards/abc.json"]
    assert await source(handler).shard("none", 10) is None
    with pytest.raises(RegistryFormatError, match="above the limit of 9"):
        await source(handler).shard("abc", 9)


async def test_a_place_that_another_named_is_dialled_at_an_address_that_was_judged() -> None:
    seen: list[tuple[str, str, object]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        host = request.headers["Host"]
        seen.append((str(request.url), host, request.extensions.get("sni_hostname")))
        return httpx.Response(200, content=chunks(b"{}"))

    async def resolve(host: str, port: int) -> list[str]:
        assert (host, port) == ("example.org", 443)
        return found

    found = ["93.184.216.34"]
    made = HttpSource(
        URL, transport=httpx.MockTransport(handler), rules=AddressRules(), resolve=resolve
    )
    assert await made.registry(None) == (b"{}", None)
    found = ["2606:2800:220:1::1"]
    await made.registry(None)
    assert seen == [
        ("https://93.184.216.34/a/registry.json?token=1", "example.org", "example.org"),
        ("https://[2606:2800:220:1::1]/a/registry.json?token=1", "example.org", "example.org"),
    ]


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "::1"])
async def test_a_place_that_another_named_leads_nowhere_private(address: str) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["93.184.216.34", address]

    def handler(request: httpx.Request) -> httpx.Response:
        raise AssertionError("nothing may be dialled")

    made = HttpSource(
        URL, transport=httpx.MockTransport(handler), rules=AddressRules(), resolve=resolve
    )
    with pytest.raises(RegistryUnavailableError, match="not a public address"):
        await made.registry(None)


async def test_private_places_where_the_client_allows_them() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["10.0.0.1"]

    made = HttpSource(
        URL,
        transport=httpx.MockTransport(answers()),
        rules=AddressRules(allow_private=True),
        resolve=resolve,
    )
    assert await made.registry(None) == (b"{}", None)
