from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import (
    Ed25519Key,
    derive_channel_key,
    format_public_key,
    load_key,
    load_or_create_key,
    parse_public_key,
    save_key,
    verify_signature,
)


@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=200))
def test_signatures_equal_those_of_an_independent_library(seed: bytes, message: bytes) -> None:
    ours = Ed25519Key(seed)
    theirs = Ed25519PrivateKey.from_private_bytes(seed)
    assert ours.public_key == theirs.public_key().public_bytes_raw()
    assert ours.sign(message) == theirs.sign(message)
    assert verify_signature(ours.public_key, message, ours.sign(message))
    assert not verify_signature(ours.public_key, message + b"x", ours.sign(message))


def test_published_edge_cases_accept_at_most_one(outside_data: Path) -> None:
    cases = json.loads((outside_data / "ed25519_speccheck.json").read_text())
    accepted = [
        number
        for number, case in enumerate(cases)
        if verify_signature(
            *(bytes.fromhex(case[key]) for key in ("pub_key", "message", "signature"))
        )
    ]
    # libsodium accepts case 3 (mixed order); with the prime-order check not even that one passes.
    assert len(cases) == 12
    assert accepted == []


def test_key_files_are_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "voucher.key"
    key = load_or_create_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path).public_key == key.public_key == load_or_create_key(path).public_key
    with pytest.raises(ConfigError, match="exists already"):
        save_key(Ed25519Key.generate(), path)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_key(path)


@pytest.mark.parametrize("content", ["", "zz" * 32, "ab" * 31, "\xff"])
def test_a_file_without_a_key_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.key"
    path.write_text(content, "latin-1")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"broken\.key"):
        load_key(path)


def test_channel_keys_are_unlinkable_and_reproducible() -> None:
    def derive(network: int = -239, provider: bytes = bytes(32), salt: int = 7) -> bytes:
        return derive_channel_key(
            b"m" * 32, network=network, provider_key=provider, salt=salt
        ).public_key

    assert derive() == derive()
    assert len({derive(), derive(network=-3), derive(provider=b"p" * 32), derive(salt=8)}) == 4


def test_public_key_text_round_trips_and_refuses_junk() -> None:
    key = Ed25519Key.generate().public_key
    assert parse_public_key(format_public_key(key)) == key
    for junk in (
        key.hex(),
        f"ed25519:{key.hex().upper()}Z",
        "ed25519:" + "00" * 32,
        "ed25519:abcd",
    ):
        with pytest.raises(ConfigError):
            parse_public_key(junk)


def test_a_key_does_not_show_its_seed() -> None:
    key = Ed25519Key(b"s" * 32)
    assert (b"s" * 32).hex() not in repr(key)


def test_processes_that_make_a_key_at_once_agree_on_it(tmp_path: Path) -> None:
    path = tmp_path / "shared.key"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: load_or_create_key(path).public_key, range(32)))
    assert len(set(made)) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["shared.key"]


def test_a_key_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_key(tmp_path)


def test_a_key_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be written"):
        save_key(Ed25519Key.generate(), tmp_path / "file" / "my.key")
    with pytest.raises(ConfigError, match="cannot be written"):
        load_or_create_key(tmp_path / "file" / "my.key")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
