"""Shared fixtures: every test runs in a state folder of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from model_fixtures import model_cache, smollm2, smollm2_gguf, tiny_model
from postgres_fixtures import _postgres_server, postgres, postgres_url

__all__ = [
    "_postgres_server",
    "model_cache",
    "postgres",
    "postgres_url",
    "smollm2",
    "smollm2_gguf",
    "tiny_model",
]

REQUIRED = set(filter(None, os.environ.get("COCOON_REQUIRE", "").split(",")))


def skip_or_fail(tool: str, reason: str) -> None:
    """Skip a test whose optional tool is missing; where the tool is required, fail instead."""
    if tool in REQUIRED:
        pytest.fail(f"{tool} is required here (COCOON_REQUIRE) but missing: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COCOON_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session")
def outside_data() -> Path:
    """The folder of genuine outside data that `COCOON_TEST_DATA` names."""
    folder = os.environ.get("COCOON_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        skip_or_fail("data", "COCOON_TEST_DATA names no folder")
    return Path(folder)
