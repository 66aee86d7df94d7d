"""Token bundles by hash: fetched from a provider once, cached, never trusted without the hash."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from cocoon_sdk.settings import cache_dir
from cocoon_sdk.transport.connection import Site

if TYPE_CHECKING:
    from cocoon_sdk.tokens.tokenizer import Tokenizer

MAX_BUNDLE_BYTES = 64 * 1024 * 1024
FETCH_TIMEOUT = 10.0


async def tokenizer_for(tokens_hash: bytes, site: Site) -> Tokenizer | None:
    """The tokenizer behind a hash that a signed descriptor names, or None.

    None means that prompts are bounded by their bytes and answers are not recounted: the extra
    `[tokens]` is not installed, or the provider does not serve the bundle.
    """
    try:
        import tokenizers  # noqa: F401
    except ImportError:
        return None
    path = cache_dir() / "tokens" / tokens_hash.hex()
    if not path.exists():
        raw = await _fetch(site, f"/tokens/{tokens_hash.hex()}")
        if raw is None or hashlib.sha256(raw).digest() != tokens_hash:
            return None
        await asyncio.to_thread(_store, path, raw)
    return await asyncio.to_thread(_load, path, tokens_hash)


async def _fetch(site: Site, path: str) -> bytes | None:
    endpoint = site.endpoint
    # The checked address is dialled; name and certificate are still those of the signed URL.
    url = httpx.URL(
        scheme="https" if endpoint.secure else "http",
        host=site.address,
        port=endpoint.port,
        path=path,
    )
    headers = {"Host": urlsplit(endpoint.url).netloc, "User-Agent": "-"}
    extensions = {"sni_hostname": endpoint.host}
    content = bytearray()
    try:
        async with (
            httpx.AsyncClient(
                timeout=FETCH_TIMEOUT, follow_redirects=False, trust_env=False
            ) as http,
            http.stream("GET", url, headers=headers, extensions=extensions) as response,
        ):
            if response.status_code != httpx.codes.OK:
                return None
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > MAX_BUNDLE_BYTES:
                    return None
    except httpx.HTTPError:
        return None
    return bytes(content)


def _store(path: Path, raw: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    temporary.write_bytes(raw)
    os.replace(temporary, path)  # noqa: PTH105 - the same, and says atomic


@lru_cache(maxsize=8)
def _load(path: Path, tokens_hash: bytes) -> Tokenizer:
    from cocoon_sdk.tokens.bundle import TokenBundle
    from cocoon_sdk.tokens.tokenizer import Tokenizer

    return Tokenizer(TokenBundle.from_bytes(path.read_bytes(), tokens_hash))
