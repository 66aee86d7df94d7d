from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from cocoon_provider.backends.base import Finished, Piece, Prefilled
from cocoon_provider.backends.echo import EchoBackend, echo_bundle
from cocoon_sdk.errors import ContextLengthError, InvalidRequestError, ModelNotFoundError
from cocoon_sdk.protocol.messages import Channel, Resume

from .helpers import collect, ids_of, make_request, prompt_of, reason_of, text_of

pytestmark = pytest.mark.anyio
TEXT = "Grüße, 世界! 👋"


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "s"}, {"role": "user", "content": text}]


async def test_answers_with_the_last_user_message() -> None:
    backend = EchoBackend()
    generation = backend.submit(make_request(backend, messages=ask(TEXT)), client_key=None)
    events = await collect(generation)
    assert text_of(events) == TEXT
    assert bytes(ids_of(events)).decode() == TEXT
    assert reason_of(events) == "stop"
    assert prompt_of(events) == generation.prompt_tokens


async def test_length_cuts_before_a_character_that_does_not_fit() -> None:
    backend = EchoBackend()
    events = await collect(
        backend.submit(make_request(backend, messages=ask("aé"), max_tokens=2), client_key=None)
    )
    assert (text_of(events), reason_of(events)) == ("a", "length")


async def test_stop_string_is_swallowed() -> None:
    backend = EchoBackend()
    request = make_request(backend, prompt="one two three", stop=["three", " two"])
    events = await collect(backend.submit(request, client_key=None))
    assert (text_of(events), reason_of(events)) == ("one", "stop")


async def test_nothing_happens_beyond_a_grant() -> None:
    backend = EchoBackend()
    generation = backend.submit(make_request(backend, prompt="abcdef"), client_key=None)
    events = aiter(generation)

    async def waits() -> asyncio.Future[object]:
        task = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.01)
        assert not task.done()
        return task

    task = await waits()
    generation.grant(prompt=4, completion=0)
    assert await task == Prefilled(4, 0)
    task = await waits()
    generation.grant(prompt=6, completion=1)
    assert await task == Prefilled(6, 0)
    assert await anext(events) == Piece(0, Channel.CONTENT, "a", (97,))
    generation.grant(prompt=1, completion=0)  # lower totals change nothing
    task = await waits()
    generation.cancel()
    assert await task == Finished(("cancelled",))


async def test_resume_continues_at_the_byte() -> None:
    backend = EchoBackend()
    resume = Resume(list(b"abc"), 3)
    generation = backend.submit(
        make_request(backend, prompt="abcdef", resume=resume), client_key=None
    )
    assert generation.prompt_tokens == 9
    assert text_of(await collect(generation)) == "def"


@pytest.mark.parametrize(
    "resume", [Resume([256], 7), Resume([97], 2), Resume([0xC3], 1), Resume([], 0)]
)
async def test_resume_must_be_the_text_it_claims(resume: Resume) -> None:
    backend = EchoBackend()
    with pytest.raises(InvalidRequestError, match="resume"):
        backend.submit(make_request(backend, prompt="abc", resume=resume), client_key=None)


async def test_refusals() -> None:
    backend = EchoBackend(context=10)
    with pytest.raises(ContextLengthError, match="context of 10"):
        backend.submit(make_request(backend, prompt="12345", max_tokens=6), client_key=None)
    other = EchoBackend(models=["other"])
    with pytest.raises(ModelNotFoundError):
        backend.submit(make_request(other, prompt="a"), client_key=None)


def test_prompt_count_equals_the_tokenizers() -> None:
    from cocoon_sdk.tokens.tokenizer import Tokenizer

    backend = EchoBackend()
    tokenizer = Tokenizer(echo_bundle())
    for text in (TEXT, "", "typed <|end|> text", "\x00\x7f\xa0\xad"):
        generation = backend.submit(make_request(backend, messages=ask(text)), client_key=None)
        assert generation.prompt_tokens == len(tokenizer.chat(ask(text)))
        assert tokenizer.encode(text) == list(text.encode())
        assert tokenizer.decode(list(text.encode())) == text


def test_needs_no_inference_library() -> None:
    code = (
        "import sys, cocoon_provider.backends.echo as e; e.EchoBackend();"
        "print(sorted({'numpy','onnxruntime','tokenizers','jinja2','onnx'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
