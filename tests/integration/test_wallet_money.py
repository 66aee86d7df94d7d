"""`cocoon wallet` with a real provider: dry runs, closes at once, batches, sweeps, crashes, explanations."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from click.testing import Result
from typer.testing import CliRunner

from cocoon_sdk.cli.wallet import app
from cocoon_sdk.errors import ChainUnavailableError, ConfigError, PaymentError
from cocoon_sdk.keys import Ed25519Key, load_key
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import cell_from_boc
from cocoon_sdk.ton.chain import DEVNET_NETWORK
from cocoon_sdk.ton.message import normalised_hash
from cocoon_sdk.ton.mnemonic import key_of_mnemonic
from cocoon_sdk.ton.wallet import Wallet
from tests.live import COIN, Account, LiveSystem, live_system

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("wallet"),
    pytest.mark.timeout(240),
]

DAY = 86_400
# Runs one wallet command and ends it without warning before or after the chain has the message.
KILLED = """
import os, signal, sys
from cocoon_sdk.ton.toncenter import ToncenterClient
when, send = sys.argv.pop(1), ToncenterClient.send_boc
async def send_boc(self, boc):
    if when == "after":
        await send(self, boc)
    os.kill(os.getpid(), signal.SIGKILL)
ToncenterClient.send_boc = send_boc
from cocoon_sdk.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSystem]:
    """A devnet of its own, because its clock is moved."""
    with live_system(tmp_path_factory.mktemp("wallet")) as made:
        made.add_provider("echo")
        made.publish()
        yield made


@pytest.fixture
def account(system: LiveSystem) -> Account:
    return system.account()


def run(account: Account, *arguments: str) -> Result:
    """A wallet command in this process."""
    return CliRunner(env=account.env).invoke(app, arguments, catch_exceptions=False)


def told(account: Account, *arguments: str) -> dict[str, Any]:
    done = run(account, *arguments, "--json")
    assert done.exit_code == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def advance(system: LiveSystem, seconds: int) -> None:
    url = f"{system.chain_url}/devnet/clock"
    httpx.post(url, json={"advance": seconds}, trust_env=False).raise_for_status()


def ready(account: Account, coins: str = "2") -> str:
    """Funds the wallet and opens a channel with the only provider; its address."""
    told(account, "fund", coins)
    provider = account.system.providers["echo"].id
    opened = told(account, "open", provider, "--deposit", "0.3", "--yes")
    return str(opened["address"])


def test_a_close_at_once_pays_what_the_receipts_say_and_brings_the_rest_back(
    account: Account,
) -> None:
    address = ready(account)
    assert account.cocoon("chat", "Hello there", "--max-tokens", "40").returncode == 0
    before = told(account, "show")
    planned = told(account, "close", address, "--coop", "--dry-run")
    assert told(account, "show")["channels"][0]["status"] == "open"
    closed = told(account, "close", address, "--coop", "--yes")
    assert closed["status"] == "closed"
    after = told(account, "show")
    spent = before["channels"][0]["spent_nano"]
    assert spent > 0
    fees = before["balance_nano"] + before["locked_nano"] - spent - after["balance_nano"]
    assert 0 < fees <= planned["fees_about_nano"] * 1.2
    assert (after["locked_nano"], after["unfinished"]) == (0, [])
    story = told(account, "explain", address)
    assert story["status"] == "closed"
    assert "gone from the chain" in story["what"]


def test_where_the_provider_is_away_the_delay_starts(account: Account, system: LiveSystem) -> None:
    address = ready(account)
    assert account.cocoon("chat", "Hello", "--max-tokens", "20").returncode == 0
    provider = system.providers["echo"]
    provider.kill()
    try:
        done = run(account, "close", address, "--coop", "--yes", "--json")
    finally:
        provider.start()
        system.publish()
    assert done.exit_code == 0, done.stderr
    assert "no close at once" in done.stderr
    assert json.loads(done.stdout)["status"] == "closing"
    again = run(account, "close", address, "--coop", "--yes", "--json")  # it is back, and agrees
    assert json.loads(again.stdout)["status"] == "closed", again.stderr


