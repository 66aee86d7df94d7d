"""Checks taken out of protocol/ and registry/ one at a time must make a test fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from campaign.mutate import GROUPS, HARMLESS, harmless, mutants_of
from campaign.mutations import find, mutate

ROOT = Path(__file__).parent.parent.parent
SAMPLE = "3"  # of the checks of each package; `make campaign` runs all

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not hasattr(os, "fork"), reason="mutants run in forked processes")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("group", GROUPS)
def test_a_few_missing_checks_are_noticed(group: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "campaign.mutate", group, "--sample", SAMPLE]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_excuses_are_of_mutants_that_exist() -> None:
    names = {mutant.name for group in GROUPS.values() for mutant in mutants_of(ROOT, group)}
    gone = [name for name in harmless() if name not in names]
    assert not gone, f"remove or rewrite these entries of {HARMLESS.name}: {gone}"


SOURCE = """
def f(a: int, b: int = 3) -> int:
    '''Text.'''
    if a < 0 and not b:
        raise ValueError(f"{a} of 7")
    g(a)
    return [x for x in range(a) if x != 1][b"k" and 2]
"""


def test_what_is_mutated() -> None:
    found = find("m.py", SOURCE)
    assert [mutant.operator for mutant in found if mutant.is_check] == [
        "ignore-part", "ignore-part", "raise", "no-call", "no-filter", "ignore-part", "ignore-part",
    ]  # fmt: skip
    assert len({mutant.name for mutant in found}) == len(found)
    import ast

    texts = {ast.unparse(mutate(mutant, SOURCE)) for mutant in found}
    assert len(texts) == len(found)
    assert ast.unparse(ast.parse(SOURCE)) not in texts
    assert any("if True and (not b)" in text for text in texts)
    assert any("if a <= 0" in text for text in texts)
