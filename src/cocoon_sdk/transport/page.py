"""One GET at a provider's checked address: how clients fetch what a signed descriptor names by hash."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cocoon_sdk.transport.reach import Site

if TYPE_CHECKING:
    import httpx

FETCH_TIMEOUT = 10.0


class PageError(Exception):
    """There is no such page. `passing` says that the provider may have it a moment later."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


async def get_page(
    site: Site, path: str, *, limit: int, transport: httpx.AsyncBaseTransport | None = None
) -> bytes:
    """The body of a page of at most `limit` bytes. Redirects are not followed.

    `transport` replaces the network, in tests.

    Raises:
        PageError: unreachable, another status than 200, or too large.
    """
    import httpx

    endpoint = site.endpoint
    # The checked address is dialled; name and certificate are still those of the signed URL.
    url = httpx.URL(
        scheme="https" if endpoint.secure else "http",
        host=site.address,
        port=endpoint.port,
        path=path,
    )
    headers = {
        "Host": urlsplit(endpoint.url).netloc,
        "User-Agent": "-",
        "Accept-Encoding": "identity",  # what is hashed and counted is what travels
    }
    content = bytearray()
    try:
        async with (
            asyncio.timeout(FETCH_TIMEOUT),
            httpx.AsyncClient(
                follow_redirects=False,
                trust_env=False,
                verify=endpoint.secure,  # else it would load certificates for nothing
                transport=transport,
            ) as http,
            http.stream(
                "GET", url, headers=headers, extensions={"sni_hostname": endpoint.host}
            ) as response,
        ):
            status = response.status_code
            if status != HTTPStatus.OK:
                passing = status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500
                raise PageError(f"it answers HTTP {status}", passing=passing)
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise PageError("it is compressed, which nobody asked for", passing=False)
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > limit:
                    raise PageError(f"it is larger than {limit} bytes", passing=False)
    except (httpx.HTTPError, TimeoutError) as error:
        raise PageError(f"it cannot be fetched ({type(error).__name__})", passing=True) from error
    return bytes(content)
