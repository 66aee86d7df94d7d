"""Registry files over HTTP: one GET, no redirects, size and time capped while streaming."""

from __future__ import annotations

import asyncio
import zlib
from http import HTTPStatus
from urllib.parse import urlsplit, urlunsplit

import httpx

from cocoon_sdk.errors import ConnectError, RegistryFormatError, RegistryUnavailableError
from cocoon_sdk.registry.endpoint import (
    AddressRules,
    Resolver,
    parse_endpoint,
    resolve_endpoint,
)
from cocoon_sdk.registry.shards import shard_file
from cocoon_sdk.registry.sources import ROOT_FILE, Fetched, root_file
from cocoon_sdk.registry.trust import MAX_ROOT_BYTES
from cocoon_sdk.registry.verify import MAX_REGISTRY_BYTES

MAX_ETAG = 256


class HttpSource:
    """registry.json at an https URL, or at an http one on loopback.

    Args:
        url: of the file.
        transport: replaces the network, in tests.
        timeout: seconds for one file, first byte to last.
        rules: for a URL that somebody else named: the name is resolved here, judged, and only an
            address that was judged is dialled. None for one that the user chose.
        resolve: replaces the system's resolver, in tests.

    Raises:
        RegistryFormatError: from the constructor, another kind of URL.
    """

    def __init__(
        self,
        url: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout: float = 20.0,
        rules: AddressRules | None = None,
        resolve: Resolver | None = None,
    ) -> None:
        endpoint = parse_endpoint(url, schemes=("https", "http"))
        self._endpoint = endpoint
        self._rules = rules
        self._resolve = resolve
        self.locator = url
        self.on_this_machine = endpoint.loopback
        self._transport = transport
        self._timeout = timeout

    def check(self) -> None:
        """Nothing can be known without asking."""

    def has_changed(self) -> bool:
        """Nothing can be known without asking."""
        return False

    async def registry(self, etag: str | None) -> Fetched | None:
        """The registry file; None if the server says that the tag still holds."""
        fetched = await self._get(self.locator, MAX_REGISTRY_BYTES, etag=etag)
        if fetched is None:
            raise RegistryUnavailableError(f"there is no registry at {self.locator} (404)")
        return fetched if fetched.raw else None

    async def root(self, version: int | None) -> bytes | None:
        """The root beside it; None on 404."""
        name = ROOT_FILE if version is None else root_file(version)
        fetched = await self._get(self._beside(name), MAX_ROOT_BYTES)
        return None if fetched is None else fetched.raw

    async def shard(self, sha256: str, length: int) -> bytes | None:
        """The shard in the folder of shards beside it; None on 404."""
        fetched = await self._get(self._beside(shard_file(sha256)), length)
        return None if fetched is None else fetched.raw

    async def _dialled(self, url: str) -> str:
        """The URL to dial: with an address that was judged in place of the name."""
        if self._rules is None:
            return url
        addresses = await resolve_endpoint(
            self._endpoint,
            allow_private=self._rules.allow_private,
            allow_loopback=self._rules.allow_loopback,
            resolve=self._resolve,
        )
        host = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
        parts = urlsplit(url)
        return urlunsplit(parts._replace(netloc=f"{host}:{self._endpoint.port}"))

    def _beside(self, name: str) -> str:
        parts = urlsplit(self.locator)
        folder = parts.path.rpartition("/")[0]
        return urlunsplit((parts.scheme, parts.netloc, f"{folder}/{name}", "", ""))

    async def _get(self, url: str, limit: int, *, etag: str | None = None) -> Fetched | None:
        """The body, b"" for "not modified", None for "not found"."""
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "Host": urlsplit(url).netloc,
        }
        if etag is not None:
            headers["If-None-Match"] = etag
        try:
            async with (
                asyncio.timeout(self._timeout),
                httpx.AsyncClient(
                    transport=self._transport, timeout=self._timeout, follow_redirects=False
                ) as client,
                client.stream(
                    "GET",
                    await self._dialled(url),
                    headers=headers,
                    extensions={"sni_hostname": self._endpoint.host},
                ) as response,
            ):
                status = response.status_code
                if status == HTTPStatus.NOT_MODIFIED and etag is not None:
                    return Fetched(b"", etag)
                if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
                    return None
                if status != HTTPStatus.OK:
                    hint = "; redirects are not followed" if response.is_redirect else ""
                    raise RegistryUnavailableError(f"{url} answered {status}{hint}")
                tag = response.headers.get("ETag", "")
                body = await _read_body(response, url, limit)
        except ConnectError as error:
            raise RegistryUnavailableError(f"{url} is not asked: {error}") from None
        except TimeoutError:
            raise RegistryUnavailableError(
                f"{url} did not arrive within {self._timeout:g} s"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RegistryUnavailableError(
                f"{url} cannot be fetched: {error or type(error).__name__}"
            ) from error
        return Fetched(body, tag if 0 < len(tag) <= MAX_ETAG and tag.isprintable() else None)


async def _read_body(response: httpx.Response, url: str, limit: int) -> bytes:
    """The decoded body, refused as soon as either the wire bytes or the decoded ones pass `limit`."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip"}:
        raise RegistryUnavailableError(f"{url} came in an encoding that was not asked for")
    inflate = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    body = bytearray()
    wire = 0
    async for chunk in response.aiter_raw():
        wire += len(chunk)
        # One spare byte shows an overrun without ever inflating a bomb.
        body += chunk if inflate is None else _inflate(inflate, chunk, limit + 1 - len(body), url)
        if wire > limit or len(body) > limit:
            raise RegistryFormatError(f"{url} is above the limit of {limit} bytes")
    if inflate is not None and not inflate.eof:
        raise RegistryUnavailableError(f"{url} arrived cut short")
    if not body:
        raise RegistryFormatError(f"{url} is empty")
    return bytes(body)


def _inflate(inflate: zlib._Decompress, chunk: bytes, room: int, url: str) -> bytes:
    try:
        data = inflate.decompress(chunk, room)
    except zlib.error as error:
        raise RegistryFormatError(f"{url} is not valid gzip: {error}") from None
    if inflate.unused_data:
        raise RegistryFormatError(f"{url} has bytes after its gzip stream")
    return data
