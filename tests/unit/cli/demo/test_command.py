"""What the demo says to type next."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from cocoon_sdk.cli.demo import command


@pytest.mark.parametrize("by_make", [True, False])
def test_the_next_command_is_one_that_works_here(
    monkeypatch: pytest.MonkeyPatch, by_make: bool
) -> None:
    if by_make:
        monkeypatch.setenv("MAKELEVEL", "1")
        assert command._again() == "make demo ARGS=--keep"
        return
    monkeypatch.delenv("MAKELEVEL", raising=False)
    path, *rest = shlex.split(command._again())
    assert rest == ["demo", "--keep"]
    assert Path(path).is_file()
