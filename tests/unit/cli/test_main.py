"""The `cocoon` command: its commands are named without being loaded, and loaded when they are asked for."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from cocoon_sdk import __version__

# The package has a function of the same name.
main = importlib.import_module("cocoon_sdk.cli.main")
RUN = (
    "import sys; from cocoon_sdk.cli.main import main; sys.argv = ['cocoon', *{arguments}]; main()"
)


def cocoon(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN.format(arguments=list(arguments))],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_overview_loads_no_command() -> None:
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print([m for m in sys.modules if m.startswith('cocoon_sdk.cli.')\n"
        "    or m.split('.')[0] in {'sqlalchemy', 'httpx', 'nacl', 'starlette', 'websockets'}],\n"
        "    file=sys.stderr))\n"
    ) + RUN.format(arguments=["--help"])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for name, line in main.COMMANDS.items():
        assert name in done.stdout
        assert line.split(":")[0][:40] in done.stdout
    loaded = set(eval(done.stderr.splitlines()[-1]))
    assert loaded <= {"cocoon_sdk.cli.main", "cocoon_sdk.cli.output"}


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_of_the_table_is_there_and_has_help(name: str) -> None:
    module = importlib.import_module(f"cocoon_sdk.cli.{name}")
    result = CliRunner().invoke(module.app, ["--help"])
    assert result.exit_code == 0, result.output


def test_unknown_commands_are_refused_by_name() -> None:
    done = cocoon("walet")
    assert done.returncode == 2
    assert "walet" in done.stderr
    assert "Traceback" not in done.stderr


def test_version() -> None:
    result = CliRunner().invoke(main.app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"cocoon {__version__}\n")


def test_errors_of_a_command_become_one_line_and_json() -> None:
    done = cocoon("registry", "show", "/nowhere", "--json")
    assert done.returncode == 1
    assert '"code": "config"' in done.stdout
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
