"""The engine on the default model: sense in its answers, and exact resume in f32."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from cocoon_provider.backends.base import Piece
from cocoon_provider.backends.onnx import OnnxBackend
from cocoon_provider.models.manifest import ModelFolder
from cocoon_sdk.protocol.messages import Resume

from .helpers import collect, ids_of, make_request, reason_of, text_of

pytestmark = [
    pytest.mark.model,
    pytest.mark.anyio,
    pytest.mark.xdist_group("model"),
    pytest.mark.timeout(300),
]


async def started(folder: ModelFolder) -> AsyncIterator[OnnxBackend]:
    backend = OnnxBackend([folder], device="cpu")
    await backend.start()
    yield backend
    await backend.aclose()


@pytest.fixture
async def int8(smollm2: Callable[..., ModelFolder]) -> AsyncIterator[OnnxBackend]:
    async for backend in started(smollm2()):
        yield backend


@pytest.fixture
async def f32(smollm2: Callable[..., ModelFolder]) -> AsyncIterator[OnnxBackend]:
    async for backend in started(smollm2(quantization="f32")):
        yield backend


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


async def test_answers_a_question(int8: OnnxBackend) -> None:
    # Long enough that the answer is no matter of rounding, and spread over two prompt chunks.
    question = "What is the capital of France? " + "Please answer in detail. " * 16
    request = make_request(int8, messages=ask(question), temperature=0, max_tokens=40)
    events = await collect(int8.submit(request, client_key=None))
    assert "Paris" in text_of(events)
    assert reason_of(events) == "stop"


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("question", ["Name three rivers in Europe.", "Write a haiku about rain."])
async def test_resume_in_f32_is_exact(f32: OnnxBackend, question: str, temperature: float) -> None:
    body = {"messages": ask(question), "max_tokens": 32, "temperature": temperature}
    whole = await collect(f32.submit(make_request(f32, **body), client_key=None))
    pieces = [event for event in whole if isinstance(event, Piece)]
    for cut in (1, 7, 20, len(pieces) - 1):
        ids = [token for piece in pieces[:cut] for token in piece.ids]
        size = len("".join(piece.text for piece in pieces[:cut]).encode())
        request = make_request(f32, resume=Resume(ids, size), **body)
        rest = await collect(f32.submit(request, client_key=None))
        assert ids + ids_of(rest) == ids_of(whole)
        assert reason_of(rest) == reason_of(whole)
