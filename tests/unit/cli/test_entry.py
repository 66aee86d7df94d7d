from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["cocoon_sdk", "cocoon_provider"])
def test_ctrl_c_while_it_still_imports_is_quiet(package: str) -> None:
    program = (
        "import sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        f"from {package}.cli import entry\n"
        "entry()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


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
