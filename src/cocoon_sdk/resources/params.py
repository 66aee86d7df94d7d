"""Parameters of a chat completion: checked here, before anything is sent or reserved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from cocoon_sdk.errors import InvalidRequestError

ROLES = ("system", "user", "assistant")
MAX_STOPS = 16
DEFAULT_MAX_TOKENS = 512


class Message(TypedDict):
    """One message of a conversation."""

    role: str
    content: str


class Sampling(TypedDict, total=False):
    """Sampling parameters as they travel in REQUEST's body."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    frequency_penalty: float
    presence_penalty: float
    repetition_penalty: float
    logit_bias: Mapping[str, float]
    stop: Sequence[str]


# name: lowest, highest, whether the lowest itself is allowed
_RANGES: dict[str, tuple[float, float, bool]] = {
    "temperature": (0, 2, True),
    "top_p": (0, 1, False),
    "min_p": (0, 1, True),
    "frequency_penalty": (-2, 2, True),
    "presence_penalty": (-2, 2, True),
    "repetition_penalty": (0, 10, False),
}


def chat_body(
    messages: Sequence[Mapping[str, Any]], *, max_tokens: int, sampling: Mapping[str, Any]
) -> dict[str, Any]:
    """The body of a chat REQUEST, with absent parameters left out.

    Raises:
        InvalidRequestError: names the parameter and what it may be.
    """
    if not isinstance(messages, Sequence):
        raise InvalidRequestError(f"messages must be a list, not {type(messages).__name__}")
    body: dict[str, Any] = {
        "messages": [_message(number, message) for number, message in enumerate(messages)],
        "max_tokens": _whole("max_tokens", max_tokens, lowest=1, highest=2**20),
    }
    if not body["messages"]:
        raise InvalidRequestError("messages is empty; send at least one message")
    for name, value in sampling.items():
        if value is not None:
            body[name] = _sampling(name, value)
    return body


def _message(number: int, message: Mapping[str, Any]) -> dict[str, str]:
    where = f"messages[{number}]"
    if not isinstance(message, Mapping):
        raise InvalidRequestError(f"{where} is not a mapping with role and content")
    unknown = set(message) - {"role", "content"}
    if unknown:
        raise InvalidRequestError(f"{where} has the unsupported field {min(unknown)!r}")
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise InvalidRequestError(f"{where}.role is {role!r}; use one of {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise InvalidRequestError(f"{where}.content must be text, not {type(content).__name__}")
    try:
        content.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"{where}.content holds a lone surrogate, which is no text"
        ) from error
    return {"role": str(role), "content": content}


def _sampling(name: str, value: Any) -> Any:
    if name in _RANGES:
        return _number(name, value, *_RANGES[name])
    if name == "top_k":
        return _whole(name, value, lowest=0, highest=2**20)
    if name == "stop":
        return _stops(value)
    if name == "logit_bias":
        return _logit_bias(value)
    raise InvalidRequestError(f"the parameter {name!r} is not supported")


def _number(name: str, value: Any, lowest: float, highest: float, closed: bool) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not (lowest <= value <= highest) or (value == lowest and not closed):
        bound = "from" if closed else "above"
        raise InvalidRequestError(
            f"{name} is {value!r}; use a number {bound} {lowest} to {highest}"
        )
    return float(value)


def _whole(name: str, value: Any, *, lowest: int, highest: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise InvalidRequestError(
            f"{name} is {value!r}; use a whole number from {lowest} to {highest}"
        )
    return value


def _stops(value: Any) -> list[str]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, Sequence):
        raise InvalidRequestError(f"stop must be a text or a list of texts, not {value!r}")
    if len(stops) > MAX_STOPS or not all(isinstance(stop, str) and stop for stop in stops):
        raise InvalidRequestError(f"stop must be at most {MAX_STOPS} texts, none of them empty")
    return list(stops)


def _logit_bias(value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise InvalidRequestError("logit_bias must map token ids to numbers from -100 to 100")
    return {
        str(token): _number("logit_bias", bias, -100, 100, True) for token, bias in value.items()
    }
