import hashlib
import json
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from cocoon_sdk.errors import RegistryEquivocationError, StoreError
from cocoon_sdk.registry.cache import RegistryCache, Remembered
from cocoon_sdk.registry.verify import Seen

TRUST = "ab" * 32


def seen(version: int, text: str = "", root_version: int = 1) -> Seen:
    return Seen(root_version, version, hashlib.sha256(f"{version}{text}".encode()).digest())


def one(version: int, **changes: object) -> Remembered:
    made = Remembered("devnet/x", (b"r1",), seen(version), b"envelope %d" % version)
    return replace(made, **changes)


def cache_at(path: Path) -> RegistryCache:
    return RegistryCache(path, TRUST)


def test_what_is_stored_is_loaded(tmp_path: Path) -> None:
    cache_at(tmp_path).store(one(3, seqs={"p": 4}))
    assert cache_at(tmp_path).load("devnet/x") == one(3, seqs={"p": 4})


def test_nothing_is_known_at_first_or_without_a_folder(tmp_path: Path) -> None:
    assert cache_at(tmp_path).load("devnet/x") is None
    assert cache_at(tmp_path).network_of("here") is None
    assert cache_at(tmp_path).etag("here", b"1") is None
    memory = RegistryCache(None, TRUST)
    assert memory.store(one(1)) == one(1)
    assert memory.load("devnet/x") is None
    memory.note("here", "devnet/x", b"1", '"t"')
    assert memory.network_of("here") is None
    assert memory.folder("devnet/x") is None


def test_a_source_is_known_by_the_network_it_gave(tmp_path: Path) -> None:
    cache_at(tmp_path).note("here", "devnet/x", b"1", '"t"')
    assert cache_at(tmp_path).network_of("here") == "devnet/x"
    assert cache_at(tmp_path).network_of("there") is None


def test_the_tag_belongs_to_one_envelope_at_one_source(tmp_path: Path) -> None:
    cache_at(tmp_path).note("here", "devnet/x", b"1", '"t"')
    cache = cache_at(tmp_path)
    assert cache.etag("here", b"1") == '"t"'
    assert cache.etag("here", b"2") is None
    assert cache.etag("there", b"1") is None
    cache.note("here", "devnet/x", b"2", None)
    assert cache.etag("here", b"1") is None
    assert cache.etag("here", b"2") is None


def test_roots_may_be_all_there_is(tmp_path: Path) -> None:
    """A root that replaces stolen keys is kept before any registry came under it."""
    only = Remembered("devnet/x", (b"r1", b"r2"))
    assert cache_at(tmp_path).store(only) == only
    assert cache_at(tmp_path).load("devnet/x") == only
    assert cache_at(tmp_path).store(one(3)) == one(3, roots=(b"r1", b"r2"))


