"""Reading what callers of the devnet send. Everything wrong with it is a ConfigError, HTTP 422."""

from __future__ import annotations

import base64
import binascii
import contextlib
from typing import TypeVar

import msgspec
from starlette.requests import Request

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.ton.cells import MAX_BOC, cell_from_boc

MAX_BODY = 2 * MAX_BOC
MAX_ROWS = 1_000

T = TypeVar("T")


class BocBody(msgspec.Struct):
    """A message to send."""

    boc: str


class FaucetBody(msgspec.Struct):
    """Who gets how many nano, as decimal text."""

    address: str
    amount: str


class ClockBody(msgspec.Struct):
    """Seconds to move forward."""

    advance: int


def query(request: Request, name: str) -> str:
    """A query parameter that must be there."""
    value = request.query_params.get(name)
    if value is None:
        raise ConfigError(f"{name}: missing")
    return str(value)


def parse_hash(text: str) -> bytes:
    """32 bytes in hex, base64 or base64url."""
    with contextlib.suppress(ValueError, binascii.Error):
        raw = bytes.fromhex(text) if len(text) == 64 else base64.urlsafe_b64decode(_urlsafe(text))
        if len(raw) == 32:
            return raw
    raise ConfigError("msg_hash: expected 32 bytes in hex, base64 or base64url")


def parse_limit(text: str) -> int:
    """How many rows to give, at most `MAX_ROWS`."""
    if not text.isdecimal() or len(text) > 9:
        raise ConfigError(f"limit: expected a number up to {MAX_ROWS}")
    return min(int(text), MAX_ROWS)


def _urlsafe(text: str) -> str:
    return text.replace("+", "-").replace("/", "_").replace(" ", "-")


async def read_body(request: Request, kind: type[T]) -> T:
    """The JSON body, whatever content type it claims, as curl and wallets send it."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY:
            raise ConfigError(f"the request exceeds {MAX_BODY} bytes")
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"malformed request: {error}") from error


async def read_boc(request: Request) -> bytes:
    """The bag of cells in a `{"boc": base64}` body."""
    text = (await read_body(request, BocBody)).boc
    try:
        raw = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise ConfigError("boc: expected base64") from error
    cell_from_boc(raw)
    return raw
