"""GETs on the public port: what is told, for how long it may be kept, and what is left to websockets."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from attestation_world import digest
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from cocoon_provider.backends.echo import EchoBackend
from cocoon_provider.public import PublicPages, too_many
from tests.unit.provider.books import PRICE

ECHO = EchoBackend(("echo",))


def get(path: str, *, draining: bool = False, **headers: str) -> Response | None:
    pages = PublicPages(lambda: ECHO.models, {"echo": PRICE}, lambda: draining)
    return pages.answer(Request(path, Headers(headers)))


def page(path: str, **options: bool) -> tuple[int, dict[str, object]]:
    response = get(path, **options)
    assert response is not None
    assert response.headers["Content-Length"] == str(len(response.body))
    return response.status_code, json.loads(response.body)


def test_health_says_when_it_drains() -> None:
    assert page("/healthz") == (200, {"status": "ok"})
    assert page("/healthz", draining=True) == (503, {"status": "draining"})


def test_models_are_listed_with_what_a_buyer_compares() -> None:
    status, listed = page("/v1/models?limit=1")
    info = ECHO.models["echo"]
    assert (status, listed) == (
        200,
        {
            "object": "list",
            "data": [
                {
                    "id": "echo",
                    "object": "model",
                    "hash": info.hash.hex(),
                    "context": info.context,
                    "quantization": "none",
                    "features": [],
                    "price": {"prompt": 1_000_000, "cached": 500_000, "completion": 2_000_000},
                }
            ],
        },
    )


def test_an_attestation_bundle_is_there_only_where_one_is_configured() -> None:
    name = digest(b"bundle")
    assert page(f"/attestation/{name}") == (404, {"error": "no such attestation bundle"})
    bundles = (b"bundle", b"older")
    pages = PublicPages(lambda: ECHO.models, {"echo": PRICE}, lambda: False, attestations=bundles)
    older = pages.answer(Request(f"/attestation/{digest(b'older')}", Headers()))
    assert older is not None
    assert older.body == b"older"
    response = pages.answer(Request(f"/attestation/{name}", Headers()))
    assert response is not None
    assert (response.status_code, response.body) == (200, b"bundle")
    assert "immutable" in response.headers["Cache-Control"]
    assert response.headers["Content-Length"] == "6"
    assert response.headers["Content-Type"] == "application/octet-stream"


def test_a_token_bundle_is_found_by_its_hash_and_kept_for_ever() -> None:
    info = ECHO.models["echo"]
    response = get(f"/tokens/{info.tokens_hash.hex()}")
    assert response is not None
    assert sha256(response.body).digest() == info.tokens_hash
    assert "immutable" in response.headers["Cache-Control"]
    health = get("/healthz")
    assert health is not None
    assert health.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path", ["/tokens/", "/tokens/" + "0" * 64, "/tokens/../healthz", "/nothing", "/v1/models/x"]
)
def test_anything_else_is_not_found(path: str) -> None:
    assert page(path)[0] == 404


@pytest.mark.parametrize("path", ["/", "/healthz", "/anything"])
@pytest.mark.parametrize("connection", ["Upgrade", "keep-alive, upgrade"])
def test_an_upgrade_is_left_to_the_handshake(path: str, connection: str) -> None:
    assert get(path, Connection=connection) is None


def test_a_plain_get_of_the_root_gets_the_websocket_librarys_own_answer() -> None:
    assert get("/") is None


def test_an_address_that_connects_too_often_is_told_so() -> None:
    response = too_many()
    assert (response.status_code, json.loads(response.body)) == (
        429,
        {"error": "too many connections"},
    )
