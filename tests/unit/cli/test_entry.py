from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("package", "extra"), [("cocoon_sdk", "[cli]"), ("cocoon_provider", "[provider]")]
)
def test_a_base_install_says_which_extra_the_command_needs(package: str, extra: str) -> None:
    program = f"import sys; sys.modules['typer'] = None; from {package}.cli import entry; sys.argv[1:] = []; entry()"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert f"pip install 'cocoon-sdk{extra}'" in done.stderr
    assert "Traceback" not in done.stderr
