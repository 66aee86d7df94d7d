"""Runs the same tests on another build of the contract, when COCOON_TEST_CHANNEL_BOC names one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cocoon_sdk.ton.cells import cell_from_boc
from cocoon_sdk.ton.contract import channel


@pytest.fixture(autouse=True)
def _other_build(monkeypatch: pytest.MonkeyPatch) -> None:
    name = os.environ.get("COCOON_TEST_CHANNEL_BOC")
    if name:
        code = cell_from_boc(Path(name).read_bytes())
        monkeypatch.setattr(channel, "code_cell", lambda: code)
