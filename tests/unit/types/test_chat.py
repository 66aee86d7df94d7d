"""Replies have OpenAI's field names and order of nesting, so that code written for those reads ours."""

from __future__ import annotations

from typing import Any

import pytest

from cocoon_sdk.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatMessage,
    Choice,
    ChoiceDelta,
    ChunkChoice,
    Usage,
)


def chunk(*choices: tuple[int, str | None], **more: Any) -> ChatCompletionChunk:
    return ChatCompletionChunk(
        id="i",
        model="m",
        created=5,
        provider="p",
        choices=tuple(
            ChunkChoice(index=index, delta=ChoiceDelta(content=text)) for index, text in choices
        ),
        **more,
    )


@pytest.mark.parametrize(
    ("choices", "text"),
    [([], ""), ([(0, "a")], "a"), ([(0, None)], ""), ([(1, "b"), (0, "a"), (0, "c")], "ac")],
)
def test_a_chunks_text_is_that_of_the_first_choice(
    choices: list[tuple[int, str | None]], text: str
) -> None:
    assert chunk(*choices).text == text


def test_a_chunk_on_the_wire_of_openai() -> None:
    assert chunk((0, "a")).to_dict() == {
        "id": "i",
        "object": "chat.completion.chunk",
        "created": 5,
        "model": "m",
        "provider": "p",
        "choices": [{"index": 0, "delta": {"content": "a"}}],
    }
    usage = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3, cost="0.1", cost_nano=10**8)
    assert chunk(usage=usage).to_dict()["usage"]["total_tokens"] == 3


def test_a_completions_text_is_that_of_the_first_choice() -> None:
    choices = tuple(
        Choice(index=n, message=ChatMessage(role="assistant", content=text), finish_reason="stop")
        for n, text in enumerate("ab")
    )
    usage = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
    made = ChatCompletion(
        id="i", model="m", created=5, choices=choices, usage=usage, provider="p",
        assurance="operator", receipt=None,  # type: ignore[arg-type]
    )  # fmt: skip
    assert made.text == "a"
    assert made.to_dict()["object"] == "chat.completion"
    assert made.to_dict()["choices"][1] == {
        "index": 1,
        "message": {"role": "assistant", "content": "b"},
        "finish_reason": "stop",
    }
