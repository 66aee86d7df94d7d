"""The events of one generation, moved into a queue that can be looked at without waiting."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from cocoon_provider.backends.base import Event, Generation
from cocoon_provider.failures import describe
from cocoon_sdk.errors import CocoonError, ProviderInternalError

log = logging.getLogger(__name__)

_STOP_SECONDS = 5.0


class Feed:
    """Runs a generation and sets `wake` at each event.

    Attributes:
        events: What has come and was not taken yet.
        ended: Nothing more will come.
    """

    def __init__(self, generation: Generation, wake: asyncio.Event) -> None:
        self._generation = generation
        self._wake = wake
        self._failure: CocoonError | None = None
        self.events: deque[Event] = deque()
        self.ended = False
        self._task = asyncio.create_task(self._pump(), name="cocoon-generation")

    def failure(self) -> CocoonError:
        """Why it ended without `Finished`."""
        return self._failure or ProviderInternalError("the backend stopped half-way")

    async def stop(self) -> None:
        """End the backend's work, at once where it does not answer to being cancelled."""
        self._generation.cancel()
        done, _ = await asyncio.wait((self._task,), timeout=_STOP_SECONDS)
        if not done:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _pump(self) -> None:
        try:
            async for event in self._generation:
                self.events.append(event)
                self._wake.set()
        except CocoonError as error:
            self._failure = error
        except Exception as error:  # noqa: BLE001 - as a backend's own error, without its text
            log.error("the backend failed unexpectedly: %s", describe(error))
        finally:
            self.ended = True
            self._wake.set()
