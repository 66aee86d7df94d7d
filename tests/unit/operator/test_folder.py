"""The operator's files: what they are named, who may read them, and that writing never leaves half a file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from registry_world import descriptor_of, make_keys

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.operator.files import write_file
from cocoon_sdk.operator.folder import OperatorFolder, Policy
from cocoon_sdk.registry.descriptor import sign_descriptor

ALICE = make_keys("provider", 1)[0]
ENTRY = sign_descriptor(ALICE, descriptor_of(ALICE))


@pytest.fixture
def folder(tmp_path: Path) -> OperatorFolder:
    made = OperatorFolder(tmp_path / "registry")
    made.create()
    return made


def listed(folder: OperatorFolder, *providers: str) -> None:
    for provider in providers:
        folder.write_entry(provider, ENTRY)


def test_a_folder_is_made_once(folder: OperatorFolder) -> None:
    assert stat.S_IMODE(folder.keys.stat().st_mode) == 0o700
    folder.create()  # nothing was signed yet: an interrupted init may go on
    folder.write_root(b"{}", 1)
    with pytest.raises(ConfigError, match="holds a registry already"):
        folder.create()


def test_roots_keep_their_versions(folder: OperatorFolder) -> None:
    folder.write_root(b"first", 1)
    folder.write_root(b"second", 2)
    assert folder.read_root() == b"second"
    assert (folder.path / "1.root.json").read_bytes() == b"first"
    assert folder.read_registry() is None
    folder.write_registry(b"r")
    assert folder.read_registry() == b"r"


def test_every_version_of_the_root_is_read_in_order(folder: OperatorFolder) -> None:
    for version in range(1, 12):
        folder.write_root(b"%d" % version, version)
    (folder.path / "x.root.json").write_bytes(b"no version")
    assert folder.read_roots() == {version: b"%d" % version for version in range(1, 12)}


def test_a_root_that_a_crash_left_without_its_second_name_is_the_newest(
    folder: OperatorFolder,
) -> None:
    (folder.path / "1.root.json").write_bytes(b"first")
    assert folder.has_root()
    assert folder.read_root() == b"first"
    folder.write_root(b"first", 1)
    (folder.path / "2.root.json").write_bytes(b"second")
    assert folder.read_root() == b"second"


def test_entries_by_id(folder: OperatorFolder) -> None:
    one, two = "aa" * 32, "bb" * 32
    listed(folder, two, one)
    assert list(folder.read_entries().items()) == [(one, ENTRY), (two, ENTRY)]
    assert folder.remove_entry(one)
    assert not folder.remove_entry(one)
    assert list(folder.read_entries()) == [two]


def test_providers_are_found_by_the_start_of_their_id(folder: OperatorFolder) -> None:
    one, two = "aaaaaaaa" + "1" * 56, "aaaaaaaa" + "2" * 56
    listed(folder, one, two)
    assert folder.find_provider(one) == one
    assert folder.find_provider("AAAAAAAA2") == two
    assert folder.find_provider("CC" * 32) == "cc" * 32  # by its whole id though not listed
    for text, count in (("aaaaaaaa", 2), ("aaaaaaa", 2), ("aaaaaaaa3", 0), ("", 2), ("c" * 63, 0)):
        with pytest.raises(ConfigError, match=f"start of {count} listed ids"):
            folder.find_provider(text)


def test_a_unique_but_short_start_is_not_enough(folder: OperatorFolder) -> None:
    listed(folder, "ab" * 32)
    with pytest.raises(ConfigError, match="at least 8 digits"):
        folder.find_provider("abababa")


def test_the_policy_comes_back_and_a_damaged_one_is_named(folder: OperatorFolder) -> None:
    assert folder.read_policy() == Policy()
    policy = Policy(revoked=["aa" * 32], min_seq={"bb" * 32: 7})
    folder.write_policy(policy)
    assert folder.read_policy() == policy
    for text in ("{", '{"revoked": 1}', '{"more": 1}', '{"min_seq": {"bb": 1}}'):
        (folder.path / "policy.json").write_text(text)
        with pytest.raises(ConfigError, match=r"policy\.json does not parse"):
            folder.read_policy()


def test_a_folder_in_the_place_of_a_file_is_said(folder: OperatorFolder) -> None:
    (folder.path / "registry.json").mkdir()
    with pytest.raises(ConfigError, match=r"registry\.json cannot be read"):
        folder.read_registry()


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    folder = OperatorFolder(tmp_path / "missing")
    with pytest.raises(ConfigError, match="cocoon registry init"):
        folder.read_root()
    with pytest.raises(ConfigError, match="cocoon registry init"), folder.lock():
        pass
    with pytest.raises(ConfigError, match="cannot be written"):
        write_file(tmp_path / "missing" / "x.json", b"")


def test_files_are_whole_readable_by_servers_and_leave_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "x.json"
    write_file(target, b"old")
    assert stat.S_IMODE(target.stat().st_mode) == 0o644

    def fail(_descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ConfigError, match=r"x\.json cannot be written: disk full"):
        write_file(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_is_in_the_way_is_named(folder: OperatorFolder, tmp_path: Path) -> None:
    path = folder.entries / f"{'aa' * 32}.json"
    path.mkdir()
    with pytest.raises(ConfigError, match=f"{path.name} cannot be read"):
        folder.read_entries()
    path.rmdir()
    path.write_bytes(b'{"d":""}')
    with pytest.raises(ConfigError, match=f"{path.name}: .*missing required field `s`"):
        folder.read_entries()
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="cannot be made"):
            OperatorFolder(place).create()
    with pytest.raises(ConfigError, match="cannot be written: Is a directory"):
        write_file(folder.entries, b"")
    assert sorted(path.name for path in folder.path.iterdir()) == ["entries", "keys"]
    (folder.path / ".lock").mkdir()
    with pytest.raises(ConfigError, match="cannot be used"), folder.lock():
        pass
