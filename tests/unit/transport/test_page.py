from __future__ import annotations

import gzip

import httpx
import pytest

from cocoon_sdk.registry.endpoint import parse_endpoint
from cocoon_sdk.transport.page import PageError, get_page
from cocoon_sdk.transport.reach import Site

pytestmark = pytest.mark.anyio

SITE = Site(parse_endpoint("wss://provider.example:444"), "203.0.113.7")


async def get(answer: httpx.Response | Exception, *, limit: int = 100) -> bytes:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    try:
        return await get_page(SITE, "/p", limit=limit, transport=httpx.MockTransport(handler))
    finally:
        [request] = seen  # redirects are not followed, nothing is tried twice
        assert str(request.url) == "https://203.0.113.7:444/p"
        assert request.headers["Host"] == "provider.example:444"
        assert request.extensions["sni_hostname"] == "provider.example"
        assert request.headers["Accept-Encoding"] == "identity"


async def test_a_page_up_to_its_limit() -> None:
    assert await get(httpx.Response(200, content=b"x" * 100)) == b"x" * 100
    with pytest.raises(PageError, match="larger than 100 bytes") as caught:
        await get(httpx.Response(200, content=b"x" * 101))
    assert not caught.value.passing


@pytest.mark.parametrize(
    ("answer", "passing"),
    [
        (httpx.Response(404), False),
        (httpx.Response(302, headers={"Location": "http://127.0.0.1/"}), False),
        (httpx.Response(204), False),
        (httpx.Response(429), True),
        (httpx.Response(503), True),
        (httpx.ConnectError("down"), True),
        (httpx.ReadTimeout("slow"), True),
        (TimeoutError(), True),
    ],
)
async def test_what_may_be_better_in_a_moment(
    answer: httpx.Response | Exception, passing: bool
) -> None:
    with pytest.raises(PageError) as caught:
        await get(answer)
    assert caught.value.passing is passing


async def test_nothing_is_unpacked() -> None:
    """A few bytes that unpack to many would be counted too late."""
    packed = gzip.compress(b"x" * 10_000_000)
    with pytest.raises(PageError, match="compressed"):
        await get(
            httpx.Response(
                200, stream=httpx.ByteStream(packed), headers={"Content-Encoding": "gzip"}
            ),
            limit=100_000,
        )
