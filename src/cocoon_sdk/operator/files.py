"""Files that are whole or not there at all, and that a web server may read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cocoon_sdk.errors import ConfigError

PUBLIC = 0o644


def read_file(path: Path, *, limit: int | None = None) -> bytes | None:
    """The content, None where there is no such file; one byte above `limit` shows an overrun.

    Raises:
        ConfigError: it is there and cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read() if limit is None else file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None


def write_file(path: Path, content: bytes) -> None:
    """Write beside the target, flush, rename over it; readable by a web server.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise ConfigError(f"{path.parent} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(PUBLIC)  # mkstemp makes 0600, which a web server could not read
        Path(name).replace(path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error
        raise


def make_folder(path: Path, *, mode: int = 0o777) -> None:
    """Make a folder and those above it; `mode` is that of the folder itself.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be made: {error.strerror}") from None
