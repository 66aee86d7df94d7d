"""An event loop beside the main thread, which stays free to read lines and to take Ctrl-C."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

LOOK_PAUSE = 0.25  # seconds; on Windows Ctrl-C is seen only between two waits


class BackgroundLoop:
    """Runs coroutines on one loop that goes on between them, so that sessions stay alive meanwhile.

    A context manager; leaving it cancels what still runs there.
    """

    def __enter__(self) -> Self:
        self._stop = asyncio.Event()
        ready: Future[asyncio.AbstractEventLoop] = Future()

        async def serve() -> None:
            ready.set_result(asyncio.get_running_loop())
            await self._stop.wait()

        self._thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        self._thread.start()
        self._loop = ready.result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait for the coroutine's result. Ctrl-C cancels it; a coroutine may still return something then.

        Raises:
            KeyboardInterrupt: it was cancelled, or Ctrl-C came a second time.
        """
        ended: Future[T] = Future()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            tasks.append(self._loop.create_task(coroutine))
            tasks[0].add_done_callback(lambda task: _hand_over(task, ended))

        def stop() -> None:
            if tasks:
                tasks[0].cancel()
            else:  # Ctrl-C came before `begin` was handed over
                coroutine.close()
                ended.set_exception(KeyboardInterrupt())

        try:
            self._loop.call_soon_threadsafe(begin)
            _await(ended)
        except KeyboardInterrupt:
            self._loop.call_soon_threadsafe(stop)
            _await(ended)
        return ended.result()


def _await(ended: Future[Any]) -> None:
    while not wait((ended,), timeout=LOOK_PAUSE).done:
        pass


def _hand_over(task: asyncio.Task[T], ended: Future[T]) -> None:
    if task.cancelled():
        ended.set_exception(KeyboardInterrupt())
        return
    error = task.exception()
    if error is not None:
        ended.set_exception(error)
    else:
        ended.set_result(task.result())
