"""A copy of a SQLite database beside it, made before its schema changes."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from cocoon_sdk.errors import StoreError


def back_up(file: Path, revision: str) -> Path:
    """Copy the database as it was last committed to `<file>.<revision>.bak`; gives that path.

    A copy under that name from an earlier attempt is replaced, once the new one is complete.

    Raises:
        StoreError: it cannot be written; nothing should be changed then.
    """
    target = file.with_name(f"{file.name}.{revision}.bak")
    half = target.with_name(target.name + ".part")
    try:
        half.unlink(missing_ok=True)
        os.close(os.open(half, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with (
            closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(half)) as copy,
        ):
            source.backup(copy)
        half.replace(target)
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            half.unlink(missing_ok=True)
        raise StoreError(
            f"no copy of {file} could be made before changing its schema ({error}); "
            "make room in that folder and start again"
        ) from error
    return target