def test_a_dry_run_of_everything_says_what_it_costs_and_sends_nothing(
    account: Account, system: LiveSystem
) -> None:
    channel, provider = ready(account), system.providers["echo"].id
    elsewhere = Address(0, bytes([0xAB]) * 32).raw
    for arguments in (
        ("open", provider, "--deposit", "0.2", "--another"),
        ("topup", channel, "0.1"),
        ("close", channel),
        ("cancel-close", channel),
        ("close", "--all"),
        ("finalize", channel),
        ("close", "--all", "--coop"),
        ("sweep", elsewhere),
    ):
        if arguments[0] == "finalize":
            advance(system, DAY + 1)
        before, files = told(account, "show"), sorted(account.home.iterdir())
        plan = told(account, *arguments, "--dry-run")
        assert (plan["dry_run"], plan["enough"]) == (True, True)
        people = run(account, *arguments, "--dry-run")
        assert "fees: about" in people.stderr
        assert "nothing was sent" in people.stderr
        assert told(account, "show") == before
        assert sorted(account.home.iterdir()) == files
        told(account, *arguments, "--yes")  # and what it really costs is what was said
        after = told(account, "show")
        fees = before["balance_nano"] - after["balance_nano"]
        fees += before["locked_nano"] - after["locked_nano"]
        if arguments[0] == "sweep":
            assert after["balance_nano"] == 0
            fees -= balance(system, elsewhere)
        assert 0.4 * plan["fees_about_nano"] < fees <= 1.1 * plan["fees_about_nano"], arguments
        assert plan["fees_about_nano"] <= plan["needed_nano"]


def balance(system: LiveSystem, address: str) -> int:
    answer = httpx.get(
        f"{system.chain_url}/api/v2/getAddressInformation",
        params={"address": address},
        trust_env=False,
    ).json()
    return int(answer["result"]["balance"])


def test_all_channels_in_one_transaction(account: Account, system: LiveSystem) -> None:
    ready(account)
    provider = system.providers["echo"].id
    told(account, "open", provider, "--deposit", "0.2", "--another", "--yes")
    before = status(system)
    closing = told(account, "close", "--all", "--yes")["channels"]
    assert [one["status"] for one in closing] == ["closing", "closing"]
    assert told(account, "finalize", "--all", "--yes") == {"channels": []}
    with pytest.raises(PaymentError, match="runs for"):
        run(account, "finalize", closing[0]["address"], "--yes")
    advance(system, DAY + 1)
    closed = told(account, "finalize", "--all", "--yes")["channels"]
    assert [one["status"] for one in closed] == ["closed", "closed"]
    assert told(account, "show")["locked_nano"] == 0
    assert status(system)["balances"] + status(system)["fees"] == status(system)["minted"]
    assert status(system)["minted"] == before["minted"]


def status(system: LiveSystem) -> dict[str, int]:
    answer = httpx.get(f"{system.chain_url}/devnet/status", trust_env=False).json()
    return {name: int(value) for name, value in answer.items()}


