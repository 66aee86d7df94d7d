"""Plain GET requests on the public port: health, models, what descriptors and hints name by hash (registry.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from cocoon_provider.backends.base import ModelInfo
from cocoon_provider.gossip import RegistryGossip
from cocoon_sdk.attestation.bundle import bundle_digest
from cocoon_sdk.payments.meter import Price

_JSON = "application/json"
_BYTES = "application/octet-stream"
_PIECE = re.compile(r"([0-9a-f]{64})/([0-9]{1,4})")
_FOREVER = "public, max-age=31536000, immutable"


class PublicPages:
    """Answers GETs; anything that wants a websocket is left to the handshake.

    `attestations` are the bundles to serve, each under its digest, `gossip` the registries, in pieces.
    """

    def __init__(
        self,
        models: Callable[[], Mapping[str, ModelInfo]],
        prices: Mapping[str, Price],
        draining: Callable[[], bool],
        attestations: Sequence[bytes] = (),
        gossip: RegistryGossip | None = None,
    ) -> None:
        self._models = models
        self._prices = prices
        self._draining = draining
        self._gossip = gossip
        self._attestations = {bundle_digest(raw).hex(): raw for raw in attestations}

    def answer(self, request: Request) -> Response | None:
        """The response, or None for a websocket upgrade."""
        if "upgrade" in request.headers.get("Connection", "").lower():
            return None
        path = urlsplit(request.path).path
        if path == "/healthz":
            return self._health()
        if path == "/v1/models":
            return _json({"object": "list", "data": [self._model(m) for m in self._list()]})
        if path.startswith("/attestation/"):
            return self._attestation(path.removeprefix("/attestation/"))
        if path.startswith("/tokens/"):
            return self._bundle(path.removeprefix("/tokens/"))
        if path.startswith("/registry/"):
            return self._registry(path.removeprefix("/registry/"))
        return None if path == "/" else _json({"error": "not found"}, HTTPStatus.NOT_FOUND)

    def _list(self) -> list[ModelInfo]:
        return list(self._models().values())

    def _health(self) -> Response:
        if self._draining():
            return _json({"status": "draining"}, HTTPStatus.SERVICE_UNAVAILABLE)
        return _json({"status": "ok"})

    def _model(self, model: ModelInfo) -> dict[str, object]:
        return {
            "id": model.id,
            "object": "model",
            "hash": model.hash.hex(),
            "context": model.context,
            "quantization": model.quantization,
            "features": list(model.features),
            "price": self._prices[model.id]._asdict(),
        }

    def _attestation(self, name: str) -> Response:
        raw = self._attestations.get(name)
        if raw is None:
            return _json({"error": "no such attestation bundle"}, HTTPStatus.NOT_FOUND)
        return _response(HTTPStatus.OK, raw, {"Cache-Control": _FOREVER}, kind=_BYTES)

    def _registry(self, name: str) -> Response:
        match = _PIECE.fullmatch(name)
        piece = None
        if match is not None and self._gossip is not None:
            piece = self._gossip.piece(bytes.fromhex(match[1]), int(match[2]))
        if piece is None:
            return _json({"error": "no such registry"}, HTTPStatus.NOT_FOUND)
        return _response(HTTPStatus.OK, piece, {"Cache-Control": _FOREVER}, kind=_BYTES)

    def _bundle(self, name: str) -> Response:
        for model in self._list():
            if model.tokens_hash.hex() == name:
                return _response(HTTPStatus.OK, model.bundle, {"Cache-Control": _FOREVER})
        return _json({"error": "no such token bundle"}, HTTPStatus.NOT_FOUND)


def _json(value: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return _response(status, json.dumps(value).encode(), {"Cache-Control": "no-store"})


def _response(
    status: HTTPStatus, body: bytes, extra: Mapping[str, str], *, kind: str = _JSON
) -> Response:
    headers = Headers()
    headers["Content-Type"] = kind
    headers["Content-Length"] = str(len(body))
    headers["Connection"] = "close"
    for name, value in extra.items():
        headers[name] = value
    return Response(status.value, status.phrase, headers, body)


def too_many() -> Response:
    """The answer to an address that connects too often."""
    return _json({"error": "too many connections"}, HTTPStatus.TOO_MANY_REQUESTS)
