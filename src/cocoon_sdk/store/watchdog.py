"""Ends a connection whose server keeps silent: it may be stopped while its host still answers for it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection

_SILENCE = 60.0  # seconds for a whole transaction; the server itself gives up sooner when it can


@contextmanager
def watched(connection: Connection) -> Iterator[None]:
    """While the body runs, for so long at most, the connection is trusted to get its answers."""
    driver: Any = connection.connection.driver_connection
    if connection.engine.dialect.name != "postgresql" or driver.closed:
        yield
        return
    with _own(driver.fileno()) as line:
        timer = threading.Timer(_SILENCE, _cut, [line])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()  # it must not cut what has the number next


def _own(descriptor: int) -> socket.socket:
    """The same connection under a number of our own, which stays ours when the driver closes its."""
    theirs = socket.socket(fileno=descriptor)
    try:
        return theirs.dup()
    finally:
        theirs.detach()


def _cut(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
