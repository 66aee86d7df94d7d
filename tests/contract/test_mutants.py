"""Every `assert` of the source, taken out, must make another test of this folder fail."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import skip_or_fail

from .test_build import load_script

pytestmark = [pytest.mark.contract, pytest.mark.slow]

HERE = Path(__file__).parent
CAMPAIGN = bool(os.environ.get("COCOON_CAMPAIGN"))
SAMPLE = 3  # of the asserts, in an ordinary run
ASSERT = re.compile(r"^ +assert\(.*?\) throw \w+;", re.MULTILINE | re.DOTALL)
TESTS = ("test_refusals.py", "test_vouchers.py", "test_lifecycle.py")


def mutants() -> list[str]:
    """The source without one of its asserts, for each."""
    source = load_script().SOURCE.read_text("utf-8")
    return [source[: m.start()] + source[m.end() :] for m in ASSERT.finditer(source)]


def survives(boc: Path) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-n", "0"]
    return (
        subprocess.run(
            [*command, *(str(HERE / name) for name in TESTS)],
            env=os.environ | {"COCOON_TEST_CHANNEL_BOC": str(boc)},
            capture_output=True,
            check=False,
        ).returncode
        == 0
    )


@pytest.mark.timeout(3600 if CAMPAIGN else 300)
def test_every_assert_is_needed(tmp_path: Path) -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        skip_or_fail("node", "node and npm are not installed")
    sources = dict(enumerate(mutants()))
    assert len(sources) > 30
    chosen = (
        sorted(sources)
        if CAMPAIGN
        else sorted(random.Random(0).sample(range(len(sources)), SAMPLE))
    )
    whole = load_script().SOURCE.read_text("utf-8")
    builds = load_script().compile_sources([whole, *(sources[index] for index in chosen)])
    boc = tmp_path / "channel.boc"
    boc.write_bytes(builds[0][0])
    assert survives(boc), "the tests must pass on the unchanged source"
    alive = []
    for index, (code, _) in zip(chosen, builds[1:], strict=True):
        boc.write_bytes(code)
        if survives(boc):
            alive.append(index)
    assert not alive, f"no test notices that these asserts are missing: {alive}"
