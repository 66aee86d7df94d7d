"""The command line: what each command prints, what its options override, how mistakes end."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from cocoon_provider.backends.echo import EchoBackend
from cocoon_provider.book import MIGRATIONS
from cocoon_provider.cli import main as cli
from cocoon_provider.config import Config
from cocoon_provider.enrolment import register
from cocoon_provider.operations.home import Home
from cocoon_provider.operations.register import describe, write_entry
from cocoon_provider.tables import channels, receipts
from cocoon_sdk import __version__
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.registry.descriptor import decode_entry, read_descriptor
from cocoon_sdk.store.database import Database
from cocoon_sdk.ton.address import Address
from tests.unit.provider.books import FACTS, KEY


@pytest.fixture(autouse=True)
def _quiet_loggers() -> Iterator[None]:
    names = ("websockets", "alembic", "httpx", "httpcore")
    levels = [logging.getLogger(name).level for name in names]
    yield
    for name, level in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "p"
    done = run("init", "--home", str(folder), "--network", "devnet/demo", "--model", "echo",
               "--chain", "http://127.0.0.1:9", "--backend", "echo", "--json")  # fmt: skip
    assert done.exit_code == 0, done.output
    return folder


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, list(arguments))


def served(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[Home, Config]:
    """What `serve` would start with."""
    got: list[Any] = []

    async def serve(home: Home, config: Config, announce: object) -> None:
        assert announce is cli.print_json
        got.append((home, config))

    monkeypatch.setattr("cocoon_provider.operations.serve.serve", serve)
    done = run("serve", *arguments)
    assert done.exit_code == 0, done.output
    return got[0]


# --- init and register


def test_init_tells_people_what_comes_next(tmp_path: Path) -> None:
    done = run("init", "--home", str(tmp_path / "p"), "--network", "devnet/demo")
    assert done.exit_code == 0
    home = Home.at(tmp_path / "p")
    assert home.identity().public_key.hex() in done.output
    assert "Next:" in done.output
    config = home.config()
    assert list(config.models) == ["smollm2-135m-instruct"]
    assert (config.backend, config.endpoint) == ("onnx", "")


def test_init_for_programs_is_one_line(tmp_path: Path) -> None:
    done = run("init", "--home", str(tmp_path / "p"), "--network", "-3/test", "--json",
               "--price-prompt", "0.5", "--price-cached", "0.1", "--price-completion", "2",
               "--endpoint", "wss://gpu.example", "--chain", "http://127.0.0.1:1",
               "--chain", "http://127.0.0.1:2")  # fmt: skip
    facts = json.loads(done.stdout)
    home = Home.at(tmp_path / "p")
    assert facts["id"] == home.identity().public_key.hex()
    assert facts["folder"] == str(tmp_path / "p")
    assert facts["wallet"] == home.books(home.config()).wallet.address.raw
    config = home.config()
    [price] = config.prices().values()
    assert tuple(price) == (500_000_000, 100_000_000, 2_000_000_000)
    assert (config.network, config.endpoint) == (-3, "wss://gpu.example")
    assert config.chain.urls == ["http://127.0.0.1:1", "http://127.0.0.1:2"]


def test_register_writes_where_it_is_told_and_says_where(home: Path, tmp_path: Path) -> None:
    config = home / "config.toml"
    config.write_text(config.read_text().replace('endpoint = ""', 'endpoint = "wss://p.example"'))
    for options, path in (
        ([], home / "entry.json"),
        (["--output", str(tmp_path / "x.json")], tmp_path / "x.json"),
    ):
        done = run("register", "--home", str(home), *options)
        assert done.stdout == f"{path}\n"
        assert read_descriptor(decode_entry(path.read_bytes())).endpoints == ["wss://p.example"]


# --- serve


def test_serve_takes_the_file_unless_the_command_line_says_otherwise(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, config = served(monkeypatch, "--home", str(home))
    assert place == Home.at(home)
    assert config == place.config()
    _, config = served(
        monkeypatch, "--home", str(home), "--port", "0", "--chain", "http://127.0.0.1:1",
        "--chain", "http://127.0.0.1:2", "--network", "-3/other", "--backend", "onnx",
    )  # fmt: skip
    assert config.listen.port == 0
    assert config.listen.host == place.config().listen.host
    assert config.chain.urls == ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    assert (config.network, config.backend) == (-3, "onnx")
    assert config.models == place.config().models


def test_a_configuration_elsewhere_brings_its_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, _ = served(monkeypatch, "--config", str(home / "config.toml"))
    assert place.folder == home


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [("--backend", "magic", "backend"), ("--network", "nowhere", "chain.network")],
)
def test_a_wrong_override_is_refused_and_named(
    home: Path, option: str, value: str, named: str
) -> None:
    done = run("serve", "--home", str(home), option, value)
    assert isinstance(done.exception, ConfigError)
    assert named in str(done.exception)
    assert "the command line" in str(done.exception)


def test_a_port_out_of_range_is_a_usage_error(home: Path) -> None:
    assert run("serve", "--home", str(home), "--port", "65536").exit_code == 2


def test_a_second_signal_ends_without_a_traceback(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def serve(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr("cocoon_provider.operations.serve.serve", serve)
    monkeypatch.setattr(sys, "argv", ["cocoon-provider", "serve", "--home", str(home)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert "Traceback" not in capsys.readouterr().err


def test_libraries_that_name_addresses_stay_quiet_even_when_verbose(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served(monkeypatch, "--home", str(home), "--verbose")
    for name in ("websockets.server", "httpx", "httpcore.connection", "alembic.runtime"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)


# --- pull


def test_pull_shows_each_stage_and_where_the_model_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def ensure(name: str, *, progress: Any) -> SimpleNamespace:
        asked.append(name)
        for stage, done, total in (("fetch", 1, 0), ("fetch", 5, 9), ("convert", 2, 2)):
            progress(stage, done, total)
        return SimpleNamespace(path=tmp_path / "[red]model")

    monkeypatch.setattr("cocoon_provider.models.store.ensure_model", ensure)
    done = run("pull", "some.gguf")
    assert (done.exit_code, asked) == (0, ["some.gguf"])
    assert "[red]model" in done.stderr.replace("\n", "")  # a path is no markup
    assert done.stdout == ""


# --- earnings and redeem


def test_earnings_add_up_for_people_and_programs(home: Path) -> None:
    def fill(connection: Any) -> None:
        register(connection, FACTS)
        connection.execute(channels.update().values(spent=1_500_000_000))
        connection.execute(
            receipts.insert().values(
                address=KEY.address, epoch=KEY.epoch, seq=1, request_id=b"r" * 16,
                request_hash=b"q" * 32, model_hash=b"\xab" * 32, prompt=70, completion=30,
                price=1_500_000_000, at=5, raw=b"raw",
            )
        )  # fmt: skip

    place = Home.at(home)
    with Database(place.database_url(place.config()), migrations=MIGRATIONS) as database:
        database.run_sync(fill)
    found = json.loads(run("earnings", "--home", str(home), "--json").stdout)
    assert (found["earned_nano"], found["unredeemed_nano"]) == (1_500_000_000, 1_500_000_000)
    assert found["models"][0]["model"] == "ab" * 32
    table = run("earnings", "--home", str(home)).stdout
    lines = {line.split("│")[1].strip(): line for line in table.splitlines() if "│" in line}
    assert "1.5" in lines["earned"]
    assert "ab" * 8 in lines
    assert {"70", "30", "1.5"} <= {cell.strip() for cell in lines["ab" * 8].split("│")}
    assert "lost" in lines
    assert {"prompt tokens", "completion tokens"} <= set(re.split(r"\s*┃\s*", table))


def test_earnings_name_the_models_of_the_entry(home: Path) -> None:
    place = Home.at(home)
    config = place.config()
    backend = EchoBackend(tuple(config.models))
    (info,) = backend.models.values()
    identity = place.identity()
    descriptor = describe(
        config,
        identity=identity,
        payout=Address(0, b"p" * 32),
        endpoint="wss://p.example",
        models=[info],
        now=5,
    )
    write_entry(place.entry_path, identity, descriptor)
    sold = receipts.insert().values(
        address=KEY.address, epoch=KEY.epoch, seq=1, request_id=b"r" * 16, request_hash=b"q" * 32,
        model_hash=info.hash, prompt=70, completion=30, price=5, at=5, raw=b"raw",
    )  # fmt: skip
    with Database(place.database_url(config), migrations=MIGRATIONS) as database:
        database.run_sync(lambda c: (register(c, FACTS), c.execute(sold)))
    found = json.loads(run("earnings", "--home", str(home), "--json").stdout)
    assert (found["models"][0]["name"], found["models"][0]["model"]) == (info.id, info.hash.hex())
    assert f"│ {info.id} " in run("earnings", "--home", str(home)).stdout


def test_version_and_help() -> None:
    assert run("--version").stdout == f"cocoon-provider {__version__}\n"
    assert "paid by the token" in run("--help").stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [([], "redeemed 0.25 coins\n"), (["--json"], '{"redeemed_nano": 250000000}\n')],
)
def test_redeem_says_what_came_in(
    home: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], said: str
) -> None:
    async def redeem(place: Home, config: Config) -> int:
        assert (place.folder, config.chain.urls) == (home, ["http://127.0.0.1:5"])
        return 250_000_000

    monkeypatch.setattr("cocoon_provider.operations.redeem.redeem_now", redeem)
    done = run("redeem", "--home", str(home), "--chain", "http://127.0.0.1:5", *options)
    assert done.stdout == said


# --- mistakes


@pytest.mark.parametrize("as_json", [True, False])
def test_mistakes_are_a_line_for_people_and_json_for_programs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    as_json: bool,
) -> None:
    argv = ["cocoon-provider", "earnings", "--home", str(tmp_path / "none")]
    monkeypatch.setattr(sys, "argv", argv + ["--json"] * as_json)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    assert "cocoon-provider init" in err.replace("\n", " ")
    if as_json:
        assert json.loads(out)["error"]["code"] == "config"
    else:
        assert out == ""


def test_without_a_command_the_help_is_shown() -> None:
    done = run()
    assert "Sell tokens" in done.output
    for command in ("init", "pull", "serve", "register", "earnings", "redeem"):
        assert command in done.output
