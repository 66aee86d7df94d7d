"""Cache files: whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from cocoon_sdk.registry.files import read_bytes, read_json, replace_file


def test_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    replace_file(path, b"[1]")
    replace_file(path, b"[2]")
    assert read_bytes(path) == b"[2]"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(OSError):
        replace_file(path, b"x")
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_read_is_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.json"
    assert read_bytes(path) is None
    assert read_json(path, list[int]) is None
    assert caplog.text == ""
    path.write_bytes(b"[1]")
    assert read_json(path, list[int]) == [1]
    path.write_bytes(b"[1")
    assert read_json(path, list[int]) is None
    assert "damaged" in caplog.text
