"""The files in tests/vectors that are made here, as text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from . import (
    cases_bodies,
    cases_handshake,
    cases_handshake_refused,
    cases_records,
    cases_records_refused,
    cases_strict,
)
from .script import Case

Maker = Callable[[], Iterator[Case]]

FILES: dict[str, tuple[str, Maker]] = {
    "keys.json": ("The key schedule, value by value.", cases_handshake.keys),
    "handshake.json": ("Handshakes that succeed, from either side.", cases_handshake.cases),
    "handshake_refused.json": (
        "Handshakes that must be refused; one defect each.",
        cases_handshake_refused.cases,
    ),
    "records.json": ("Sessions after the handshake that go well.", cases_records.cases),
    "records_refused.json": (
        "Records that must end the session; one defect each.",
        cases_records_refused.cases,
    ),
    "strict.json": (
        "Strict padding as this SDK paces it; another sender may choose other numbers.",
        cases_strict.cases,
    ),
    "bodies.json": ("Frame bodies as bytes and as values.", cases_bodies.bodies),
    "padding.json": ("Bodies cut and padded into record plaintexts.", cases_bodies.paddings),
}


def render(name: str) -> str:
    """The text of one file, a case on each line; always the same."""
    about, make = FILES[name]
    head = json.dumps({"protocol": "cocoon-e2e/1", "format": 1, "about": about})
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in make())
    return f'{head[:-1]}, "cases": [\n{lines}\n]}}\n'
