"""Chat messages to prompt text, with the template's own special tokens told apart from typed ones."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, NoReturn

from jinja2 import TemplateError

from cocoon_sdk.errors import InvalidRequestError, VerificationError
from cocoon_sdk.tokens.sandbox import BoundedEnvironment
from cocoon_sdk.tokens.work import Work

_DATE_FORMAT = re.compile(r"[%A-Za-z ,./:-]{0,64}")
_FAILURES = (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)


class Segment(str):
    """A stretch of rendered text that holds no special token of the template's."""

    __slots__ = ()


class ChatTemplate:
    """A compiled template and the special tokens that it may write.

    Args:
        source: Jinja source, as models publish it.
        specials: Texts of the special tokens.
        variables: What the template knows by name besides the chat (`bos_token`, `eos_token`).

    Raises:
        VerificationError: the source does not compile, or uses what chat templates have no need for.
    """

    def __init__(self, source: str, specials: Iterable[str], variables: Mapping[str, str]) -> None:
        self._specials = sorted(filter(None, specials), key=len, reverse=True)
        self._split = re.compile("(" + "|".join(map(re.escape, self._specials)) + ")")
        self._variables = dict(variables)
        self._lock = threading.Lock()
        self._environment = BoundedEnvironment()
        try:
            self._template = self._environment.from_string(source)
        except (*_FAILURES, RecursionError, SyntaxError) as error:
            raise VerificationError(
                "the model's chat template does not compile; use another provider"
            ) from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        day: str | None = None,
        add_generation_prompt: bool = True,
    ) -> list[str]:
        """The prompt as a list: each `Segment` is plain text, each other item one special token.

        Special tokens that appear inside messages or tools stay plain text: they are masked while the
        template runs and come back inside segments.

        Args:
            messages: As `tokens.chat` makes them.
            tools: Tool descriptions for templates that take them.
            day: ISO date for templates that ask for the date.
            add_generation_prompt: Open the assistant's turn.

        Raises:
            InvalidRequestError: the template refuses the messages.
            VerificationError: the template exceeds its bounds.
        """
        mask = _Mask(self._specials, [messages, tools])
        work = Work(mask.chars)
        try:
            with self._lock, self._environment.spending(work):
                text = self._template.render(
                    self._variables
                    | {
                        "messages": mask.hide(messages),
                        "tools": mask.hide(tools) if tools else None,
                        "add_generation_prompt": add_generation_prompt,
                        "raise_exception": _refuse,
                        "strftime_now": _calendar(day),
                    }
                )
        except (*_FAILURES, RecursionError) as error:
            # The template's own words may quote the chat, so they stay out of the message.
            raise InvalidRequestError(
                "the model's chat template does not accept these messages; check their roles and order"
            ) from error
        parts = self._split.split(text) if self._specials else [text]
        return [
            part if i % 2 else Segment(mask.restore(part)) for i, part in enumerate(parts) if part
        ]


class _Mask:
    """Stand-ins for special tokens that a chat's author typed."""

    def __init__(self, specials: Sequence[str], inputs: object) -> None:
        self._specials = specials
        texts = list(_strings(inputs))
        self.chars = sum(map(len, texts)) + 16 * len(texts)
        # A tag that no input contains, out of characters that no template mentions.
        everything = "\n".join(texts)
        tag = 0
        while f"\ue000{tag}\ue001" in everything:
            tag += 1
        self._hidden: dict[str, str] = {}
        self._mark = re.compile(f"\ue000{tag}\ue001([0-9]+)\ue002")
        self._tag = tag
        # Whole tokens, and a beginning at the very end that the next text might complete.
        whole = "|".join(map(re.escape, specials))
        begun = "|".join(
            re.escape(special[:n]) for special in specials for n in range(len(special) - 1, 0, -1)
        )
        self._typed = re.compile(f"{whole}|(?:{begun})(?=\\s*\\Z)") if specials else None

    def hide(self, value: Any) -> Any:
        """A copy of plain data with every typed special token replaced."""
        if isinstance(value, str):
            return self._typed.sub(self._replace, value) if self._typed else value
        if isinstance(value, Mapping):
            return {self.hide(key): self.hide(item) for key, item in value.items()}
        if isinstance(value, Sequence):
            return [self.hide(item) for item in value]
        return value

    def restore(self, text: str) -> str:
        """The text as its author typed it."""
        if not self._hidden:
            return text
        return self._mark.sub(lambda found: self._hidden.get(found.group(), found.group()), text)

    def _replace(self, found: re.Match[str]) -> str:
        mark = f"\ue000{self._tag}\ue001{len(self._hidden)}\ue002"
        self._hidden[mark] = found.group()
        return mark


def _strings(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _strings(item)


def _refuse(message: object = "") -> NoReturn:
    del message
    raise TemplateError("refused")


def _calendar(day: str | None) -> Any:
    def strftime_now(form: str) -> str:
        if not day:
            raise InvalidRequestError("this model's chat template needs date, an ISO date")
        if not _DATE_FORMAT.fullmatch(form):
            raise ValueError("date format")
        try:
            today = date.fromisoformat(day)
        except ValueError as error:
            raise InvalidRequestError("date must be an ISO date such as 2026-07-01") from error
        return datetime(today.year, today.month, today.day, tzinfo=UTC).strftime(form)

    return strftime_now
