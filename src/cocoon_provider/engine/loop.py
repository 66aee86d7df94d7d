"""The engine thread: it alone touches the model. Commands come in by a queue, events leave once a step.

Every sequence that may run takes turns, one step each, so that one that waits for its voucher holds up
nobody. Sequences beyond the runner's rows wait in order of their first grant.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Protocol

from cocoon_provider.backends.base import Event, Finished
from cocoon_provider.engine.sequence import Scores, Sequence, Step
from cocoon_provider.failures import describe
from cocoon_sdk.errors import ProviderInternalError

NO_ROW = -1
_log = logging.getLogger("cocoon_provider.engine")


class Runs(Protocol):
    """What the loop needs of a `Runner`."""

    rows: int

    def run(self, row: int, past: int, tokens: tuple[int, ...]) -> Scores:
        """Scores after appending tokens to a row; valid until the next call."""
        ...


class EngineGeneration:
    """A sequence as the event loop sees it; see `backends.base.Generation`."""

    def __init__(
        self, sequence: Sequence, *, prompt_tokens: int, max_tokens: int, engine: Engine
    ) -> None:
        self.sequence = sequence  # the engine thread's, after the first grant
        self.row = NO_ROW  # likewise
        self._prompt_tokens = prompt_tokens
        self._max_tokens = max_tokens
        self._engine = engine
        self._events: asyncio.Queue[Event | ProviderInternalError] = asyncio.Queue()
        engine.post(partial(engine.opened, self))

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt and of a resume."""
        return self._prompt_tokens

    @property
    def max_tokens(self) -> int:
        """The most completion tokens that will come."""
        return self._max_tokens

    def grant(self, *, prompt: int, completion: int) -> None:
        """Allow work up to these totals."""
        self._engine.post(partial(self._engine.granted, self, prompt, completion))

    def cancel(self) -> None:
        """Stop within one step."""
        self._engine.post(partial(self._engine.cancelled, self))

    async def __aiter__(self) -> AsyncIterator[Event]:
        """The events, once."""
        while True:
            event = await self._events.get()
            if isinstance(event, ProviderInternalError):
                raise event
            yield event
            if isinstance(event, Finished):
                return

    def deliver(self, event: Event | ProviderInternalError) -> None:
        """Called on the event loop."""
        self._events.put_nowait(event)


class Engine:
    """Owns the thread of one model.

    Args:
        runner: The model.
        loop: The event loop that events are handed to.
    """

    def __init__(self, runner: Runs, loop: asyncio.AbstractEventLoop) -> None:
        self._runner = runner
        self._loop = loop
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._free = list(range(runner.rows - 1, -1, -1))  # the lowest row is taken first
        self._known: set[EngineGeneration] = set()
        self._turns: deque[EngineGeneration] = deque()  # those with a row, next one first
        self._queue: deque[EngineGeneration] = deque()  # those without, in order
        self._out: list[tuple[EngineGeneration, Event | ProviderInternalError]] = []
        self._thread = threading.Thread(target=self._work, name="cocoon-engine", daemon=True)
        self._thread.start()

    def post(self, command: Callable[[], None]) -> None:
        """Have the engine thread do something between two steps."""
        self._commands.put(command)

    def stop(self) -> None:
        """Cancel everything and end the thread; blocks for at most a step."""
        self._commands.put(None)
        self._thread.join()

    # On the engine thread from here on.

    def opened(self, generation: EngineGeneration) -> None:
        """Remember a sequence until its end."""
        self._known.add(generation)

    def granted(self, generation: EngineGeneration, prompt: int, completion: int) -> None:
        """Raise a grant; the first one queues the sequence."""
        if generation.sequence.finished:
            return
        if generation.row == NO_ROW and generation not in self._queue:
            self._queue.append(generation)
        self._attempt(generation, lambda: generation.sequence.grant(prompt, completion))

    def cancelled(self, generation: EngineGeneration) -> None:
        """End a sequence."""
        if not generation.sequence.finished:
            self._attempt(generation, generation.sequence.cancel)

    def _work(self) -> None:
        while self._obey():
            while self._queue and self._free:
                generation = self._queue.popleft()
                generation.row = self._free.pop()
                self._turns.append(generation)
            self._turn()
            self._flush()
        for generation in tuple(self._known):
            self.cancelled(generation)
        self._flush()

    def _obey(self) -> bool:
        """Carry out what was posted; wait for something when there is nothing to run."""
        while True:
            idle = not any(generation.sequence.step() for generation in self._turns)
            try:
                command = self._commands.get(block=idle and not (self._queue and self._free))
            except queue.Empty:
                return True
            if command is None:
                return False
            command()
            self._flush()

    def _turn(self) -> None:
        """Run one step of the next sequence that has one."""
        for _ in range(len(self._turns)):
            generation = self._turns.popleft()
            self._turns.append(generation)
            step = generation.sequence.step()
            if step is not None:
                self._attempt(generation, partial(self._run, generation, step))
                return

    def _run(self, generation: EngineGeneration, step: Step) -> list[Event]:
        scores = self._runner.run(generation.row, step.past, step.tokens)
        return generation.sequence.commit(step, scores)

    def _attempt(self, generation: EngineGeneration, work: Callable[[], list[Event]]) -> None:
        """Do something for a sequence and keep its events; a failure ends only that sequence."""
        try:
            events = work()
        except Exception as error:  # noqa: BLE001 - whatever the runtime raises, the others go on
            # Not the message: it may quote the prompt.
            _log.error("a request failed in the engine: %s", describe(error))
            generation.sequence.finished = True
            failure = ProviderInternalError("the model failed on this request")
            failure.__cause__ = error
            self._out.append((generation, failure))
        else:
            self._out += [(generation, event) for event in events]
        if generation.sequence.finished:
            self._leave(generation)

    def _leave(self, generation: EngineGeneration) -> None:
        self._known.discard(generation)
        if generation.row != NO_ROW:
            self._turns.remove(generation)
            self._free.append(generation.row)
            self._free.sort(reverse=True)
            generation.row = NO_ROW
        elif generation in self._queue:
            self._queue.remove(generation)

    def _flush(self) -> None:
        """Hand all events since the last step over, in one call."""
        if not self._out:
            return
        out, self._out = self._out, []
        try:
            self._loop.call_soon_threadsafe(_deliver, out)
        except RuntimeError:  # the event loop is closed: nobody listens any more
            _log.debug("events after the end of the event loop")


def _deliver(out: list[tuple[EngineGeneration, Event | ProviderInternalError]]) -> None:
    for generation, event in out:
        generation.deliver(event)
