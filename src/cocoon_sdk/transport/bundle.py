"""Token bundles by hash: fetched from a provider once, cached, never trusted without the hash."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import logging
import os
import secrets
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from cocoon_sdk.settings import cache_dir
from cocoon_sdk.transport.page import PageError, get_page
from cocoon_sdk.transport.reach import Site

if TYPE_CHECKING:
    import httpx

    from cocoon_sdk.tokens.tokenizer import Tokenizer

logger = logging.getLogger("cocoon_sdk.transport")

MAX_BUNDLE_BYTES = 64 * 1024 * 1024
RETRY_AFTER = 300.0
MAX_LOADED = 8


class Bundles:
    """Tokenizers by the hash that a signed descriptor names. One fetch serves all who wait for it.

    Args:
        transport: replaces the network, in tests.
    """

    def __init__(self, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._transport = transport
        self._locks: dict[bytes, asyncio.Lock] = {}
        self._retry_at: dict[bytes, float] = {}
        self._loaded: OrderedDict[bytes, Tokenizer] = OrderedDict()

    async def tokenizer(self, tokens_hash: bytes, site: Site) -> Tokenizer | None:
        """The tokenizer behind a hash, or None.

        None means that prompts are bounded by their bytes and answers are not recounted: the extra
        `[tokens]` is not installed, or the provider does not serve the bundle.

        Raises:
            VerificationError: the bundle has the right hash and is unusable.
        """
        if importlib.util.find_spec("tokenizers") is None:
            return None
        async with self._locks.setdefault(tokens_hash, asyncio.Lock()):
            if tokens_hash not in self._loaded:
                made = await self._make(tokens_hash, site)
                if made is None:
                    return None
                self._loaded[tokens_hash] = made
            self._loaded.move_to_end(tokens_hash)
            while len(self._loaded) > MAX_LOADED:
                self._loaded.popitem(last=False)
            return self._loaded[tokens_hash]

    async def _make(self, tokens_hash: bytes, site: Site) -> Tokenizer | None:
        path = cache_dir() / "tokens" / tokens_hash.hex()
        raw = await asyncio.to_thread(_cached, path, tokens_hash)
        if raw is None:
            raw = await self._fetched(tokens_hash, site)
            if raw is None:
                return None
            await asyncio.to_thread(_store, path, raw)
        return await asyncio.to_thread(_load, raw)

    async def _fetched(self, tokens_hash: bytes, site: Site) -> bytes | None:
        if time.monotonic() < self._retry_at.get(tokens_hash, 0.0):
            return None
        with contextlib.suppress(PageError):
            raw = await get_page(
                site,
                f"/tokens/{tokens_hash.hex()}",
                limit=MAX_BUNDLE_BYTES,
                transport=self._transport,
            )
            if hashlib.sha256(raw).digest() == tokens_hash:
                return raw
        logger.info("no token bundle %s: prompts are bounded by their bytes", tokens_hash.hex())
        self._retry_at[tokens_hash] = time.monotonic() + RETRY_AFTER
        return None


def _cached(path: Path, tokens_hash: bytes) -> bytes | None:
    """What lies in the cache, if it is whole."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    return raw if hashlib.sha256(raw).digest() == tokens_hash else None


def _store(path: Path, raw: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(raw)
        os.replace(temporary, path)  # noqa: PTH105 - the same, and says atomic
    except OSError as error:  # a full disk costs a fetch next time, not this request
        logger.warning("the token bundle could not be cached: %s", error.strerror)
        with contextlib.suppress(OSError):
            temporary.unlink()


def _load(raw: bytes) -> Tokenizer:
    from cocoon_sdk.tokens.bundle import TokenBundle
    from cocoon_sdk.tokens.tokenizer import Tokenizer

    return Tokenizer(TokenBundle.from_bytes(raw))
