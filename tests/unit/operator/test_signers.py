"""Every place that a key may be in, and what is said where it cannot be used."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import securesystemslib.signer as others
from registry_world import make_keys

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import Ed25519Key, format_public_key, save_key, verify_signature
from cocoon_sdk.operator.config import TEMPLATE, Settings, read_settings
from cocoon_sdk.operator.folder import OperatorFolder
from cocoon_sdk.operator.keyring import signers_for
from cocoon_sdk.operator.signers import SecureSystemsSigner, open_signer, open_signers

KEY, OTHER = make_keys("signer", 2)


@pytest.fixture
def pem(tmp_path: Path) -> tuple[Path, bytes]:
    made = others.CryptoSigner.generate_ed25519()
    path = tmp_path / "key.pem"
    path.write_bytes(made.private_bytes)
    path.chmod(0o600)
    return path, bytes.fromhex(made.public_key.keyval["public"])


def test_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_key(KEY, tmp_path / "my.key")
    assert open_signer(f"file:{tmp_path}/my.key").public_key == KEY.public_key
    assert open_signer("file:my.key", base=tmp_path).public_key == KEY.public_key
    monkeypatch.chdir(tmp_path)
    assert open_signer("file:my.key").public_key == KEY.public_key
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_signer("file:~/my.key", base=Path("/elsewhere")).public_key == KEY.public_key
    with pytest.raises(ConfigError, match="no key file at"):
        open_signer("file:none.key")


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    save_key(KEY, tmp_path / "my.key")
    for mode in (0o640, 0o604, 0o700 | 0o001):
        (tmp_path / "my.key").chmod(mode)
        with pytest.raises(ConfigError, match="readable by others; run: chmod 600"):
            open_signer(f"file:{tmp_path}/my.key")


def test_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY.seed.hex() + "\n")
    assert open_signer("env:MY_KEY").public_key == KEY.public_key
    with pytest.raises(ConfigError, match="MY_OTHER_KEY is not set"):
        open_signer("env:MY_OTHER_KEY")


@pytest.mark.parametrize(
    "text", ["ab" * 31, KEY.seed.hex().upper(), "x" * 64, KEY.seed.hex() + "0"]
)
def test_what_is_no_key_is_not_shown(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", text)
    with pytest.raises(ConfigError, match="MY_KEY does not hold a key") as caught:
        open_signer("env:MY_KEY")
    assert text not in str(caught.value)


@pytest.mark.parametrize("spec", ["", "my.key", "file:", "env:", "ssl:", "http:x", ":x"])
def test_other_forms_are_told_the_right_ones(spec: str) -> None:
    with pytest.raises(ConfigError, match="use file:PATH, env:NAME or ssl:URI#ed25519:HEX"):
        open_signer(spec)


@pytest.mark.parametrize("before", ["", "env:", "hex:", "0x", "ed25519:", "0:"])
@pytest.mark.parametrize("seed", [KEY.seed.hex(), KEY.seed.hex().upper()])
def test_a_key_given_in_place_of_its_place_is_not_shown(before: str, seed: str) -> None:
    for spec in (before + seed, f"{seed}:x"):
        with pytest.raises(ConfigError, match="names no key") as caught:
            open_signer(spec)
        assert seed[:8] not in str(caught.value)


def test_a_key_behind_securesystemslib(pem: tuple[Path, bytes]) -> None:
    path, public = pem
    signer = open_signer(f"ssl:file2:{path}#{format_public_key(public)}")
    assert signer.public_key == public
    assert verify_signature(public, b"message", signer.sign(b"message"))


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_pem_file_that_others_can_read_is_refused(
    pem: tuple[Path, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, public = pem
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="readable by others; run: chmod 600"):
        SecureSystemsSigner(f"file2:{path}", public)
    monkeypatch.setenv("CRYPTO_SIGNER_PATH_PREFIX", str(path.parent))
    with pytest.raises(ConfigError, match="readable by others; run: chmod 600"):
        SecureSystemsSigner(f"file2:{path.name}", public)
    path.chmod(0o600)
    assert SecureSystemsSigner(f"file2:{path.name}", public).public_key == public


def test_the_public_key_must_be_named(pem: tuple[Path, bytes]) -> None:
    path, public = pem
    with pytest.raises(ConfigError, match="does not say its public key"):
        open_signer(f"ssl:file2:{path}")
    with pytest.raises(ConfigError, match="not a public key"):
        open_signer(f"ssl:file2:{path}#{public.hex()}")


def test_another_public_key_is_refused(pem: tuple[Path, bytes]) -> None:
    path, _ = pem
    with pytest.raises(ConfigError, match="does not match public key"):
        SecureSystemsSigner(f"file2:{path}", KEY.public_key)


@pytest.mark.parametrize("scheme", ["ecdsa", "rsa"])
def test_only_ed25519_is_accepted(scheme: str, tmp_path: Path) -> None:
    made = getattr(others.CryptoSigner, f"generate_{scheme}")()
    path = tmp_path / "key.pem"
    path.write_bytes(made.private_bytes)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="takes Ed25519 keys only"):
        SecureSystemsSigner(f"file2:{path}", KEY.public_key)


@pytest.mark.parametrize("uri", ["hsm:2", "awskms:alias/x", "gcpkms:projects/p", "file2:/none.pem"])
def test_what_cannot_be_reached_is_said(uri: str) -> None:
    with pytest.raises(ConfigError, match=f"{uri} cannot sign with ed25519:"):
        SecureSystemsSigner(uri, KEY.public_key)


def test_an_unknown_scheme_is_told_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no signer for magic:, it has awskms:, .*file2:"):
        SecureSystemsSigner("magic:1", KEY.public_key)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "securesystemslib", None)
    with pytest.raises(ConfigError, match=r"pip install 'cocoon-sdk\[operator\]'"):
        SecureSystemsSigner("file2:x", KEY.public_key)


class Module:
    """A foreign signer: it holds one key, whatever public key it is told."""

    asked: str = ""

    def __init__(self, key: Ed25519Key, public: Any) -> None:
        self._key = key
        self.public_key = public

    @classmethod
    def from_priv_key_uri(cls, uri: str, public: Any, ask: Any = None) -> Module:
        cls.asked = ask("PIN") if ask else ""
        return cls({"good": KEY, "bad": OTHER}[uri.partition(":")[2]], public)

    def sign(self, message: bytes) -> Any:
        if message == b"down":
            raise OSError("")
        return others.Signature(self.public_key.keyid, self._key.sign(message).hex())


def test_signers_of_other_packages_work_and_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(others.SIGNER_FOR_URI_SCHEME, "module", Module)
    public = format_public_key(KEY.public_key)
    good = open_signer(f"ssl:module:good#{public}", ask=lambda name: f"my {name}")
    assert Module.asked == "my PIN"
    assert verify_signature(KEY.public_key, b"m", good.sign(b"m"))
    with pytest.raises(ConfigError, match="module:good did not sign: OSError"):
        good.sign(b"down")
    with pytest.raises(ConfigError, match="signed with another key"):
        open_signer(f"ssl:module:bad#{public}").sign(b"m")


def test_keys_of_another_role_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY.seed.hex())
    allowed = [KEY.public_key]
    assert [s.public_key for s in open_signers(["env:MY_KEY"], allowed, role="root")] == allowed
    with pytest.raises(ConfigError, match=r"env:MY_KEY holds ed25519:.*not a root key here"):
        open_signers(["env:MY_KEY"], [OTHER.public_key], role="root")


@pytest.fixture
def folder(tmp_path: Path) -> OperatorFolder:
    made = OperatorFolder(tmp_path / "registry")
    made.create()
    return made


def test_without_settings_the_keys_of_the_role_in_the_folder_sign(folder: OperatorFolder) -> None:
    save_key(KEY, folder.keys / "b.key")
    save_key(OTHER, folder.keys / "a.key")
    found = signers_for(folder, "root", [KEY.public_key, bytes(32)])
    assert [key.public_key for key in found] == [KEY.public_key]


def test_settings_name_the_signers_of_each_role(
    folder: OperatorFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY.seed.hex())
    save_key(OTHER, folder.keys / "a.key")
    text = '[keys]\nroot = ["env:MY_KEY"]\nregistry = ["file:keys/a.key"]\n'
    (folder.path / "operator.toml").write_text(text)
    both = [KEY.public_key, OTHER.public_key]
    assert [s.public_key for s in signers_for(folder, "root", both)] == [KEY.public_key]
    assert [s.public_key for s in signers_for(folder, "registry", both)] == [OTHER.public_key]
    named = signers_for(folder, "registry", both, ["env:MY_KEY"])
    assert [s.public_key for s in named] == [KEY.public_key]


def test_the_template_says_the_defaults(folder: OperatorFolder) -> None:
    assert read_settings(folder) == Settings()
    path = folder.path / "operator.toml"
    for text in (TEMPLATE, TEMPLATE.replace("# root", "root").replace("# registry", "registry")):
        path.write_text(text.replace("# above", "above").replace("# grace", "grace"))
        assert read_settings(folder) == Settings()
    assert Settings().shards.grace == 86_400


@pytest.mark.parametrize("text", ["[keys", "[more]", "[shards]\ngrace_hours = 23", "\xff"])
def test_damaged_settings_are_named(folder: OperatorFolder, text: str) -> None:
    (folder.path / "operator.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"operator\.toml: "):
        read_settings(folder)
