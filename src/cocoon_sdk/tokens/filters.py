"""The filters and tests that a chat template may use: the ones real templates use, with their cost charged.

A name that is missing here is refused when the template is compiled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sized
from typing import Any

from jinja2 import filters as jinja
from jinja2.runtime import Undefined
from jinja2.tests import TESTS

from cocoon_sdk.tokens.work import UNITS_PER_ITEM, Work

MAX_INDENT = 16
MAX_DIGITS = 16

# Jinja's own, safe at the price of their operand's length.
_PLAIN = (
    "abs", "count", "d", "default", "first", "float", "int", "items", "last", "length", "map", "reject",
    "rejectattr", "safe", "select", "selectattr",
)  # fmt: skip
# Tests that look at their operand's kind, or at a number.
_KINDS = (
    "boolean", "callable", "defined", "divisibleby", "even", "false", "float", "integer", "iterable",
    "mapping", "none", "number", "odd", "sameas", "sequence", "string", "true", "undefined",
)  # fmt: skip
# Tests that walk through both of their operands, as the operators of the same names do.
_COMPARISONS = (
    "!=", "<", "<=", "==", ">", ">=", "eq", "equalto", "ge", "greaterthan", "gt", "in", "le", "lessthan",
    "lt", "ne",
)  # fmt: skip


def template_filters(work: Callable[[], Work]) -> dict[str, Callable[..., Any]]:
    """The filters by name; `work` gives the account of the rendering that is under way."""

    def text(value: object) -> str:
        if isinstance(value, Undefined):
            return ""
        if not isinstance(value, str):
            work().deep(value)
        result = str(value)
        work().charge(len(result))
        return result

    def as_list(value: Any) -> list[Any]:
        if isinstance(value, Sized):
            work().charge(UNITS_PER_ITEM * len(value))
        return list(value)

    def of_text(change: Callable[[str], str]) -> Callable[[object], str]:
        return lambda value: change(text(value))

    def trim(value: object, chars: str | None = None) -> str:
        return text(value).strip(chars)

    def replace(value: object, old: str, new: str, count: int | None = None) -> str:
        source = text(value)
        charge_replace(work(), source, old, new)
        return source.replace(old, new, -1 if count is None else count)

    def join(value: Any, d: str = "", attribute: str | int | None = None) -> str:
        parts = [text(_attribute(item, attribute)) for item in value]
        work().charge((UNITS_PER_ITEM + len(d)) * len(parts))
        return d.join(parts)

    def indent(value: object, width: int = 4, first: bool = False, blank: bool = False) -> str:
        source = text(value)
        if not 0 <= width <= MAX_INDENT:
            raise ValueError(f"indent is limited to {MAX_INDENT}")
        work().charge((source.count("\n") + 1) * width + len(source))
        return jinja.do_indent(source, width, first, blank)

    def tojson(
        value: object,
        ensure_ascii: bool = False,
        indent: int | None = None,
        sort_keys: bool = False,
    ) -> str:
        if indent is not None and not 0 <= indent <= MAX_INDENT:
            raise ValueError(f"indent is limited to {MAX_INDENT}")
        for _ in range(
            1 + (indent or 0)
        ):  # indentation multiplies the text at most this often per level
            work().deep(value)
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, sort_keys=sort_keys)

    def rounded(value: float, precision: int = 0, method: Any = "common") -> float:
        if not 0 <= precision <= MAX_DIGITS:  # Jinja raises ten to this power
            raise ValueError(f"round is limited to {MAX_DIGITS} digits")
        return jinja.do_round(value, precision, method)

    guarded: dict[str, Callable[..., Any]] = {
        "capitalize": of_text(str.capitalize),
        "indent": indent,
        "join": join,
        "list": as_list,
        "lower": of_text(str.lower),
        "replace": replace,
        "round": rounded,
        "string": text,
        "title": of_text(str.title),
        "tojson": tojson,
        "trim": trim,
        "upper": of_text(str.upper),
    }
    return {name: jinja.FILTERS[name] for name in _PLAIN} | guarded


def template_tests(charge: Callable[[Any], Any]) -> dict[str, Callable[..., Any]]:
    """The tests by name; `charge` is called with each operand of a comparison, before it."""

    def comparison(test: Callable[..., Any]) -> Callable[[Any, Any], Any]:
        def compare(left: Any, right: Any) -> Any:
            charge(left)
            charge(right)
            return test(left, right)

        return compare

    known: Mapping[str, Any] = TESTS
    kinds = {name: known[name] for name in _KINDS}
    return kinds | {name: comparison(known[name]) for name in _COMPARISONS}


def charge_replace(work: Work, source: str, old: str, new: str) -> None:
    """Charge what `source.replace(old, new)` can grow to."""
    hits = source.count(old)
    work.charge(len(source) + hits * len(new))


def charge_join(work: Work, separator: str, parts: object) -> None:
    """Charge what `separator.join(parts)` grows to; parts that are not text fail by themselves."""
    if isinstance(parts, Sized):
        work.charge(len(separator) * len(parts))
    work.deep(parts)


def _attribute(item: object, name: str | int | None) -> object:
    if name is None:
        return item
    return item.get(name, "") if isinstance(item, Mapping) else ""
