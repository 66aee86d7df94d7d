import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from registry_world import descriptor_of
from typer.testing import CliRunner

from cocoon_sdk.cli import registry_options
from cocoon_sdk.cli.registry import app
from cocoon_sdk.errors import ConfigError, RegistrySignatureError
from cocoon_sdk.keys import Ed25519Key, load_key
from cocoon_sdk.operator.verdicts import Check, warn
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


def test_a_registry_in_shards(folder: Path, entry: Path, tmp_path: Path) -> None:
    run("add", folder, entry)
    signed = run_json("sign", folder, "--shards", "--publish", tmp_path / "www")
    assert (signed["entries"], signed["shards"], signed["new_shards"]) == (1, 1, 1)
    verified = run_json("verify", tmp_path / "www")
    assert [provider["id"] for provider in verified["providers"]] == [ID]
    assert "1 listed in 1 shard," in run("show", folder)
    assert run_json("show", folder)["registry"]["shards"] == 1
    assert "1 provider in 1 shard, 0 of them new" in run("sign", folder, "--shards")
    for path in (tmp_path / "www" / "shards").iterdir():
        path.unlink()
    for options in ((), ("--json",)):
        result = CliRunner().invoke(app, ["verify", str(tmp_path / "www"), *options])
        assert result.exit_code == 1
    assert json.loads(result.stdout)["broken"].keys() == {ID[:2]}


