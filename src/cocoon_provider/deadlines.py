"""When a session has to end: idle, too old, or a handshake that takes too long (wire.md, "Limits")."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cocoon_sdk.protocol.errors import RemoteProtocolError
from cocoon_sdk.protocol.session import ServerSession

_BUSY_POLL = 1.0
_NO_DEADLINE_POLL = 60.0


async def overdue(
    session: ServerSession, busy: Callable[[], bool], clock: Callable[[], float]
) -> RemoteProtocolError:
    """Wait until the session has outlived a deadline; why it ends. One that is `busy` is given time."""
    while True:
        deadline = session.deadline()
        delay = _NO_DEADLINE_POLL if deadline is None else deadline - clock()
        await asyncio.sleep(max(0.01, delay))
        if busy():
            await asyncio.sleep(_BUSY_POLL)
            continue
        try:
            session.on_timer()
        except RemoteProtocolError as error:
            return error
