"""Publishing: what appears when, what stays, what a crash or a second operator leaves behind."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from registry_world import DAY, NOW, descriptor_of, make_keys

from cocoon_sdk.errors import (
    ConfigError,
    RegistryEquivocationError,
    RegistryRollbackError,
    StoreError,
)
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.operator import cosigning, operations, public
from cocoon_sdk.operator.files import write_file
from cocoon_sdk.operator.folder import OperatorFolder
from cocoon_sdk.operator.public import PublicFolder
from cocoon_sdk.operator.rotation import RootChange
from cocoon_sdk.operator.state import listed_entries, previous, trusted_set
from cocoon_sdk.registry.descriptor import encode_entry, sign_descriptor

NETWORK = "devnet/test"
KEYS = make_keys("publish", 12)


def put(folder: OperatorFolder, *keys: Ed25519Key, **changes: object) -> None:
    for key in keys:
        raw = encode_entry(sign_descriptor(key, descriptor_of(key, **changes)))
        operations.add(folder, raw, now=NOW)


@pytest.fixture
def folder(tmp_path: Path) -> OperatorFolder:
    path = tmp_path / "registry"
    operations.init(path, network=NETWORK, now=NOW)
    made = OperatorFolder(path)
    put(made, *KEYS)
    return made


@pytest.fixture
def www(tmp_path: Path) -> Path:
    return tmp_path / "www"


def shards_in(path: Path) -> set[str]:
    return {one.name for one in (path / "shards").glob("*.json")}


def served(path: Path, now: int = NOW) -> tuple[int, int]:
    """Version and number of providers, as somebody sees them who reads the whole folder."""
    site = PublicFolder(path)
    registry = trusted_set(site).update_registry(site.read_registry() or b"", now)
    found = previous(site)
    assert found is not None
    return registry.payload.version, len(listed_entries(found, site))


def test_shards_are_published_before_the_index_and_found_through_it(
    folder: OperatorFolder, www: Path
) -> None:
    signed = operations.sign(folder, now=NOW, shards=True)
    assert signed.listed == len(KEYS)
    assert signed.new_shards == len(signed.registry.payload.shards or ())
    names = operations.publish(folder, www, now=NOW)
    assert names[-3:] == ["1.root.json", "root.json", "registry.json"]
    assert {Path(name).name for name in names[:-3]} == shards_in(www)
    assert served(www) == (1, len(KEYS))


def test_an_unchanged_shard_keeps_its_name_and_is_not_written_again(
    folder: OperatorFolder, www: Path
) -> None:
    operations.sign(folder, now=NOW, shards=True)
    operations.publish(folder, www, now=NOW)
    before = {path: path.stat().st_ino for path in (www / "shards").iterdir()}
    put(folder, KEYS[0], seq=6)
    signed = operations.sign(folder, now=NOW + 3600, shards=True)
    assert signed.new_shards == 1
    names = operations.publish(folder, www, now=NOW + 3600)
    assert len([name for name in names if name.startswith("shards/")]) == 1
    assert {path: path.stat().st_ino for path in before} == before


def test_the_list_is_cut_above_a_number(folder: OperatorFolder) -> None:
    assert operations.sign(folder, now=NOW).registry.payload.shards is None
    for above, cut in ((len(KEYS), False), (len(KEYS) - 1, True)):
        (folder.path / "operator.toml").write_text(f"[shards]\nabove = {above}\n")
        shards = operations.sign(folder, now=NOW).registry.payload.shards
        assert (shards is not None) is cut
    assert operations.sign(folder, now=NOW, shards=False).registry.payload.shards is None


def test_dropped_shards_stay_as_long_as_an_index_that_names_them_may_be_used(
    folder: OperatorFolder, www: Path
) -> None:
    """A shard that was in use for a month has its day of grace from when it is dropped."""
    operations.sign(folder, now=NOW, shards=True)
    operations.publish(folder, www, now=NOW)
    for place in (folder.path, www):
        for path in (place / "shards").iterdir():
            os.utime(path, (NOW - 30 * DAY, NOW - 30 * DAY))
    old = shards_in(www)
    put(folder, KEYS[0], seq=6)
    for now, left in ((NOW, True), (NOW + DAY, True), (NOW + DAY + 1, False)):
        operations.sign(folder, now=now, shards=True)
        operations.publish(folder, www, now=now)
        for place in (folder.path, www):
            assert (shards_in(place) >= old) is left
            assert served(place, now)[1] == len(KEYS)


def test_shards_go_when_the_list_is_one_file_again(folder: OperatorFolder, www: Path) -> None:
    for now, shards in ((NOW, True), (NOW + 1, False), (NOW + DAY + 2, False)):
        operations.sign(folder, now=now, shards=shards)
        operations.publish(folder, www, now=now)
        assert served(www, now)[1] == len(KEYS)
    assert shards_in(www) == shards_in(folder.path) == set()


def test_a_shard_that_is_gone_already_is_no_obstacle(folder: OperatorFolder, www: Path) -> None:
    operations.sign(folder, now=NOW, shards=True)
    operations.publish(folder, www, now=NOW)
    for place in (folder.path, www):
        for path in (place / "shards").iterdir():
            path.unlink()
    put(folder, *KEYS, seq=6)
    operations.sign(folder, now=NOW, shards=True)
    operations.publish(folder, www, now=NOW)
    assert served(www) == (2, len(KEYS))


def test_a_damaged_shard_is_not_published(folder: OperatorFolder, www: Path) -> None:
    operations.sign(folder, now=NOW, shards=True)
    next((folder.path / "shards").iterdir()).write_bytes(b"[]")
    with pytest.raises(ConfigError, match=r"missing in .* or damaged; run: cocoon registry sign"):
        operations.publish(folder, www, now=NOW)
    assert not www.exists()
    operations.sign(folder, now=NOW, shards=True)  # mends it
    operations.publish(folder, www, now=NOW)
    next((www / "shards").iterdir()).write_bytes(b"[]")
    operations.publish(folder, www, now=NOW)  # mends that one
    assert served(www) == (2, len(KEYS))


def test_two_machines_that_sign_are_noticed(
    folder: OperatorFolder, www: Path, tmp_path: Path
) -> None:
    operations.sign(folder, now=NOW)
    operations.publish(folder, www, now=NOW)
    raw = folder.read_registry()
    operations.sign(folder, now=NOW)
    operations.publish(folder, www, now=NOW)
    folder.write_registry(raw or b"")
    operations.remove(folder, KEYS[0].public_key.hex())
    operations.sign(folder, now=NOW)
    with pytest.raises(RegistryEquivocationError, match="do two machines sign"):
        operations.publish(folder, www, now=NOW)
    folder.write_registry(raw or b"")
    with pytest.raises(RegistryRollbackError, match="version 2"):
        operations.publish(folder, www, now=NOW)


def test_what_lies_in_the_target_is_not_overwritten_blindly(
    folder: OperatorFolder, www: Path
) -> None:
    operations.sign(folder, now=NOW)
    www.mkdir()
    (www / "registry.json").write_text("my own list")
    with pytest.raises(ConfigError, match=r"is not a registry .*; move it away"):
        operations.publish(folder, www, now=NOW)
    assert (www / "registry.json").read_text() == "my own list"


def test_another_registry_is_not_published_over(
    folder: OperatorFolder, www: Path, tmp_path: Path
) -> None:
    operations.sign(folder, now=NOW)
    operations.publish(folder, www, now=NOW)
    before = {path.name: path.read_bytes() for path in www.glob("*.json")}
    operations.init(tmp_path / "other", network="devnet/else", now=NOW)
    other = OperatorFolder(tmp_path / "other")
    for _ in range(2):
        operations.sign(other, now=NOW)
    with pytest.raises(ConfigError, match="holds the registry devnet/test, this folder is of"):
        operations.publish(other, www, now=NOW)
    assert {path.name: path.read_bytes() for path in www.glob("*.json")} == before


def rotate(folder: OperatorFolder, lifetime: int) -> None:
    root, _ = cosigning.plan_root(folder, RootChange(lifetime=lifetime), now=NOW)
    assert cosigning.rotate_root(folder, root) is None


def test_two_machines_that_rotate_are_noticed(
    folder: OperatorFolder, www: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder.path, tmp_path / "copy")
    copy = OperatorFolder(tmp_path / "copy")
    rotate(folder, 10 * DAY)
    operations.sign(folder, now=NOW)
    operations.publish(folder, www, now=NOW)
    for _ in range(3):
        operations.sign(copy, now=NOW)
    served_root = (www / "root.json").read_bytes()
    with pytest.raises(RegistryRollbackError):
        operations.publish(copy, www, now=NOW)
    # A site whose registry.json is still of root 1 says nothing by its version.
    PublicFolder(www).write_registry(copy.read_registry() or b"")
    operations.sign(copy, now=NOW)
    with pytest.raises(RegistryRollbackError, match="holds root 2, this folder only 1"):
        operations.publish(copy, www, now=NOW)
    rotate(copy, 20 * DAY)
    operations.sign(copy, now=NOW)
    with pytest.raises(RegistryEquivocationError, match="do two machines rotate"):
        operations.publish(copy, www, now=NOW)
    assert (www / "root.json").read_bytes() == served_root


def test_only_shards_are_removed(folder: OperatorFolder, www: Path) -> None:
    operations.sign(folder, now=NOW, shards=True)
    operations.publish(folder, www, now=NOW)
    mine = www / "shards" / "of-my-own-page.json"
    mine.write_bytes(b"{}")
    os.utime(mine, (1, 1))
    operations.sign(folder, now=NOW, shards=False)
    operations.publish(folder, www, now=NOW)
    assert mine.exists()


def test_the_operators_folder_is_never_the_target(folder: OperatorFolder) -> None:
    operations.sign(folder, now=NOW)
    with pytest.raises(ConfigError, match="with its keys"):
        operations.publish(folder, folder.path / ".." / folder.path.name, now=NOW)


def _publish_and_die(folder: Path, www: Path, writes: int, now: int) -> None:
    """Sign and publish; SIGKILL instead of write number `writes`."""
    done = 0

    def write(path: Path, content: bytes) -> None:
        nonlocal done
        done += 1
        if done == writes:
            os.kill(os.getpid(), signal.SIGKILL)
        write_file(path, content)

    public.write_file = write  # type: ignore[attr-defined] # in this process only
    opened = OperatorFolder(folder)
    operations.sign(opened, now=now, shards=True)
    operations.publish(opened, www, now=now)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_killed_at_any_write_both_folders_stay_servable(folder: OperatorFolder, www: Path) -> None:
    operations.sign(folder, now=NOW, shards=True)
    operations.publish(folder, www, now=NOW)
    context = multiprocessing.get_context("fork")
    version = 1
    killed = 0
    for writes in range(1, 20):
        now = NOW + writes
        put(folder, KEYS[0], KEYS[1], seq=5 + writes)
        arguments = (folder.path, www, writes, now)
        process = context.Process(target=_publish_and_die, args=arguments)
        process.start()
        process.join()
        for place in (folder.path, www):
            version, count = served(place, now)
            assert count == len(KEYS)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        killed += 1
    assert killed == 6  # two shards and the index, in both folders
    assert served(www, now) == served(folder.path, now) == (version, len(KEYS))


def test_two_operators_at_once_take_turns(folder: OperatorFolder, www: Path) -> None:
    def work(_number: int) -> None:
        for _ in range(5):
            operations.sign(folder, now=NOW, shards=True)
            operations.publish(folder, www, now=NOW)

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(work, range(3))) == [None] * 3
    assert served(www) == (15, len(KEYS))


def test_a_lock_that_is_held_is_said(
    folder: OperatorFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(path: Path) -> None:
        raise StoreError(f"{path} is locked by another process")

    monkeypatch.setattr(public, "file_lock", held)
    with pytest.raises(StoreError, match="locked by another"):
        operations.sign(folder, now=NOW)
