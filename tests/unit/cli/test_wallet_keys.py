"""Keys are made and brought in without being shown, overwritten or taken from the command line."""

from __future__ import annotations

import base64
import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cocoon_sdk.cli import wallet_keys
from cocoon_sdk.cli.desk import master_key_path, wallet_key_path
from cocoon_sdk.cli.wallet import app
from cocoon_sdk.cli.wallet_keys import parse_secret
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import Ed25519Key, load_key
from cocoon_sdk.ton.chain import DEVNET_NETWORK, MAINNET, TESTNET
from cocoon_sdk.ton.mnemonic import key_of_mnemonic
from cocoon_sdk.ton.wallet import Wallet
from tests.unit.ton.test_mnemonic import GOLDEN

WORDS, SEED, MAINNET_HASH, TESTNET_HASH = GOLDEN[0]
KEY = Ed25519Key(bytes.fromhex(SEED))


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REGISTRY", "TRUST", "CHAIN", "NETWORK", "STATE", "VOUCHER_KEY"):
        monkeypatch.delenv(f"COCOON_{name}", raising=False)


def run(*arguments: str, given: str = "") -> Result:
    return CliRunner().invoke(app, arguments, input=given, catch_exceptions=False)


def told(*arguments: str, given: str = "") -> dict[str, Any]:
    done = run(*arguments, "--json", given=given)
    assert done.exit_code == 0, done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_new_keys_are_for_their_owner_only_and_stay() -> None:
    made = told("new")
    for path, name in ((wallet_key_path(), "wallet_key"), (master_key_path(), "voucher_key")):
        assert made[name] == str(path)
        if sys.platform != "win32":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = load_key(wallet_key_path())
    assert key.seed != load_key(master_key_path()).seed
    assert key.seed.hex() not in json.dumps(made)
    assert made["public_key"] == key.public_key.hex()
    assert made["addresses"][str(MAINNET)]["raw"] == Wallet(key, MAINNET).address.raw
    assert set(made["addresses"]) == {str(MAINNET), str(TESTNET), str(DEVNET_NETWORK)}
    for command in (("new",), ("import",)):
        with pytest.raises(ConfigError, match="not overwritten"):
            run(*command, given=SEED)
    assert load_key(wallet_key_path()).seed == key.seed


def test_a_voucher_key_that_is_there_is_kept() -> None:
    told("new")
    vouchers = load_key(master_key_path()).seed
    wallet_key_path().unlink()
    told("new")
    assert load_key(master_key_path()).seed == vouchers


def test_the_chosen_network_comes_first() -> None:
    assert next(iter(told("new", "--network", "-3")["addresses"])) == "-3"


def test_words_need_a_terminal_or_to_be_asked_for() -> None:
    for arguments in (("--mnemonic",), ("--mnemonic", "--json")):
        with pytest.raises(ConfigError, match="there is none"):
            run("new", *arguments)
    for arguments in (("--reveal",), ("--reveal", "--mnemonic"), ("--reveal", "--json")):
        with pytest.raises(ConfigError, match="pass all three"):
            run("new", *arguments)
    assert not wallet_key_path().exists()
    made = told("new", "--mnemonic", "--reveal")
    assert key_of_mnemonic(made["mnemonic"]).seed == load_key(wallet_key_path()).seed


def test_on_a_terminal_the_words_are_shown_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wallet_keys._show(tuple(WORDS.split()))
    out, err = capsys.readouterr()
    assert out == ""
    shown = {
        int(n): word
        for n, word in zip(*[iter(err.replace(".", " ").split()[-48:])] * 2, strict=True)
    }
    assert [shown[n] for n in range(1, 25)] == WORDS.split()


@pytest.mark.parametrize(
    "text",
    [
        WORDS,
        WORDS.replace(" ", "\n") + "\n",
        SEED,
        "0x" + SEED.upper(),
        SEED + KEY.public_key.hex(),
        base64.b64encode(KEY.seed).decode(),
        base64.urlsafe_b64encode(KEY.seed + KEY.public_key).decode() + "\n",
    ],
)
def test_forms_of_a_key(text: str) -> None:
    assert parse_secret(text).seed == KEY.seed
    brought = told("import", given=text)
    assert brought["addresses"][str(MAINNET)]["raw"] == f"0:{MAINNET_HASH}"
    assert brought["addresses"][str(TESTNET)]["raw"] == f"0:{TESTNET_HASH}"
    assert load_key(wallet_key_path()).seed == KEY.seed


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no key"),
        (SEED[:-2], "no key"),
        ("hunter2hunter2", "no key"),
        (base64.b64encode(b"x" * 33).decode(), "no key"),
        (SEED + SEED, "not the public key"),
        (WORDS + " cat", "25"),
        ("ключ" * 9, "plain ASCII"),
        ("a" * 5000, "more than 4096"),
    ],
)
def test_what_is_no_key_is_not_stored_or_repeated(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        run("import", given=text)
    assert SEED[:8] not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert not wallet_key_path().exists()
    assert not master_key_path().exists()


def test_a_file_is_read_and_an_address_compared(tmp_path: Path) -> None:
    file = tmp_path / "words"
    file.write_text(WORDS)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="Nothing was stored"):
        run("import", "--file", str(file), "--expect", f"0:{'11' * 32}")
    assert not wallet_key_path().exists()
    done = run("import", "--file", str(file), "--expect", f"0:{TESTNET_HASH}")
    assert done.exit_code == 0
    if sys.platform != "win32":
        assert "readable by others" in done.stderr
    assert not set(WORDS.split()) - {"add", "of", "it", "is"} & set(done.output.split())
    with pytest.raises(ConfigError, match="cannot be read"):
        wallet_key_path().unlink()
        run("import", "--file", str(tmp_path / "missing"))


def test_words_are_not_taken_from_the_command_line() -> None:
    assert run("import", *WORDS.split()[:2]).exit_code == 2
