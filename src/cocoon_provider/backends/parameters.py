"""The parameters of a request's body, checked once for every backend. Pure Python.

What a parameter means follows OpenAI's API; what this version cannot do is refused by name, never
ignored, because an ignored parameter is an answer other than the one that was paid for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cocoon_provider.models.manifest import STANDARD, SamplingDefaults
from cocoon_sdk.errors import InvalidRequestError
from cocoon_sdk.protocol.messages import Request
from cocoon_sdk.tokens.chat import normalise_messages

MAX_STOPS = 16
MAX_STOP_CHARS = 256
MAX_BIASES = 1024

# Meant for the client's side of the API; they change nothing about the tokens.
_WITHOUT_EFFECT = frozenset({"model", "stream", "stream_options"})
# Accepted at the value that asks for nothing.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "logprobs": (False, 0),
    "top_logprobs": (0,),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "response_format": ({"type": "text"},),
    "echo": (False,),
    "suffix": ("",),
}


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen (engine.md, "Engine").

    Attributes:
        temperature: 0 is greedy.
        top_k: Keep the k likeliest tokens; 0 keeps all.
        top_p: Keep the likeliest tokens up to this probability mass.
        min_p: Keep tokens with at least this fraction of the likeliest one's probability.
        repetition_penalty: Divides positive and multiplies negative logits of tokens seen anywhere.
        presence_penalty: Taken off the logits of tokens in the answer.
        frequency_penalty: Taken off once for each time that a token is in the answer.
        logit_bias: Added to the logits of these ids.
        seed: With the position, the whole source of randomness.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Parameters:
    """A checked body.

    Attributes:
        messages: The chat, in one form (`tokens.chat`); None for a completion.
        prompt: The text to complete; None for a chat.
        max_tokens: As asked, or None.
        stop: Strings that end the answer and are not part of it.
        sampling: How tokens are chosen.
    """

    messages: list[dict[str, Any]] | None = field(repr=False)
    prompt: str | None = field(repr=False)
    max_tokens: int | None
    stop: tuple[str, ...] = field(repr=False)
    sampling: Sampling


def parse_parameters(request: Request, defaults: SamplingDefaults = STANDARD) -> Parameters:
    """Check the body of a chat or completion request; `defaults` are the model's.

    Raises:
        InvalidRequestError: a parameter is wrong or not supported; the message names it.
    """
    if request.kind == "embedding":
        raise InvalidRequestError("kind embedding is not supported by this version")
    body = {key: value for key, value in request.body.items() if value is not None}
    messages, prompt = _input(request.kind, body)
    sampling = Sampling(
        temperature=_number(body, "temperature", defaults.temperature, 0.0, 2.0),
        top_k=_integer(body, "top_k", 0, 0, 2**31 - 1),
        top_p=_number(body, "top_p", defaults.top_p, 0.0, 1.0),
        min_p=_number(body, "min_p", 0.0, 0.0, 1.0),
        repetition_penalty=_number(body, "repetition_penalty", 1.0, 0.1, 10.0),
        presence_penalty=_number(body, "presence_penalty", 0.0, -2.0, 2.0),
        frequency_penalty=_number(body, "frequency_penalty", 0.0, -2.0, 2.0),
        logit_bias=_logit_bias(body.pop("logit_bias", {})),
        seed=_seed(body.pop("seed", request.seed), request.seed),
    )
    limit, stop = _max_tokens(body), _stop(body.pop("stop", ()))
    for name, value in body.items():
        if name not in _WITHOUT_EFFECT and not _neutral(name, value):
            raise InvalidRequestError(
                f"parameter {name} is not supported by this version; leave it out"
            )
    return Parameters(messages, prompt, limit, stop, sampling)


def _input(kind: str, body: dict[str, Any]) -> tuple[list[dict[str, Any]] | None, str | None]:
    if kind == "chat":
        return normalise_messages(body.pop("messages", None)), None
    prompt = body.pop("prompt", None)
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str) or not prompt:
        raise InvalidRequestError("prompt must be a non-empty text")
    return None, prompt


def _neutral(name: str, value: object) -> bool:
    # 1 == True in Python, so types are compared as well.
    return any(value == ok and type(value) is type(ok) for ok in _NEUTRAL.get(name, ()))


def _number(body: dict[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = body.pop(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidRequestError(f"{name} must be a number from {low:g} to {high:g}")
    return float(value)


def _integer(body: dict[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = body.pop(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidRequestError(f"{name} must be a whole number from {low} to {high}")
    return value


def _seed(value: object, seed: int) -> int:
    # REQUEST carries the seed that governs; a body that says otherwise would be two answers to one question.
    if isinstance(value, bool) or not isinstance(value, int) or value % 2**64 != seed:
        raise InvalidRequestError("seed must be the whole number that REQUEST carries")
    return seed


def _max_tokens(body: dict[str, Any]) -> int | None:
    given = {
        name: _integer(body, name, 0, 1, 2**31 - 1)
        for name in ("max_tokens", "max_completion_tokens")
        if name in body
    }
    if len(set(given.values())) > 1:
        raise InvalidRequestError("max_tokens and max_completion_tokens differ; give one of them")
    return next(iter(given.values()), None)


def _stop(value: object) -> tuple[str, ...]:
    stops = (value,) if isinstance(value, str) else value
    if not isinstance(stops, list | tuple) or len(stops) > MAX_STOPS:
        raise InvalidRequestError(f"stop must be a text or a list of at most {MAX_STOPS} texts")
    for stop in stops:
        if not isinstance(stop, str) or not 0 < len(stop) <= MAX_STOP_CHARS:
            raise InvalidRequestError(
                f"each stop must be a text of 1 to {MAX_STOP_CHARS} characters"
            )
    return tuple(stops)


def _logit_bias(value: object) -> dict[int, float]:
    if not isinstance(value, Mapping) or len(value) > MAX_BIASES:
        raise InvalidRequestError(f"logit_bias must be an object of at most {MAX_BIASES} entries")
    biases: dict[int, float] = {}
    for key, bias in value.items():
        text = str(key)
        number = isinstance(bias, int | float) and not isinstance(bias, bool)
        if not (text.isascii() and text.isdigit() and len(text) < 10 and number):
            raise InvalidRequestError("logit_bias must map token ids to numbers")
        if not math.isfinite(bias) or abs(bias) > 100:
            raise InvalidRequestError("logit_bias must lie between -100 and 100")
        biases[int(text)] = float(bias)
    return biases
