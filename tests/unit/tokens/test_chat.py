"""Messages on their way into a template: one form on both sides, or a refusal that names the place."""

from __future__ import annotations

import pytest

from cocoon_sdk.errors import InvalidRequestError
from cocoon_sdk.tokens.chat import normalise_messages


def test_openai_shapes_become_one_form() -> None:
    assert normalise_messages(
        (
            {"role": "developer", "content": "Be brief.", "name": None, "tool_calls": None},
            {
                "role": "user",
                "content": [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}],
                "name": "Ann",
            },
            {"role": "assistant", "content": []},
        )
    ) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a b", "name": "Ann"},
        {"role": "assistant", "content": ""},
    ]


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "at least one message"),
        (None, "must be a list"),
        ("hello", "must be a list"),
        (b"hello", "must be a list"),
        ({"role": "user"}, "must be a list"),
        (["hello"], r"messages\[0\] must be an object"),
        ([{"content": "x"}], r"messages\[0\]\.role must be one of system, developer"),
        ([{"role": "tool", "content": "x"}], r"messages\[0\]\.role"),
        ([{"role": ["user"], "content": "x"}], r"messages\[0\]\.role"),
        ([{"role": "user"}], r"messages\[0\]\.content must be text"),
        ([{"role": "user", "content": 1}], r"messages\[0\]\.content must be text"),
        ([{"role": "user", "content": b"x"}], r"messages\[0\]\.content must be text"),
        ([{"role": "user", "content": ["x"]}], r"content\[0\]: only parts of type text"),
        (
            [
                {"role": "user", "content": "x"},
                {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url"}]},
            ],
            r"messages\[1\]\.content\[1\]",
        ),
        ([{"role": "user", "content": [{"type": "text", "text": 1}]}], r"content\[0\]"),
        ([{"role": "user", "content": "x", "tool_calls": [1]}], r"tool_calls is not supported"),
        ([{"role": "user", "content": "x", "name": 1}], r"messages\[0\]\.name is not supported"),
    ],
)
def test_refusals_name_the_place(messages: object, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        normalise_messages(messages)
