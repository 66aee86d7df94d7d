"""An advisory lock between processes.

No dependency of the base install offers one (filelock comes only with other people's extras), and a
wallet-holding package should not grow one for two system calls.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cocoon_sdk.errors import StoreError

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _try_lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextmanager
def file_lock(path: Path, *, timeout: float | None = 10.0) -> Iterator[None]:
    """Hold an exclusive lock on `path` (made if missing, never removed). Blocks this thread.

    The system releases it when the process ends, however it ends. `timeout` None waits for ever.

    Raises:
        StoreError: another process held it for `timeout` seconds.
    """
    started = time.monotonic()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.seek(0)
        while True:
            try:
                _try_lock(file.fileno())
                break
            except OSError as error:
                if timeout is not None and time.monotonic() >= started + timeout:
                    raise StoreError(
                        f"{path} is locked by another process for more than {timeout:g} s"
                    ) from error
                time.sleep(0.01)
        try:
            yield
        finally:
            _unlock(file.fileno())
