"""Signatures of many entries: the same verdicts in one process and in several."""

from __future__ import annotations

import io
import os
import runpy
import subprocess
import sys
from types import SimpleNamespace

import msgspec
import pytest
from registry_world import NOW, descriptor_of, make_keys

from cocoon_sdk.operator import verifying
from cocoon_sdk.operator.verifying import faults, judge
from cocoon_sdk.registry.descriptor import sign_descriptor
from cocoon_sdk.registry.model import Entry

KEYS = make_keys("many", 9)
GOOD = [sign_descriptor(key, descriptor_of(key)) for key in KEYS]
BAD = Entry(d=GOOD[0].d.replace("provider.example", "thief.example"), s=GOOD[0].s)
ENTRIES = [*GOOD[1:5], BAD, *GOOD[5:], Entry(d="{", s="")]


def expected(found: list[str | None]) -> bool:
    wrong = {number for number, fault in enumerate(found) if fault is not None}
    return len(found) == len(ENTRIES) and wrong == {4, 9} and "not signed" in (found[4] or "")


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "WORTHWHILE", 4)
    monkeypatch.setattr(verifying, "_cores", lambda: 3)


def test_in_this_process() -> None:
    assert expected(faults(ENTRIES))
    assert faults([]) == []


@pytest.mark.usefixtures("several")
def test_in_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    run = subprocess.run

    def count(*arguments: object, **options: object) -> object:
        started.append(arguments)
        return run(*arguments, **options)  # type: ignore[call-overload] # handed on

    monkeypatch.setattr(subprocess, "run", count)
    assert expected(faults(ENTRIES))
    assert len(started) == 3


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("answer", [b"", b"[null]", b"{}"])
def test_a_process_that_fails_costs_time_only(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        subprocess, "run", lambda *_arguments, **_options: SimpleNamespace(stdout=answer)
    )
    assert expected(faults(ENTRIES))


def test_the_module_is_the_program_of_those_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    raw = io.BytesIO(msgspec.json.encode(ENTRIES))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=raw))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
    monkeypatch.delitem(sys.modules, verifying.MODULE)
    runpy.run_module(verifying.MODULE, run_name="__main__")
    assert expected(msgspec.json.decode(out.getvalue()))


def test_the_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {1, 5}, raising=False)
    assert verifying._cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert verifying._cores() == 1


def test_a_signature_that_was_checked_is_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {key.public_key.hex(): entry for key, entry in zip(KEYS, GOOD, strict=True)}
    changed = KEYS[2].public_key.hex()
    asked: list[int] = []

    def note(fresh: list[Entry]) -> list[str | None]:
        asked.append(len(fresh))
        return [None] * len(fresh)

    monkeypatch.setattr(verifying, "faults", note)
    known = entries | {changed: GOOD[0]}
    revoked = KEYS[1].public_key.hex()
    judged = judge(
        entries,
        network="devnet/test",
        now=NOW,
        min_seq={changed: 9},
        revoked={revoked},
        known=known,
    )
    assert asked == [1]
    problems = {provider: one.problem for provider, one in judged.items() if one.problem}
    assert "below 9" in problems.pop(changed)
    assert "revoked" in problems.pop(revoked)
    assert problems == {}
