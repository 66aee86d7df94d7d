from __future__ import annotations

import pytest

from cocoon_provider.backends.echo import EchoBackend
from cocoon_provider.backends.limits import completion_limit
from cocoon_provider.backends.parameters import parse_parameters
from cocoon_provider.models.manifest import SamplingDefaults
from cocoon_sdk.errors import ContextLengthError, InvalidRequestError

from .helpers import make_request

BACKEND = EchoBackend()


def test_defaults_and_values() -> None:
    parsed = parse_parameters(make_request(BACKEND, prompt="x", n=1, tools=None, stream=True))
    assert (parsed.prompt, parsed.messages, parsed.max_tokens, parsed.stop) == ("x", None, None, ())
    assert (parsed.sampling.temperature, parsed.sampling.seed) == (1.0, 7)
    parsed = parse_parameters(
        make_request(
            BACKEND,
            messages=[{"role": "developer", "content": [{"type": "text", "text": "a"}] * 2}],
            max_completion_tokens=5,
            stop="END",
            logit_bias={"3": -100, 4: 1},
            seed=2**64 - 1,
            response_format={"type": "text"},
        )
    )
    assert parsed.messages == [{"role": "system", "content": "aa"}]
    assert (parsed.max_tokens, parsed.stop) == (5, ("END",))
    assert parsed.sampling.logit_bias == {3: -100.0, 4: 1.0}


def test_the_models_defaults_hold_only_where_nothing_is_asked() -> None:
    defaults = SamplingDefaults(temperature=0.2, top_p=0.9)
    silent = parse_parameters(make_request(BACKEND, prompt="x"), defaults).sampling
    assert (silent.temperature, silent.top_p) == (0.2, 0.9)
    asked = parse_parameters(make_request(BACKEND, prompt="x", temperature=0, top_p=1), defaults)
    assert (asked.sampling.temperature, asked.sampling.top_p) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("n", True),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("tools", [{}]),
        ("response_format", {"type": "json_object"}),
        ("reasoning_effort", "high"),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", "1"),
        ("top_p", 1.1),
        ("top_k", 1.5),
        ("min_p", True),
        ("repetition_penalty", 0),
        ("max_tokens", 0),
        ("stop", [""]),
        ("stop", ["x"] * 17),
        ("stop", 3),
        ("logit_bias", {"a": 1}),
        ("logit_bias", {"1": 101}),
        ("logit_bias", {"-1": 1}),
        ("made_up", 1),
    ],
)
def test_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidRequestError, match=name):
        parse_parameters(make_request(BACKEND, **{"prompt": "x", name: value}))


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([], "messages"),
        ("hello", "messages"),
        ([1], r"messages\[0\]"),
        ([{"role": "root", "content": "x"}], "role"),
        ([{"role": "user", "content": None}], "content"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], r"content\[0\]"),
        ([{"role": "assistant", "content": "", "tool_calls": [1]}], "tool_calls"),
    ],
)
def test_messages_refused_by_name(messages: object, named: str) -> None:
    with pytest.raises(InvalidRequestError, match=named):
        parse_parameters(make_request(BACKEND, messages=messages))


def test_seed_of_the_body_must_be_the_requests() -> None:
    request = make_request(BACKEND, prompt="x")
    request.body["seed"] = 8
    with pytest.raises(InvalidRequestError, match="seed"):
        parse_parameters(request)


def test_two_limits_must_agree() -> None:
    with pytest.raises(InvalidRequestError, match="max_completion_tokens"):
        parse_parameters(make_request(BACKEND, prompt="x", max_tokens=1, max_completion_tokens=2))


def test_completion_limit() -> None:
    assert completion_limit(asked=None, prompt_tokens=3, resumed=0, context=10) == 7
    assert completion_limit(asked=5, prompt_tokens=5, resumed=2, context=10) == 3
    assert completion_limit(asked=2, prompt_tokens=10, resumed=2, context=10) == 0
    with pytest.raises(ContextLengthError):
        completion_limit(asked=None, prompt_tokens=10, resumed=0, context=10)
    with pytest.raises(ContextLengthError):
        completion_limit(asked=6, prompt_tokens=5, resumed=0, context=10)
    with pytest.raises(InvalidRequestError, match="resume"):
        completion_limit(asked=1, prompt_tokens=5, resumed=2, context=10)
