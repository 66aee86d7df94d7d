"""Cache files that several processes read and write: whole or not at all."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")

_log = logging.getLogger(__name__)


def read_bytes(path: Path) -> bytes | None:
    """The content, or None where the file cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def read_json(path: Path, kind: type[T]) -> T | None:
    """The content as `kind`; None where it cannot be read or is damaged."""
    raw = read_bytes(path)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=kind)
    except ValueError:
        _log.warning("the cache file %s is damaged and is ignored", path)
        return None


def replace_file(path: Path, content: bytes) -> None:
    """Write beside the target, flush, then rename over it: readers see the old or the new file."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
