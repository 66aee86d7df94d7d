"""The environment that chat templates run in: Jinja's immutable sandbox, plus a bound on their work.

The template is foreign code (engine.md, "Tokenizer and template"). Its syntax tree is rewritten before
it is compiled: constructs that chat templates do not need are refused, loops and macros report each
turn, and whatever makes a new value reports its size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jinja2 import nodes
from jinja2.ext import loopcontrols
from jinja2.runtime import Context, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cocoon_sdk.errors import VerificationError
from cocoon_sdk.tokens.filters import (
    charge_join,
    charge_replace,
    template_filters,
    template_tests,
)
from cocoon_sdk.tokens.rewrite import bounded
from cocoon_sdk.tokens.work import UNITS_PER_ITEM, Work

_STR_METHODS = frozenset(
    [
        "capitalize",
        "count",
        "endswith",
        "find",
        "index",
        "isalnum",
        "isalpha",
        "isdigit",
        "islower",
        "isspace",
        "isupper",
        "join",
        "lower",
        "lstrip",
        "partition",
        "removeprefix",
        "removesuffix",
        "replace",
        "rfind",
        "rpartition",
        "rsplit",
        "rstrip",
        "split",
        "splitlines",
        "startswith",
        "strip",
        "title",
        "upper",
    ]
)
_METHODS: dict[type, frozenset[str]] = {
    str: _STR_METHODS,
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    int: frozenset(),
    float: frozenset(),
}


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox whose renderings run against an account of work; see `spending`."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def __init__(self) -> None:
        # Constant folding would run a template's expressions while compiling, before there is an account.
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            finalize=self.shown,
            extensions=[loopcontrols],
        )
        self._work: Work | None = None
        self.filters = template_filters(self._account)
        self.tests: dict[str, Any] = template_tests(self.compared)
        self.globals = {name: self.globals[name] for name in ("dict", "namespace")} | {
            "range": self._range
        }

    @contextmanager
    def spending(self, work: Work) -> Iterator[None]:
        """Charge what is rendered inside to `work`. One rendering at a time."""
        self._work = work
        try:
            yield
        finally:
            self._work = None

    def _account(self) -> Work:
        if self._work is None:
            raise VerificationError("a chat template ran outside of its bounds")
        return self._work

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = bounded(super()._parse(source, name, filename))
        tree.set_environment(self)
        return tree

    # The hooks below are called by rewritten templates.

    def turn(self, literal_chars: int) -> bool:
        """One turn of a loop or call of a macro, which may emit this much literal text."""
        self._account().charge(literal_chars)
        self._account().tick()
        return True

    def made(self, value: Any) -> Any:
        """A fresh value."""
        self._account().shallow(value)
        return value

    def compared(self, value: Any) -> Any:
        """A value that is about to be compared, or hashed."""
        if isinstance(value, str | list | tuple | dict):
            self._account().deep(value)
        return value

    def joined(self, parts: list[Any]) -> str:
        """The `~` operator."""
        return "".join([self.shown(part) for part in parts])

    def shown(self, value: Any) -> str:
        """A value that becomes text; charged before it does."""
        if isinstance(value, Undefined):
            return str(value)
        if not isinstance(value, str):
            self._account().deep(value)
        text = str(value)
        self._account().charge(len(text))
        return text

    def _range(self, *args: int) -> range:
        values = range(*args)
        self._account().charge(UNITS_PER_ITEM * len(values))
        return values

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Only listed methods of plain data; Jinja's own rule for the rest."""
        for kind, names in _METHODS.items():
            if isinstance(obj, kind):
                return attr in names
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """No formatting: a width in a format string makes text without bound."""
        del value
        return None

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805, PYI063 - as in jinja
        """Charge what a call may compare or hash, the text methods that can explode, and the result."""
        owner = getattr(__obj, "__self__", None)
        if owner is not __self and not isinstance(__obj, Macro):  # our hooks charge by themselves
            for value in args:
                __self.compared(value)
        if isinstance(owner, list | tuple):  # `count` and `index` look at every element
            __self.compared(owner)
        elif isinstance(owner, str):
            if __obj.__name__ == "replace":
                charge_replace(__self._account(), owner, args[0], args[1])
            elif __obj.__name__ == "join":
                charge_join(__self._account(), owner, args[0])
            else:
                __self._account().charge(len(owner))
        return __self.made(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Charge the operators that make long values; refuse powers and `%` formatting."""
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise TypeError(f"a chat template may not use {operator} here")
        if operator == "*":
            for value, times in ((left, right), (right, left)):
                if isinstance(value, str | list | tuple) and isinstance(times, int):
                    self._account().charge(UNITS_PER_ITEM * len(value) * max(times, 0))
        elif operator == "+" and isinstance(left, str | list | tuple):
            self.made(left)
            self.made(right)
        return self.made(super().call_binop(context, operator, left, right))
