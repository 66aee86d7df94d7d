"""ATTEST_CHALLENGE on stream 0, and what comes back (wire.md, "Attestation")."""

from __future__ import annotations

import asyncio
from typing import Protocol

from cocoon_sdk.errors import CocoonError
from cocoon_sdk.protocol.messages import Attest, AttestChallenge, Error, Message
from cocoon_sdk.transport.failures import twin
from cocoon_sdk.types.attestation import AttestationResult


class Sender(Protocol):
    """The part of a connection that a question needs."""

    async def send(self, stream: int, message: Message, *, end: bool = False) -> None:
        """Seal and write one message."""
        ...


class SessionQuotes:
    """Quotes for one session: the question that is out, and the verdict on its answer.

    `lock` is held by whoever asks, so that one question is out at a time.
    """

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.result: AttestationResult | None = None
        self._waiting: asyncio.Future[Attest | Error] | None = None

    async def ask(self, sender: Sender) -> Attest | Error:
        """The provider's answer.

        Raises:
            StreamTruncatedError, DecryptionError: the connection is over.
        """
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_future()
            await sender.send(0, AttestChallenge())
        # Whoever gave up left its question open; the next one waits for the same answer.
        answer = await asyncio.shield(self._waiting)
        self._waiting = None
        return answer

    def deliver(self, message: Attest | Error) -> None:
        """A frame of stream 0. One that nobody waits for is dropped."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(message)

    def fail(self, error: CocoonError) -> None:
        """The connection is over."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(twin(error))
            self._waiting.exception()  # marks it as seen, should nobody be waiting
