"""An unexpected failure is named by type and place, never by its text."""

from __future__ import annotations

from cocoon_provider.failures import describe


def fail(depth: int) -> None:
    if depth:
        fail(depth - 1)
    raise ValueError("SECRET-CANARY")


def test_the_innermost_places_come_first_and_no_text() -> None:
    try:
        fail(6)
    except ValueError as error:
        said = describe(error)
    assert said.startswith("ValueError at test_failures.py:")
    assert said.count("test_failures.py:") == 4
    assert "CANARY" not in said
    assert "/" not in said  # no folders either


def test_an_error_that_was_never_raised_has_no_place() -> None:
    assert describe(KeyError("SECRET-CANARY")) == "KeyError at unknown"
