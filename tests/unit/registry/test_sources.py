import os
from pathlib import Path

import pytest

from cocoon_sdk.errors import RegistryFormatError, RegistryUnavailableError
from cocoon_sdk.registry import sources
from cocoon_sdk.registry.sources import open_source

pytestmark = pytest.mark.anyio


async def test_bytes_have_no_root_beside_them() -> None:
    source = open_source(b"{}")
    assert source.has_changed()
    assert await source.registry(None) == (b"{}", None)
    assert not source.has_changed()
    assert await source.root(None) is None


@pytest.mark.parametrize("as_folder", [True, False])
async def test_a_file_or_its_folder(tmp_path: Path, as_folder: bool) -> None:
    for name in ("registry.json", "root.json", "2.root.json"):
        (tmp_path / name).write_text(name)
    source = open_source(tmp_path if as_folder else str(tmp_path / "registry.json"))
    fetched = await source.registry(None)
    assert fetched is not None
    assert fetched.raw == b"registry.json"
    assert await source.root(None) == b"root.json"
    assert await source.root(2) == b"2.root.json"
    assert await source.root(3) is None


async def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "registry.json"
    path.write_text("one")
    source = open_source(path)
    assert source.has_changed()
    await source.registry(None)
    assert not source.has_changed()
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert source.has_changed()
    await source.registry(None)
    path.unlink()
    assert source.has_changed()


async def test_missing_unreadable_and_oversized_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "registry.json"
    with pytest.raises(RegistryUnavailableError, match="no registry file"):
        await open_source(path).registry(None)
    monkeypatch.setattr(sources, "MAX_REGISTRY_BYTES", 10)
    path.write_text("x" * 11)
    with pytest.raises(RegistryFormatError, match="limit of 10"):
        await open_source(path).registry(None)
    path.unlink()
    source = open_source(path)
    path.mkdir()
    with pytest.raises(RegistryUnavailableError, match="cannot be read"):
        await source.registry(None)


async def test_shards_lie_in_a_folder_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "registry.json").write_text("{}")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "abc.json").write_text("[123]")
    source = open_source(tmp_path)
    assert await source.shard("abc", 5) == b"[123]"
    assert await source.shard("none", 5) is None
    with pytest.raises(RegistryFormatError, match="limit of 4"):
        await source.shard("abc", 4)
    assert await open_source(b"{}").shard("abc", 5) is None
