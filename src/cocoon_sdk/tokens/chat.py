"""Chat messages as a template takes them: checked and brought to one form, alike on both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cocoon_sdk.errors import InvalidRequestError

# Templates know `system`; `developer` is the newer name of the same thing.
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def normalise_messages(messages: object) -> list[dict[str, Any]]:
    """Plain `{"role", "content"[, "name"]}` dicts out of OpenAI-shaped messages.

    A list of text parts becomes the parts' concatenation, `developer` becomes `system`, nulls are absent.

    Raises:
        InvalidRequestError: not a list of messages, or something in them is not supported; it is named.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes) or not messages:
        raise InvalidRequestError("messages must be a list with at least one message")
    return [_message(item, f"messages[{i}]") for i, item in enumerate(messages)]


def _message(item: object, where: str) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise InvalidRequestError(f"{where} must be an object with role and content")
    role = item.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise InvalidRequestError(f"{where}.role must be one of {', '.join(_ROLES)}")
    message: dict[str, Any] = {
        "role": _ROLES[role],
        "content": _content(item.get("content"), f"{where}.content"),
    }
    for key, value in item.items():
        if key in {"role", "content"} or value is None:
            continue
        if key != "name" or not isinstance(value, str):
            raise InvalidRequestError(f"{where}.{key} is not supported by this version")
        message["name"] = value
    return message


def _content(content: object, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        raise InvalidRequestError(f"{where} must be text or a list of text parts")
    texts: list[str] = []
    for i, part in enumerate(content):
        text = part.get("text") if isinstance(part, Mapping) else None
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(text, str):
            raise InvalidRequestError(f"{where}[{i}]: only parts of type text are supported")
        texts.append(text)
    return "".join(texts)
