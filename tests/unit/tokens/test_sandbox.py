"""What a chat template reaches, and that comparing and hashing are paid for before they happen."""

from __future__ import annotations

from typing import Any

import pytest
from jinja2.exceptions import SecurityError, UndefinedError

from cocoon_sdk.errors import VerificationError
from cocoon_sdk.tokens import work
from cocoon_sdk.tokens.sandbox import BoundedEnvironment
from cocoon_sdk.tokens.work import Work

# Each line doubles what comparing or hashing must visit, without making anything long.
LISTS = "{% set x = ['y'] %}{% set y = ['y'] %}" + "{% set x = [x, x] %}{% set y = [y, y] %}" * 60
TUPLES = "{% set x = ('y',) %}" + "{% set x = (x, x) %}" * 60
EXPLOSIVE = {
    "operator": LISTS + "{{ x == y }}",
    "chained operators": LISTS + "{{ 1 < 2 != x == y }}",
    "membership": LISTS + "{{ x in [y] }}",
    "test": LISTS + "{{ x is eq y }}",
    "test of each": LISTS + "{{ [x] | select('equalto', y) | list }}",
    "test of an attribute": LISTS + "{{ [{'a': x}] | selectattr('a', 'in', [y]) | list }}",
    "count": LISTS + "{{ [x].count(y) }}",
    "index": LISTS + "{{ [x].index(y) }}",
    "change": LISTS + "{% for i in [x, y] %}{{ loop.changed(i) }}{% endfor %}",
    "key": TUPLES + "{{ {x: 1} | length }}",
    "subscript": TUPLES + "{{ {}[x] }}",
    "get": TUPLES + "{{ {}.get(x) }}",
    "dict": TUPLES + "{{ dict([[x, 1]]) | length }}",
    "namespace": TUPLES + "{{ namespace([[x, 1]]) }}",
}


def render(source: str, **variables: Any) -> str:
    environment = BoundedEnvironment()
    template = environment.from_string(source)
    with environment.spending(Work(0)):
        return template.render(**variables)


@pytest.mark.parametrize("source", EXPLOSIVE.values(), ids=EXPLOSIVE.keys())
@pytest.mark.timeout(20)
def test_shared_values_do_not_explode(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "BASE_UNITS", 1 << 17)
    with pytest.raises(VerificationError, match="limit of work"):
        render(source)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ {('a', 1): 'x'}[('a', 1)] }}", "x"),
        ("{{ m[k] }}{{ m.get('n', 'd') }}{{ m['missing'] is defined }}", "vdFalse"),
        ("{{ [1, 2, 1].count(1) }}{{ (1, 2).index(2) }}", "21"),
        ("{% for i in [1, 1, 2] %}{{ loop.changed(i) }} {% endfor %}", "True False True "),
        ("{% set n = namespace(dict(a=1), b=2) %}{% set n.c = 3 %}{{ n.a + n.b + n.c }}", "6"),
        ("{{ 'a' ~ 1 ~ none ~ missing }}", "a1None"),
        ("{{ [1, 2][::-1] }}{{ 'abc'[1:] }}", "[2, 1]bc"),
        (
            "{{ 7 // 2 }} {{ 7 % 4 }} {{ 'ab' * 2 }} {{ 2 * [0] }} {{ -1 * 'x' }}",
            "3 3 abab [0, 0] ",
        ),
        (
            "{{ 'a-b'.split('-') }}{{ '-'.join(['a', 'b']) }}{{ 'aa'.replace('a', 'b') }}",
            "['a', 'b']a-bbb",
        ),
        ("{{ range(3) | list }}{{ range(5, 1, -2) | list }}", "[0, 1, 2][5, 3]"),
    ],
)
def test_plain_work_is_done(source: str, text: str) -> None:
    assert render(source, m={"k": "v"}, k="k") == text


@pytest.mark.parametrize(
    "source",
    [
        *("{{ ''.__class__.mro() }}", "{{ ''['__class__'].mro() }}", "{{ ''.encode() }}"),
        *(
            "{{ [].append(1) }}",
            "{{ {}.update({}) }}",
            "{{ {}.pop('a') }}",
            "{{ (1).to_bytes(9) }}",
        ),
        *(
            "{{ '%s'.format(1) }}",
            "{{ 'x'.zfill(9) }}",
            "{{ 'x'.ljust(9) }}",
            "{{ 'x'.expandtabs() }}",
        ),
        "{{ (1.5).hex() }}",
    ],
)
def test_only_listed_methods_of_plain_data(source: str) -> None:
    with pytest.raises((SecurityError, UndefinedError)):
        render(source)


@pytest.mark.parametrize("source", ["{{ lipsum() }}", "{{ cycler(1) }}", "{{ joiner() }}"])
def test_other_globals_are_missing(source: str) -> None:
    with pytest.raises(UndefinedError):
        render(source)


@pytest.mark.parametrize("source", ["{{ 2 ** 3 }}", "{{ '%s' % 1 }}"])
def test_operators_that_grow_without_bound(source: str) -> None:
    with pytest.raises(TypeError, match="may not use"):
        render(source)


@pytest.mark.parametrize("source", ["{{ range }}", "{{ namespace() }}", "{{ {}.get }}"])
def test_only_plain_data_is_shown(source: str) -> None:
    with pytest.raises(TypeError, match="may not show"):
        render(source)


def test_an_account_is_for_one_rendering() -> None:
    environment = BoundedEnvironment()
    template = environment.from_string("{{ 1 }}")
    with pytest.raises(ZeroDivisionError), environment.spending(Work(0)):
        raise ZeroDivisionError
    with pytest.raises(VerificationError, match="outside of its bounds"):
        template.render()