def test_a_sweep_leaves_nothing_and_asks_about_channels(
    account: Account, system: LiveSystem
) -> None:
    channel = ready(account)
    elsewhere = Wallet(Ed25519Key(bytes([0xCD]) * 32), DEVNET_NETWORK).address
    arguments = ("sweep", elsewhere.friendly(testnet=True), "--comment", "account 17", "--yes")
    with pytest.raises(ConfigError, match="still hold"):
        run(account, *arguments)
    told(account, "close", channel, "--coop", "--yes")
    before = told(account, "show")["balance_nano"]
    swept = told(account, *arguments)
    assert (swept["balance_nano"], swept["to"]) == (0, elsewhere.raw)
    assert 0 < before - balance(system, elsewhere.raw) < 1_500_000
    own = told(account, "show")["address"]
    with pytest.raises(ConfigError, match="own address"):
        run(account, "sweep", own, "--yes")


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_command_killed_around_its_message_pays_once(account: Account, when: str) -> None:
    channel = ready(account)
    command = ("topup", channel, "0.1", "--yes")
    kill(account, when, *command)
    shown = told(account, "show")
    assert shown["unfinished"] == [{"kind": "topup", "subject": channel, "nano": COIN // 10}]
    done = run(account, *command, "--json")
    assert done.exit_code == 0, done.stderr
    assert "an earlier command" in done.stderr
    assert "nothing more is sent" in done.stderr
    shown = told(account, "show")
    assert shown["unfinished"] == []
    assert shown["channels"][0]["deposit_nano"] == 4 * COIN // 10
    assert 0.39 * COIN < shown["locked_nano"] < 0.4 * COIN
    told(account, *command)  # now it is a new wish
    assert told(account, "show")["channels"][0]["deposit_nano"] == 5 * COIN // 10


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_what_expired_unsent_is_reported_and_never_sent(
    account: Account, system: LiveSystem
) -> None:
    channel = ready(account)
    kill(account, "before", "topup", channel, "0.1", "--yes")
    advance(system, 300)
    done = run(account, "topup", channel, "0.1", "--yes", "--json")
    assert "never executed" in done.stderr
    shown = told(account, "show")
    assert shown["channels"][0]["deposit_nano"] == 4 * COIN // 10  # the second command's alone


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_opening_that_was_killed_is_finished_with_its_own_key(
    account: Account, system: LiveSystem, when: str
) -> None:
    told(account, "fund", "2")
    provider = system.providers["echo"].id
    kill(account, when, "open", provider, "--deposit", "0.3", "--yes")
    opened = told(account, "open", provider, "--deposit", "0.3", "--yes")
    assert opened["status"] == "open"
    (only,) = told(account, "show")["channels"]
    assert only["address"] == opened["address"]
    answer = account.cocoon("chat", "Hello", "--max-tokens", "20", "--json")
    assert answer.returncode == 0, answer.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_another_command_finishes_it_too_and_then_goes_on(account: Account) -> None:
    channel = ready(account)
    kill(account, "before", "topup", channel, "0.1", "--yes")
    done = run(account, "close", channel, "--yes", "--json")
    assert "it is executed now" in done.stderr
    state = json.loads(done.stdout)
    assert (state["status"], state["deposit_nano"]) == ("closing", 4 * COIN // 10)


def last_message(account: Account) -> str:
    with contextlib.closing(sqlite3.connect(account.home / "client.sqlite")) as ledger:
        row = ledger.execute("select boc from transfers order by id desc").fetchone()
    return normalised_hash(cell_from_boc(row[0])).hex()


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")
def test_new_words_appear_on_the_terminal_alone(account: Account) -> None:
    import pty

    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "cocoon_sdk.cli", "wallet", "new", "--mnemonic", "--json"],
        env=account.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as child:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while part := os.read(ours, 4096):
                shown += part
        assert child.stdout is not None
        answer = child.stdout.read().decode()
    os.close(ours)
    assert child.returncode == 0
    numbered = dict(re.findall(r"\b(\d+)\. ([a-z]+)", shown.decode()))
    words = [numbered[str(place)] for place in range(1, 25)]
    assert key_of_mnemonic(words).seed == load_key(account.home / "wallet.key").seed
    assert "mnemonic" not in json.loads(answer)
    for file in account.home.rglob("*"):
        assert file.is_dir() or " ".join(words[:2]).encode() not in file.read_bytes()


def kill(account: Account, when: str, *arguments: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, when, "wallet", *arguments],
        env=account.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def test_without_the_chain_the_ledger_is_shown_and_explained(account: Account) -> None:
    channel = ready(account)
    online = told(account, "show")
    dead = "http://127.0.0.1:9"
    offline = told(account, "show", "--chain", dead)
    assert offline["balance_nano"] is None
    assert offline["offline"]
    assert offline["channels"] == online["channels"]
    people = run(account, "show", "--chain", dead)
    assert "as the ledger last saw it" in people.stderr
    assert "as the ledger last saw it" not in run(account, "show").stderr
    story = told(account, "explain", channel, "--chain", dead)
    assert story["offline"]
    assert any("close --coop" in one["command"] for one in story["choices"])


def test_a_message_and_an_exit_code_are_explained(account: Account) -> None:
    channel = ready(account)
    story = told(account, "explain", "--message", last_message(account))
    mine, theirs, *_ = story["transactions"]
    assert (mine["who"], mine["success"]) == ("this wallet", True)
    assert (theirs["account"], theirs["operation"], theirs["meaning"]) == (channel, "deposit", None)
    assert theirs["in_nano"] == 3 * COIN // 10
    people = run(account, "explain", "--message", last_message(account))
    assert "deposit" in people.stdout
    assert told(account, "explain", "--exit-code", "113") == {
        "exit_code": 113,
        "meaning": "the close delay has not passed yet",
    }
    with pytest.raises(ChainUnavailableError, match="not confirmed"):
        run(account, "explain", "--message", "ab" * 32)
    with pytest.raises(ConfigError, match="64 hex digits"):
        run(account, "explain", "--message", "xyz")
    with pytest.raises(ConfigError, match="name one channel"):
        run(account, "explain", "0:11", "--exit-code", "1")
