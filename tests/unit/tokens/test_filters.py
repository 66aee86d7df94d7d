"""The filters and tests of chat templates: they do what Jinja's do, are paid for, and there are no others."""

from __future__ import annotations

import jinja2
import pytest

from cocoon_sdk.errors import VerificationError
from cocoon_sdk.tokens.filters import template_filters, template_tests
from cocoon_sdk.tokens.sandbox import BoundedEnvironment
from cocoon_sdk.tokens.work import BASE_UNITS, UNITS_PER_ITEM, Work

CHAT = [{"role": "user", "content": " b\nB "}, {"role": "assistant", "content": "a"}]


class Purse(Work):
    """An account that tells what was spent."""

    @property
    def spent(self) -> int:
        return BASE_UNITS - self._left


def render(source: str, work: Work | None = None) -> str:
    environment = BoundedEnvironment()
    template = environment.from_string(source)
    with environment.spending(work or Work(0)):
        return template.render(chat=CHAT, text=" a-b a ", number=2.345)


@pytest.mark.parametrize(
    "expression",
    [
        "text | trim",
        "text | trim(' a')",
        "missing | trim",
        "number | trim",
        "text | replace('a', 'xy')",
        "text | replace('a', 'xy', 1)",
        "text | upper | lower | title | capitalize",
        "chat | map(attribute='role') | join(', ')",
        "chat | join('+', attribute='role')",
        "chat | join('+', 'missing')",
        "[1, 2.5, true] | join",
        "chat[0].content | indent",
        "chat[0].content | indent(2, true)",
        "text | list | length",
        "{'a': 1} | items | list",
        "number | round",
        "number | round(2)",
        "number | round(1, 'ceil')",
        "number | round(1, method='floor')",
        "number | string",
        "chat | selectattr('role', 'eq', 'user') | list | length",
        "chat | rejectattr('role', 'in', ['user']) | list | length",
        "[0, 1, none] | select | list",
        "['x', '1'] | map('int') | list",
        "[1, 2] | reject('even') | list",
        "[1, 2, 3] | select('gt', 1) | list",
        "missing | default('d')",
        "chat | first | length",
        "chat | last | count",
        "-3 | abs",
        "'1.5' | float + '7' | int",
        "missing is defined or chat is undefined",
        "chat is iterable and chat is not string and chat[0] is mapping",
        "3 is divisibleby(3) and 3 is odd",
        "[1, [2]] is eq([1, [2]])",
        "2 is in([1, 2]) and 2 is ge 2 and 1 is lt 2",
    ],
)
def test_like_jinja(expression: str) -> None:
    source = f"{{{{ {expression} }}}}"
    theirs = jinja2.Environment().from_string(source)
    assert render(source) == theirs.render(chat=CHAT, text=" a-b a ", number=2.345)


def test_json_is_for_models_not_for_web_pages() -> None:
    source = "{{ {'b': '<ü>', 'a': [1, none]} | tojson%s }}"
    assert render(source % "") == '{"b": "<ü>", "a": [1, null]}'
    assert render(source % "(ensure_ascii=true, sort_keys=true)") == (
        '{"a": [1, null], "b": "<\\u00fc>"}'
    )
    assert render("{{ [1] | tojson(indent=2) }}") == "[\n  1\n]"


@pytest.mark.parametrize(
    "expression",
    [
        "text | indent(17)",
        "text | indent(-1)",
        "[1] | tojson(indent=17)",
        "[1] | tojson(indent=-1)",
        "number | round(17)",
        "number | round(-1)",
        "1 | round(30000000, 'ceil')",
        "[1] | map('round', 30000000, 'floor') | list",
    ],
)
def test_widths_and_digits_are_limited(expression: str) -> None:
    with pytest.raises(ValueError, match="limited to 16"):
        render(f"{{{{ {expression} }}}}")


@pytest.mark.parametrize(
    "source",
    [
        *("{{ 'x' | center(9) }}", "{{ 'x' | xmlattr }}", "{{ 'x' | sort }}", "{{ 'x' | unique }}"),
        *(
            "{{ 'x' is lower }}",
            "{{ 'x' is upper }}",
            "{{ 'x' is escaped }}",
            "{{ 'x' is filter }}",
        ),
    ],
)
def test_there_are_no_others(source: str) -> None:
    with pytest.raises(jinja2.TemplateAssertionError):
        render(source)


def test_tests_named_at_run_time_are_the_same_ones() -> None:
    with pytest.raises(jinja2.TemplateRuntimeError, match="lower"):
        render("{{ ['x'] | select('lower') | list }}")


def spent(expression: str) -> int:
    purse = Purse(0)
    render(f"{{{{ {expression} }}}}", purse)
    return purse.spent


@pytest.mark.parametrize(
    ("small", "large", "least"),
    [
        ("'x' | replace('x', 'y')", f"'x' | replace('x', '{'y' * 1000}')", 999),
        ("['a', 'b'] | join('')", f"['a', 'b'] | join('{'y' * 1000}')", 2000),
        ("'x' | indent(1)", "'" + "\\n" * 1000 + "' | indent(1)", 2000),
        ("[1] | list", f"{[1] * 1000} | list", 999 * UNITS_PER_ITEM),
        ("[1] | string", f"{[1] * 1000} | string", 999 * UNITS_PER_ITEM),
        ("[1] | tojson", f"{[1] * 1000} | tojson", 999 * UNITS_PER_ITEM),
        ("[1] | tojson(indent=0)", "[1] | tojson(indent=9)", 9 * 2 * UNITS_PER_ITEM),
        ("[1] is eq([1])", f"[1] is eq({[2] * 1000})", 999 * UNITS_PER_ITEM),
        ("[1] is eq([1])", f"{[2] * 1000} is eq([1])", 999 * UNITS_PER_ITEM),
    ],
)
def test_what_grows_is_paid_for(small: str, large: str, least: int) -> None:
    assert spent(large) - spent(small) >= least


def test_nothing_runs_without_an_account() -> None:
    environment = BoundedEnvironment()
    template = environment.from_string("{{ 'x' | upper }}")
    with pytest.raises(VerificationError, match="outside of its bounds"):
        template.render()
    with pytest.raises(VerificationError):
        template_filters(environment._account)["trim"]("x")
    assert template_tests(environment.compared)["none"](None)
