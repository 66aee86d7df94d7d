"""Which constructs a chat template may use, and that its loops and macros report each turn."""

from __future__ import annotations

import jinja2
import pytest
from jinja2.ext import do, loopcontrols

from cocoon_sdk.errors import VerificationError
from cocoon_sdk.tokens.rewrite import bounded
from cocoon_sdk.tokens.sandbox import BoundedEnvironment
from cocoon_sdk.tokens.work import Work

PLAIN = jinja2.Environment(extensions=[loopcontrols, do])


class Turns(Work):
    """Counts turns and the literal text that they may emit."""

    def __init__(self) -> None:
        super().__init__(0)
        self.turns = 0
        self.made = 0

    def tick(self) -> None:
        self.turns += 1

    def charge(self, units: int) -> None:
        self.made += units


def turns(source: str) -> Turns:
    environment = BoundedEnvironment()
    template = environment.from_string(source)
    work = Turns()
    with environment.spending(work):
        template.render()
    return work


@pytest.mark.parametrize(
    ("source", "construct"),
    [
        ("{% include 'x' %}", "Include"),
        ("{% import 'x' as y %}", "Import"),
        ("{% from 'x' import y %}", "FromImport"),
        ("{% extends 'x' %}", "Extends"),
        ("{% block b %}{% endblock %}", "Block"),
        ("{% filter upper %}x{% endfilter %}", "FilterBlock"),
        ("{% call f() %}{% endcall %}", "CallBlock"),
        ("{% autoescape true %}x{% endautoescape %}", "Scope"),
        ("{% if true %}{% for a in [] %}{% include 'x' %}{% endfor %}{% endif %}", "Include"),
    ],
)
def test_refused_constructs_are_named(source: str, construct: str) -> None:
    with pytest.raises(VerificationError, match=construct):
        bounded(PLAIN.parse(source))


def test_a_filtered_block_is_refused() -> None:
    with pytest.raises(VerificationError, match="filters a block"):
        bounded(PLAIN.parse("{% set x | upper %}y{% endset %}"))


@pytest.mark.parametrize(
    "source",
    [
        "{% set x = 1 %}{% set y %}z{% endset %}{% with a = 2 %}{{ a }}{% endwith %}",
        "{% for a in [1] %}{% if a %}{% continue %}{% else %}{% break %}{% endif %}{% endfor %}",
        "{% macro f(a) %}{{ a }}{% endmacro %}{% do f(1) %}",
        "{% raw %}{% include 'x' %}{% endraw %}",
    ],
)
def test_what_chat_templates_need_is_allowed(source: str) -> None:
    assert bounded(PLAIN.parse(source)) is not None


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("x", 0),
        ("{% for a in [1, 2, 3] %}{% endfor %}", 3),
        ("{% for a in [1, 2] %}{% for b in [1, 2] %}{% endfor %}{% endfor %}", 2 + 4),
        ("{% for a in [1, 2, 3] if a > 5 %}{% endfor %}", 3),  # turns that never reach the body
        ("{% for a in [1, 2, 3] %}{% continue %}{% endfor %}", 3),
        ("{% macro f(n) %}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(4) }}", 5),
        ("{% for a in [[[]]] recursive %}{{ loop(a) }}{% endfor %}", 2),
    ],
)
def test_every_turn_is_reported(source: str, count: int) -> None:
    assert turns(source).turns == count


def test_literal_text_is_paid_once_a_turn() -> None:
    def paid(text: str) -> int:
        return turns(
            "{% for a in [1, 2, 3, 4] %}{% if a %}" + text + "{% endif %}{% endfor %}"
        ).made

    assert paid("y" * 100) - paid("") == 400


def test_targets_of_an_assignment_are_left_alone() -> None:
    environment = BoundedEnvironment()
    template = environment.from_string(
        "{% set a, b = 1, 2 %}{% for c, d in {3: 4} | items %}{{ [a, b, c, d] }}{% endfor %}"
    )
    with environment.spending(Work(0)):
        assert template.render() == "[1, 2, 3, 4]"
