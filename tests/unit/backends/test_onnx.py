"""The real engine on a tiny random model, whose f32 answers must survive a resume unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cocoon_provider.backends.base import Finished, Piece, Prefilled
from cocoon_provider.backends.onnx import OnnxBackend
from cocoon_provider.models.manifest import ModelFolder
from cocoon_sdk.errors import (
    ConfigError,
    ContextLengthError,
    InvalidRequestError,
    ModelNotFoundError,
)
from cocoon_sdk.protocol.messages import Resume
from cocoon_sdk.tokens.bundle import TokenBundle
from cocoon_sdk.tokens.tokenizer import Tokenizer
from tests.reference.session import GraphRunner
from tests.reference.tiny import convert_tiny

from .helpers import collect, ids_of, make_request, prompt_of, reason_of, text_of

pytestmark = pytest.mark.anyio
CHAT = [{"role": "user", "content": "hello world"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return convert_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tokenizer(folder: ModelFolder) -> Tokenizer:
    return Tokenizer(TokenBundle.from_bytes(folder.bundle()))


@pytest.fixture
async def backend(folder: ModelFolder) -> AsyncIterator[OnnxBackend]:
    backend = OnnxBackend([folder], device="cpu", threads=1, rows=2)
    await backend.start()
    yield backend
    await backend.aclose()


async def test_greedy_equals_the_plain_graph(
    backend: OnnxBackend, folder: ModelFolder, tokenizer: Tokenizer
) -> None:
    request = make_request(backend, messages=CHAT, temperature=0, max_tokens=24)
    events = await collect(backend.submit(request, client_key=None))
    plain = GraphRunner(folder, threads=1)
    expected = plain.greedy(tokenizer.chat(CHAT), 24)
    usual = expected[: next((i for i, t in enumerate(expected) if t in tokenizer.eos_ids), 24)]
    assert not tokenizer.special_ids & set(usual), "choose a prompt whose answer is plain text"
    assert usual[: len(ids_of(events))] == ids_of(events)
    assert len(usual) - len(ids_of(events)) < 4  # an unfinished character at the end is dropped


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    "parameters",
    [
        {"temperature": 0},
        {"temperature": 1.0, "top_p": 0.9},
        {"temperature": 1.5, "frequency_penalty": 0.5, "repetition_penalty": 1.2},
    ],
    ids=["greedy", "top_p", "penalties"],
)
async def test_a_resumed_answer_is_the_same_answer(
    backend: OnnxBackend, tokenizer: Tokenizer, parameters: dict[str, float], seed: int
) -> None:
    body = {"prompt": "the world and hello", "max_tokens": 60, "seed": seed, **parameters}
    whole = await collect(backend.submit(make_request(backend, **body), client_key=None))
    pieces = [event for event in whole if isinstance(event, Piece)]
    assert tokenizer.decode(ids_of(whole)) == text_of(whole)
    assert pieces
    for cut in sorted({1, len(pieces) // 3, len(pieces) // 2, len(pieces) - 1} - {0}):
        ids = [token for piece in pieces[:cut] for token in piece.ids]
        text = "".join(piece.text for piece in pieces[:cut])
        resume = Resume(ids, len(text.encode()))
        generation = backend.submit(make_request(backend, resume=resume, **body), client_key=None)
        rest = await collect(generation)
        assert ids + ids_of(rest) == ids_of(whole)
        assert text + text_of(rest) == text_of(whole)
        assert reason_of(rest) == reason_of(whole)
        assert generation.max_tokens == 60 - len(ids)
        assert generation.prompt_tokens == prompt_of(rest) == prompt_of(whole) + len(ids)


async def test_requests_at_once_do_not_disturb_each_other(backend: OnnxBackend) -> None:
    bodies = [{"prompt": f"hello {i} the", "max_tokens": 20, "seed": i} for i in range(5)]
    alone = [
        ids_of(await collect(backend.submit(make_request(backend, **body), client_key=None)))
        for body in bodies
    ]
    together = await asyncio.gather(
        *(collect(backend.submit(make_request(backend, **b), client_key=None)) for b in bodies)
    )
    assert [ids_of(events) for events in together] == alone


async def test_special_tokens_never_come(backend: OnnxBackend, tokenizer: Tokenizer) -> None:
    bias = dict.fromkeys(tokenizer.special_ids - tokenizer.eos_ids, 100)
    request = make_request(backend, prompt="the", max_tokens=30, logit_bias=bias)
    events = await collect(backend.submit(request, client_key=None))
    assert not tokenizer.special_ids & set(ids_of(events))


async def test_end_of_sequence_is_not_delivered(backend: OnnxBackend, tokenizer: Tokenizer) -> None:
    bias = dict.fromkeys(tokenizer.eos_ids, 100)
    request = make_request(backend, prompt="the", logit_bias=bias)
    events = await collect(backend.submit(request, client_key=None))
    assert events == [Prefilled(1, 0), Finished(("stop",))]


async def test_grants_bound_the_work(backend: OnnxBackend) -> None:
    request = make_request(backend, prompt="hello world " * 20, max_tokens=40, seed=5)
    generation = backend.submit(request, client_key=None)
    events = aiter(generation)
    half = generation.prompt_tokens // 2
    generation.grant(prompt=half, completion=0)
    assert await anext(events) == Prefilled(half, 0)
    generation.grant(prompt=generation.prompt_tokens, completion=5)
    assert await anext(events) == Prefilled(generation.prompt_tokens, 0)
    delivered = 0
    while delivered < 5:
        try:
            event = await asyncio.wait_for(anext(events), 0.3)
        except TimeoutError:  # the next character takes more ids than are granted
            break
        assert isinstance(event, Piece)
        delivered += len(event.ids)
    assert 0 < delivered <= 5
    generation.cancel()


async def test_cancel(backend: OnnxBackend) -> None:
    generation = backend.submit(make_request(backend, prompt="the"), client_key=None)
    generation.grant(prompt=100, completion=10_000)
    events = []
    async for event in generation:
        events.append(event)
        generation.cancel()
    assert reason_of(events) == "cancelled"
    assert len(ids_of(events)) < 400


@pytest.mark.parametrize(
    ("resume", "complaint"),
    [
        (Resume([], 0), "resume"),
        (Resume([2], 10), "special"),
        (Resume([50], 999), "text_bytes"),
        (Resume([10**6], 1), "token id"),
    ],
)
async def test_resume_is_checked(backend: OnnxBackend, resume: Resume, complaint: str) -> None:
    with pytest.raises(InvalidRequestError, match=complaint):
        backend.submit(make_request(backend, prompt="the", resume=resume), client_key=None)


async def test_refusals(backend: OnnxBackend, folder: ModelFolder) -> None:
    info = backend.models["tiny"]
    assert (info.hash, info.context) == (folder.model_hash, folder.manifest.context)
    assert (
        TokenBundle.from_bytes(info.bundle, info.tokens_hash).tokenizer_hash == info.tokenizer_hash
    )
    with pytest.raises(ContextLengthError, match="512"):
        backend.submit(make_request(backend, prompt="the", max_tokens=512), client_key=None)
    with pytest.raises(ContextLengthError):
        backend.submit(make_request(backend, prompt="hello the " * 512), client_key=None)
    with pytest.raises(InvalidRequestError, match="logit_bias"):
        backend.submit(make_request(backend, prompt="a", logit_bias={10**6: 1}), client_key=None)
    with pytest.raises(InvalidRequestError, match="tools"):
        backend.submit(make_request(backend, messages=CHAT, tools=[{}]), client_key=None)
    request = make_request(backend, prompt="the")
    await backend.aclose()
    with pytest.raises(ModelNotFoundError):
        backend.submit(request, client_key=None)


async def test_cuda_is_refused_without_a_driver(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cocoon_provider.engine.device.cuda_devices", lambda: 0)
    with pytest.raises(ConfigError, match="driver"):
        await OnnxBackend([folder], device="cuda").start()


def test_rows_must_be_positive(folder: ModelFolder) -> None:
    with pytest.raises(ConfigError, match="rows"):
        OnnxBackend([folder], rows=0)
