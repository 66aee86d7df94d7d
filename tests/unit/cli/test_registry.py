import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from registry_world import descriptor_of
from typer.testing import CliRunner

from cocoon_sdk.cli.registry import app
from cocoon_sdk.errors import ConfigError, RegistrySignatureError
from cocoon_sdk.keys import Ed25519Key, load_key
from cocoon_sdk.registry.descriptor import encode_entry, sign_descriptor
from cocoon_sdk.registry.fetch import unix_time

KEY = Ed25519Key(b"k" * 32)
ID = KEY.public_key.hex()


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def run_json(*arguments: object) -> Any:
    lines = run(*arguments, "--json").splitlines()
    assert len(lines) == 1
    return json.loads(lines[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run("init", tmp_path / "registry", "--network", "devnet/test")
    return tmp_path / "registry"


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    now = unix_time()
    descriptor = descriptor_of(KEY, issued=now, expires=now + 3600)
    path = tmp_path / "entry.json"
    path.write_bytes(encode_entry(sign_descriptor(KEY, descriptor)))
    return path


def test_from_nothing_to_a_verified_registry(tmp_path: Path, entry: Path) -> None:
    folder, www = tmp_path / "registry", tmp_path / "www"
    made = run_json("init", folder, "--network", "devnet/test")
    assert made["trust_threshold"] == 1
    assert len(made["trust"]) == 1
    assert run_json("add", folder, entry)["added"][0]["id"] == ID
    signed = run_json("sign", folder, "--publish", www)
    assert (signed["version"], signed["entries"]) == (1, 1)
    assert signed["published"] == ["1.root.json", "root.json", "registry.json"]
    verified = run_json("verify", www, "--trust", ",".join(made["trust"]))
    assert verified["digest"] == signed["digest"]
    assert verified["providers"] == [
        {"id": ID, "models": ["m"], "assurance": "operator", "problem": None}
    ]
    assert run_json("sign", folder)["version"] == 2
    assert run_json("publish", folder, www)["published"][-1] == "registry.json"
    assert run_json("verify", www)["version"] == 2  # by the root.json beside it


def test_verify_refuses_the_wrong_trust(folder: Path, tmp_path: Path) -> None:
    run("sign", folder)
    stranger = run_json("keygen", tmp_path / "other.key")["public_key"]
    with pytest.raises(RegistrySignatureError):
        run("verify", folder, "--trust", stranger)
    with pytest.raises(ConfigError, match="--trust"):
        run("verify", folder / "registry.json")


def test_keygen_writes_a_private_file_once(tmp_path: Path) -> None:
    path = tmp_path / "new.key"
    public = run("keygen", path).strip()
    assert public == "ed25519:" + load_key(path).public_key.hex()
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match="exists"):
        run("keygen", path)


def test_roles_of_several_keys(tmp_path: Path) -> None:
    other = run_json("keygen", tmp_path / "other.key")["public_key"]
    made = run_json(
        *("init", tmp_path / "r", "--network", "-3/test", "--root-keys", 3, "--root-threshold", 3),
        *("--registry-keys", 2, "--registry-public", other, "--days", 10),
    )
    assert (len(made["trust"]), made["trust_threshold"]) == (3, 3)
    assert (len(made["registry_keys"]), made["registry_threshold"]) == (3, 2)
    assert other in made["registry_keys"]
    assert made["network"] == "-3/test"


def test_remove_and_revoke(folder: Path, entry: Path) -> None:
    run("add", folder, entry)
    assert run_json("revoke", folder, ID, "--below", 9) == {"raised": ID}
    assert "below 9" in run_json("sign", folder)["skipped"][ID]
    assert run_json("remove", folder, ID[:8]) == {"removed": ID}
    assert run_json("revoke", folder, ID) == {"revoked": ID}
    assert run_json("show", folder)["entries"] == []
    run("sign", folder)
    assert run_json("show", folder)["registry"]["revoked"] == [ID]


def test_output_for_people(folder: Path, entry: Path) -> None:
    assert "wss://provider.example" in run("add", folder, entry)
    assert run("sign", folder).startswith("signed version 1 with 1 provider\n")
    shown = run("show", folder)
    assert "devnet/test" in shown
    assert "1 of 1 must sign" in shown
    assert "none" in run("verify", folder)
    assert ID in run("remove", folder, ID)


def test_unreadable_entry(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        run("add", folder, tmp_path / "missing.json")