@pytest.mark.parametrize("lost", ["root_version", "version", "digest"])
def test_half_a_floor_is_none(tmp_path: Path, lost: str) -> None:
    cache_at(tmp_path).store(one(3))
    [path] = tmp_path.glob("*/*/state.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {lost: None}))
    loaded = cache_at(tmp_path).load("devnet/x")
    assert loaded is not None
    assert loaded.seen is None


def test_a_file_of_another_network_is_not_taken(tmp_path: Path) -> None:
    cache_at(tmp_path).store(one(3))
    [path] = tmp_path.glob("*/*/state.json")
    path.write_text(path.read_text().replace("devnet/x", "devnet/y"))
    assert cache_at(tmp_path).load("devnet/x") is None


def test_other_trust_and_other_networks_are_apart(tmp_path: Path) -> None:
    cache_at(tmp_path).store(one(3))
    assert RegistryCache(tmp_path, "cd" * 32).load("devnet/x") is None
    assert cache_at(tmp_path).load("devnet/y") is None


def test_what_the_anchor_confirmed_stays_until_something_newer_is(tmp_path: Path) -> None:
    cache = cache_at(tmp_path)
    cache.store(one(3, anchored=b"3"))
    assert cache.store(one(3)).anchored == b"3"
    assert cache.store(one(4, anchored=b"4")).anchored == b"4"
    assert cache.store(one(3, anchored=b"3")).anchored == b"4"
    assert cache.store(one(0, seen=None, envelope=None, anchored=b"x")).anchored == b"4"


def test_an_older_version_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    cache = cache_at(tmp_path)
    cache.store(one(3, seqs={"p": 4}))
    merged = cache.store(one(2, seqs={"p": 1, "q": 2}))
    assert merged.seen == seen(3)
    loaded = cache.load("devnet/x")
    assert loaded is not None
    assert (loaded.seen, loaded.envelope) == (seen(3), b"envelope 3")
    assert loaded.seqs == {"p": 4, "q": 2}


def test_the_root_version_comes_first(tmp_path: Path) -> None:
    cache = cache_at(tmp_path)
    cache.store(one(900))
    merged = cache.store(one(2, seen=seen(2, root_version=2), roots=(b"r1", b"r2")))
    assert merged.seen == seen(2, root_version=2)
    assert cache.store(one(900)).seen == seen(2, root_version=2)
    loaded = cache.load("devnet/x")
    assert loaded is not None
    assert loaded.roots == (b"r1", b"r2")


def test_roots_alone_keep_floor_and_envelope(tmp_path: Path) -> None:
    cache = cache_at(tmp_path)
    cache.store(one(3))
    cache.store(Remembered("devnet/x", (b"r1", b"r2"), seqs={"p": 1}))
    assert cache.load("devnet/x") == one(3, roots=(b"r1", b"r2"), seqs={"p": 1})


def test_a_fork_between_workers_is_an_equivocation(tmp_path: Path) -> None:
    cache = cache_at(tmp_path)
    cache.store(one(3))
    with pytest.raises(RegistryEquivocationError, match="version 3") as caught:
        cache.store(one(3, seen=seen(3, "fork"), envelope=b"other"))
    assert caught.value.envelopes == (b"envelope 3", b"other")
    with pytest.raises(RegistryEquivocationError) as caught:
        cache.store(one(3, seen=seen(3, "fork"), envelope=None))
    assert caught.value.envelopes == (b"envelope 3",)
    assert cache.load("devnet/x") == one(3)


@pytest.mark.parametrize("name", ["state.json", "registry.json"])
def test_damage_is_survived(tmp_path: Path, name: str) -> None:
    cache = cache_at(tmp_path)
    cache.store(one(3))
    (path,) = tmp_path.rglob(f"*/{name}")
    path.write_bytes(b"\xff damaged")
    loaded = cache.load("devnet/x")
    if name == "state.json":
        assert loaded is None
    else:
        assert loaded is not None
        assert (loaded.seen, loaded.envelope) == (seen(3), b"\xff damaged")  # the floor stays
    cache.store(one(4))
    assert cache.load("devnet/x") == one(4)


def test_many_workers_at_once_leave_the_highest_version_whole(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def work(start: int) -> None:
        cache = cache_at(tmp_path)
        try:
            for version in range(start, 40, 4):
                cache.store(one(version))
                loaded = cache.load("devnet/x")
                assert loaded is not None
                assert loaded.seen is not None
                assert loaded.seen.version >= version
        except BaseException as error:  # noqa: BLE001 - reported by the test's thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    loaded = cache_at(tmp_path).load("devnet/x")
    assert loaded is not None
    assert (loaded.seen, loaded.envelope) == (seen(39), b"envelope 39")
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root ignores permissions")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(StoreError, match="COCOON_HOME"):
        cache_at(tmp_path / "x").store(one(1))


def test_a_file_in_the_way_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(StoreError, match="COCOON_HOME"):
        cache_at(tmp_path / "x").store(one(1))
    with pytest.raises(StoreError, match="COCOON_HOME"):
        cache_at(tmp_path / "x").note("here", "devnet/x", b"1", None)


def test_roots_before_the_first_registry(tmp_path: Path) -> None:
    bare = Remembered("devnet/x", (b"r1",))
    cache_at(tmp_path).store(bare)
    assert cache_at(tmp_path).load("devnet/x") == bare
    assert cache_at(tmp_path).store(one(1)).seen == seen(1)
