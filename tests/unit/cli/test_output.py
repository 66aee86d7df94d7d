import json
import subprocess
import sys

import pytest
from rich.console import Console

from cocoon_sdk.cli import output
from cocoon_sdk.cli.output import (
    escape_controls,
    fail,
    print_json,
    print_table,
    run_app,
    tell,
)
from cocoon_sdk.errors import AttestationError, ConfigError
from cocoon_sdk.types.attestation import AttestationStep

LONG = "9d" * 48


def test_a_pipe_gets_every_cell_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Ids", ("id", "[note]"), [(LONG, "[red]as it is"), ("short", LONG)])
    out = capsys.readouterr().out
    assert out.count(LONG) == 2
    assert "[red]as it is" in out
    assert "[note]" in out


@pytest.mark.parametrize("columns", [("id", "note"), ("", "")])
def test_a_narrow_terminal_gets_lines_instead_of_broken_cells(
    columns: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def narrow(*, stderr: bool = False, width: int = 60) -> Console:
        return Console(stderr=stderr, width=width, force_terminal=True, color_system=None)

    monkeypatch.setattr(output, "Console", narrow)
    print_table("Ids", columns, [(LONG, "[red]as it is")])
    assert LONG in capsys.readouterr().out
    print_table("Ids", columns, [("short", "fits")])
    assert "│ short │ fits" in capsys.readouterr().out


def test_foreign_text_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert escape_controls("a\x1b[2J\u202eb\n\tc") == "a\\x1b[2J\\x202eb\n\tc"
    print_table("T", ("x",), [("\x1b[2J",)])
    assert "\x1b" not in capsys.readouterr().out


def test_an_error_is_one_line_and_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise ConfigError(f"no file {LONG}: \x1b[2J [bold]look[/]")

    with pytest.raises(SystemExit) as raised:
        run_app(broken, as_json=True)
    assert raised.value.code == 1
    out, err = capsys.readouterr()
    assert err == f"error: no file {LONG}: \\x1b[2J [bold]look[/]\n"
    assert json.loads(out)["error"]["code"] == "config"


def test_a_failed_attestation_shows_its_steps(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [
        AttestationStep(name="quote", ok=True, detail="fine"),
        AttestationStep(name="binding", ok=False, detail="\x1b[2J"),
    ]

    def broken() -> None:
        raise AttestationError("it fails", steps=steps)

    with pytest.raises(SystemExit):
        run_app(broken, as_json=True)
    out, err = capsys.readouterr()
    assert err == "passed  quote: fine\nFAILED  binding: \\x1b[2J\nerror: it fails\n"
    told = json.loads(out)["error"]
    assert told["code"] == "attestation"
    assert told["steps"][0] == {"name": "quote", "ok": True, "detail": "fine"}
    with pytest.raises(SystemExit):
        fail("plain", as_json=True)
    assert "steps" not in json.loads(capsys.readouterr().out)["error"]


def test_ctrl_c_has_its_own_status_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as raised:
        run_app(interrupted, as_json=False)
    assert raised.value.code == 130
    assert capsys.readouterr() == ("", "")


def test_people_are_told_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    tell(f"channel {LONG} is open [ok]")
    with pytest.raises(SystemExit):
        fail("nothing", as_json=False)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"channel {LONG} is open [ok]\nerror: nothing\n"


def test_json_cannot_drive_the_terminal_either(capsys: pytest.CaptureFixture[str]) -> None:
    foreign = "\x1b[31m \x9b31m \x7f \u202eabc \U000e0041 Grüße 🦀"
    print_json({"text": foreign})
    printed = capsys.readouterr().out
    assert printed.rstrip("\n").isprintable()
    assert "Grüße 🦀" in printed
    assert json.loads(printed) == {"text": foreign}


def test_a_cell_cannot_pass_for_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("", ["name", "region"], [("a", "eu\nb\tgood")])
    printed = capsys.readouterr().out
    assert "eu\\nb\\tgood" in printed


def test_a_missing_package_is_answered_with_its_extra(capsys: pytest.CaptureFixture[str]) -> None:
    def app() -> None:
        raise ModuleNotFoundError("No module named 'gguf'", name="gguf")

    with pytest.raises(SystemExit):
        run_app(app, as_json=False)
    assert "pip install 'cocoon-sdk[provider]'" in capsys.readouterr().err

    def broken() -> None:
        raise ModuleNotFoundError("No module named 'ours'", name="ours")

    with pytest.raises(ModuleNotFoundError):
        run_app(broken, as_json=False)


CLOSED = """
import sys
from cocoon_sdk.cli.output import print_json, run_app, tell
def command():
    assert sys.stdin.readline() == ""
    print_json({})
    tell("told")
run_app(command, as_json=False)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="closes streams with a shell")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_as_the_null_device(closed: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, CLOSED],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ("" if "2>" in closed else "told\n")