def test_long_lists_show_what_is_wrong_only(
    folder: Path, entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("add", folder, entry)
    run("revoke", folder, ID, "--below", 9)
    monkeypatch.setattr("cocoon_sdk.cli.registry_options.MAX_SHOWN", 0)
    assert "Entries: 1 lines, 0 of them shown; --json has them all" in run("show", folder)


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """Two keys of each role, as files; their public keys by name."""
    names = ("root-a", "root-b", "list-a", "list-b")
    return {name: run_json("keygen", tmp_path / f"{name}.key")["public_key"] for name in names}


@pytest.fixture
def shared(tmp_path: Path, keys: dict[str, str]) -> Path:
    """A registry whose keys are all elsewhere; its first root was signed by both holders."""
    path, draft = tmp_path / "shared", tmp_path / "root.draft.json"
    publics = [
        f"--{name.split('-')[0].replace('list', 'registry')}-public={key}"
        for name, key in keys.items()
    ]
    none = ("--root-keys", 0, "--registry-keys", 0)
    made = CliRunner().invoke(
        app,
        [
            str(a)
            for a in ("init", path, "--network", "devnet/test", *none, *publics, "--draft", draft)
        ],
    )
    assert "not valid yet" in made.stderr
    assert f"cocoon registry accept {path} {draft}" in made.stderr.replace("\n", "")
    assert "Move" not in made.stderr  # there is no root key here
    lacking = run_json("cosign", draft, "--key", f"file:{tmp_path}/root-a.key", "--yes")["lacking"]
    assert lacking == "the draft needs 2 of 2 root keys, 1 of them signed"
    assert "accept" in run("cosign", draft, "--key", f"file:{tmp_path}/root-b.key", "--yes")
    assert run_json("accept", path, draft) == {"kind": "root", "version": 1}
    return path


def test_a_list_signed_by_two_people(
    shared: Path, tmp_path: Path, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, www = tmp_path / "draft.json", tmp_path / "www"
    with pytest.raises(ConfigError, match="--draft FILE"):
        run("sign", shared)
    monkeypatch.setenv("LIST_A", load_key(tmp_path / "list-a.key").seed.hex())
    told = run_json("sign", shared, "--key", "env:LIST_A", "--draft", draft)
    assert (told["version"], told["lacking"]) == (
        1,
        "registry.json needs 2 of 2 registry keys, 1 of them signed",
    )
    with pytest.raises(ConfigError, match="a draft is not published"):
        run("sign", shared, "--draft", draft, "--publish", www)
    look = ("cosign", draft, "--root", shared / "root.json")
    mine = ("--key", f"file:{tmp_path}/list-b.key")
    with pytest.raises(ConfigError, match="pass --key"):
        run(*look)
    with pytest.raises(ConfigError, match="then pass --yes"):  # nobody sits at the terminal
        run(*look, *mine)
    assert "accept" in run(*look, *mine, "-y")
    assert "registry 1 is signed" in run("accept", shared, draft)
    run("publish", shared, www)
    assert "1 of them signed" in run("sign", shared, "--key", "env:LIST_A", "--draft", draft)
    run("cosign", draft, "--previous", www, *mine, "--yes")


@pytest.mark.parametrize(("typed", "signs"), [("y", True), ("n", False)])
def test_a_holder_is_asked(
    shared: Path, tmp_path: Path, typed: str, signs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = tmp_path / "draft.json"
    run("sign", shared, "--key", f"file:{tmp_path}/list-a.key", "--draft", draft)
    before = draft.read_bytes()
    monkeypatch.setattr("cocoon_sdk.cli.registry_options.at_terminal", lambda: True)
    arguments = [
        "cosign",
        draft,
        "--root",
        shared / "root.json",
        "--key",
        f"file:{tmp_path}/list-b.key",
    ]
    result = CliRunner().invoke(app, list(map(str, arguments)), input=f"{typed}\n")
    assert (result.exception is None) is signs
    assert (draft.read_bytes() != before) is signs
    assert "Sign this?" in result.stderr


def test_rotating_the_root(folder: Path, tmp_path: Path) -> None:
    extra = run_json("keygen", tmp_path / "extra.key")["public_key"]
    made = run_json(
        *("rotate-root", folder, "--add-registry-key", extra, "--registry-threshold", 2),
        *("--mirror", "https://m.example/registry.json", "--anchor", "0:" + "ab" * 32, "--yes"),
    )
    assert (made["kind"], made["version"], made["lacking"]) == ("root", 2, None)
    assert {change["what"] for change in made["changes"]} == {
        *("registry key added", "registry threshold", "mirror added", "anchor"),
    }
    with pytest.raises(ConfigError, match="2 of 2 registry keys, 1 of them signed"):
        run("sign", folder)
    draft = tmp_path / "root.json"
    drop = ("--drop-registry-key", extra, "--registry-threshold", 1, "--draft", draft, "--yes")
    assert "accept" in run("rotate-root", folder, *drop)
    assert run_json("accept", folder, draft)["version"] == 3
    assert "root 4 is signed" in run("rotate-root", folder, "--days", 30, "--yes")
    run("sign", folder, "--publish", tmp_path / "www")
    assert run_json("verify", tmp_path / "www")["root_version"] == 4


def test_many_changes_are_not_all_shown(
    folder: Path, entry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("add", folder, entry)
    monkeypatch.setattr("cocoon_sdk.cli.registry_options.MAX_SHOWN", 0)
    draft = tmp_path / "draft.json"
    run("sign", folder, "--draft", draft)
    spare = run_json("keygen", tmp_path / "spare.key")["public_key"]
    arguments = ["rotate-root", folder, "--add-root-key", spare, "--root-threshold", 1, "--yes"]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert "… and 1 more" in result.stderr


def test_review_looks_says_and_exits(folder: Path, entry: Path, tmp_path: Path) -> None:
    """Nobody answers at the address of the entry; nothing is added, whatever was asked for."""
    arguments = ["review", str(folder), str(entry), "--no-canary", "--add"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "FAIL" in result.stdout
    assert run_json("show", folder)["entries"] == []
    result = CliRunner().invoke(app, [*arguments, "--json"])
    told = json.loads(result.stdout)
    assert told["added"] == []
    assert told["reviews"][0]["verdict"] == "FAIL"


def test_review_adds_what_passes(
    folder: Path, entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def passing(*_arguments: object, **_options: object) -> list[Check]:
        return [warn("x", "seen", "do")]

    monkeypatch.setattr("cocoon_sdk.operator.review.probe_endpoint", passing)
    monkeypatch.setattr("cocoon_sdk.operator.review.ask", passing)
    assert run_json("review", folder, entry)["added"] == []
    assert f"added 1; run: cocoon registry sign {folder}" in run("review", folder, entry, "--add")
    assert run_json("show", folder)["entries"][0]["id"] == ID
    assert "added" not in run("review", folder, entry)


def test_what_is_left_out_is_said(folder: Path, entry: Path, tmp_path: Path) -> None:
    run("add", folder, entry)
    run("revoke", folder, ID, "--below", 9)
    for options in ((), ("--draft", tmp_path / "draft.json")):
        shown = run("sign", folder, *options)
        assert "Left out" in shown
        assert "below 9" in shown


def test_secrets_are_typed_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        "cocoon_sdk.cli.registry_options.getpass", lambda text: asked.append(text) or "1"
    )
    assert registry_options.ask_secret("PIN") == "1"
    assert asked == ["PIN: "]
