"""Everything wrong with what a caller sends is a ConfigError, before any work is done on the network."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import pytest
from starlette.requests import Request

from cocoon_sdk.devnet.requests import (
    MAX_BODY,
    MAX_ROWS,
    ClockBody,
    FaucetBody,
    parse_hash,
    parse_limit,
    query,
    read_boc,
    read_body,
)
from cocoon_sdk.errors import ChainDataError, ConfigError
from cocoon_sdk.ton.cells import Builder, cell_to_boc

HASH = bytes(range(224, 256))  # its base64 holds + and /


def request_of(*chunks: bytes, query_string: bytes = b"") -> Request:
    left = list(chunks) or [b""]

    async def receive() -> dict[str, object]:
        chunk = left.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(left)}

    scope = {"type": "http", "method": "POST", "query_string": query_string, "headers": []}
    return Request(scope, receive)


@pytest.mark.parametrize(
    "text",
    [
        HASH.hex(),
        HASH.hex().upper(),
        base64.b64encode(HASH).decode(),
        base64.urlsafe_b64encode(HASH).decode(),
        base64.b64encode(HASH).decode().replace("+", " "),  # a + that nobody escaped
    ],
)
def test_a_hash_in_every_form_that_wallets_use(text: str) -> None:
    assert parse_hash(text) == HASH


@pytest.mark.parametrize("text", ["", "zz" * 32, "00" * 31, "AAAA", "=" * 44, "ü" * 44, "00" * 33])
def test_other_texts_are_no_hash(text: str) -> None:
    with pytest.raises(ConfigError, match="expected 32 bytes"):
        parse_hash(text)


def test_limits() -> None:
    assert parse_limit("7") == 7
    assert parse_limit("999999999") == MAX_ROWS
    for text in ("", "-1", "1.5", "x", "1" * 10):
        with pytest.raises(ConfigError, match="limit"):
            parse_limit(text)


def test_a_parameter_that_is_missing_is_named() -> None:
    assert query(request_of(query_string=b"a=1"), "a") == "1"
    with pytest.raises(ConfigError, match="b: missing"):
        query(request_of(query_string=b"a=1"), "b")


@pytest.mark.anyio
async def test_bodies_come_in_pieces_and_may_hold_more() -> None:
    body = await read_body(
        request_of(b'{"address": "x", "amo', b'unt": "5", "more": 1}'), FaucetBody
    )
    assert (body.address, body.amount) == ("x", "5")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "chunks",
    [
        [b""],
        [b"{"],
        [b"[]"],
        [b"{}"],
        [b'{"advance": "5"}'],
        [b'{"advance": 1.5}'],
        [b'{"advance": "\xff"}'],
    ],
)
async def test_malformed_bodies(chunks: Sequence[bytes]) -> None:
    with pytest.raises(ConfigError, match="malformed request"):
        await read_body(request_of(*chunks), ClockBody)


@pytest.mark.anyio
async def test_an_endless_body_is_cut() -> None:
    with pytest.raises(ConfigError, match="exceeds"):
        await read_body(request_of(*[bytes(MAX_BODY // 4 + 1)] * 4, b"}"), ClockBody)


@pytest.mark.anyio
async def test_a_message_must_be_a_bag_of_cells() -> None:
    boc = cell_to_boc(Builder().store_uint(1, 8).end_cell())
    text = base64.b64encode(boc)
    assert await read_boc(request_of(b'{"boc": "' + text + b'"}')) == boc
    with pytest.raises(ConfigError, match="expected base64"):
        await read_boc(request_of(b'{"boc": "!"}'))
    with pytest.raises((ConfigError, ChainDataError)):
        await read_boc(request_of(b'{"boc": "AAAA"}'))
