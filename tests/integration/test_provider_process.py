"""`cocoon-provider serve` as a process: readiness, entry file, SIGTERM; and the commands beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from cocoon_sdk.registry.descriptor import decode_entry, read_descriptor

pytestmark = [pytest.mark.integration]

COMMAND = [sys.executable, "-m", "cocoon_provider.cli"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COCOON_HOME", str(tmp_path))
    done = run(
        "init", "--network", "devnet/test", "--chain", "http://127.0.0.1:9", "--model", "echo",
        "--backend", "echo", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["folder"] == str(tmp_path / "provider")
    return tmp_path / "provider"


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_says_when_it_is_ready_and_stops_on_a_signal(
    home: Path, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            assert ready["ready"] == "provider"
            entry = read_descriptor(decode_entry(Path(ready["descriptor"]).read_bytes()))
            assert (entry.id, entry.endpoints) == (ready["id"], [ready["url"]])
            assert entry.network == "devnet/test"
            health = httpx.get(ready["url"].replace("ws:", "http:") + "/healthz", trust_env=False)
            assert health.json() == {"status": "ok"}
            process.send_signal(number)
            rest, log = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0, log
    assert rest == ""  # the readiness line is the only one
    assert "Traceback" not in log


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_second_process_leaves_the_first_ones_streams_alone(home: Path) -> None:
    first = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with first:
        try:
            assert first.stdout is not None
            ready = json.loads(first.stdout.readline())
            second = run("serve", "--port", "0")
            assert (second.returncode, second.stdout) == (1, "")
            assert "another cocoon-provider serves from" in second.stderr
            health = httpx.get(ready["url"].replace("ws:", "http:") + "/healthz", trust_env=False)
            assert health.json() == {"status": "ok"}
            first.terminate()
            first.communicate(timeout=20)
        finally:
            first.kill()


def test_earnings_and_redeem_of_a_provider_that_earned_nothing(home: Path) -> None:
    done = run("earnings", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["earned_nano"] == 0
    assert "Earnings" in run("earnings").stdout
    assert json.loads(run("redeem", "--json").stdout) == {"redeemed_nano": 0}


def test_mistakes_are_one_line_without_a_traceback(home: Path) -> None:
    (home / "config.toml").write_text("models = 3")
    for command in (["serve"], ["earnings", "--json"], ["redeem"], ["init"]):
        done = run(*command)
        assert done.returncode == 1, command
        assert "error:" in done.stderr
        assert "Traceback" not in done.stderr
    assert json.loads(run("earnings", "--json").stdout)["error"]["code"] == "config"


def test_register_needs_a_public_endpoint(home: Path) -> None:
    assert "endpoint" in run("register").stderr
    config = home / "config.toml"
    config.write_text(config.read_text().replace('endpoint = ""', 'endpoint = "wss://p.example"'))
    done = run("register")
    assert done.returncode == 0, done.stderr
    entry = read_descriptor(decode_entry(Path(done.stdout.strip()).read_bytes()))
    assert entry.endpoints == ["wss://p.example"]
