"""The committed code is what the committed source compiles to, and fits the executors in use."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from conftest import skip_or_fail

from cocoon_sdk.ton.cells import cell_from_boc
from cocoon_sdk.ton.contract.channel import CODE_HASH, code_cell

pytestmark = pytest.mark.contract

SCRIPT = Path(__file__).parents[2] / "scripts" / "build_contract.py"


def load_script() -> ModuleType:
    """scripts/ is not a package; load the builder from its file."""
    spec = importlib.util.spec_from_file_location("build_contract", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_hash_is_that_of_the_committed_code() -> None:
    assert code_cell().hash == CODE_HASH


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_fresh_build_is_identical() -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        skip_or_fail("node", "node and npm are not installed")
    builder = load_script()
    [(boc, code_hash)] = builder.compile_sources([builder.SOURCE.read_text("utf-8")])
    assert code_hash == CODE_HASH.hex()
    assert boc == builder.BOC.read_bytes()
    assert cell_from_boc(boc).hash == CODE_HASH
