from __future__ import annotations

from typing import Any

import pytest

from cocoon_sdk.errors import InvalidRequestError
from cocoon_sdk.resources.params import chat_body

HELLO = [{"role": "user", "content": "hello"}]


def body(messages: Any = HELLO, max_tokens: Any = 10, **sampling: Any) -> dict[str, Any]:
    return chat_body(messages, max_tokens=max_tokens, sampling=sampling)


def test_absent_parameters_do_not_travel() -> None:
    assert body(temperature=None, stop=None) == {"messages": HELLO, "max_tokens": 10}


def test_good_parameters_travel_as_they_are() -> None:
    made = body(temperature=0, top_p=0.9, top_k=40, stop="END", logit_bias={7: -100})
    assert made["temperature"] == 0.0
    assert made["stop"] == ["END"]
    assert made["logit_bias"] == {"7": -100.0}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", "hot"),
        ("temperature", True),
        ("temperature", float("nan")),
        ("top_p", 0),
        ("top_p", 1.01),
        ("min_p", -1),
        ("top_k", -1),
        ("top_k", 1.5),
        ("frequency_penalty", 3),
        ("presence_penalty", -3),
        ("repetition_penalty", 0),
        ("stop", ["a"] * 17),
        ("stop", [""]),
        ("stop", [1]),
        ("stop", 5),
        ("logit_bias", [1]),
        ("logit_bias", {"1": 101}),
        ("tools", []),
    ],
)
def test_a_wrong_parameter_is_named(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=name):
        body(**{name: value})


@pytest.mark.parametrize("value", [0, -1, 1.0, True, None, 2**21])
def test_max_tokens_bounds_the_cost_so_it_must_be_sane(value: Any) -> None:
    with pytest.raises(InvalidRequestError, match="max_tokens"):
        body(max_tokens=value)


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "empty"),
        (["hello"], r"messages\[0\]"),
        ([{"role": "robot", "content": "x"}], "robot"),
        ([{"role": "user", "content": None}], "content must be text"),
        ([{"role": "user"}], "content must be text"),
        ([*HELLO, {"role": "user", "content": "x", "name": "bob"}], r"messages\[1\].*'name'"),
        ([{"role": "user", "content": "\ud800"}], "surrogate"),
    ],
)
def test_a_wrong_message_is_pointed_at(messages: Any, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        body(messages)


def test_errors_do_not_repeat_what_was_said() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        body([{"role": "user", "content": ["my secret"]}])
    assert "my secret" not in str(caught.value)
