"""One database, one writer thread, group commit.

A job is a function of a connection. Jobs run one after another in the order they were handed in; those
that wait together share one transaction, each in a savepoint of its own, so that many small writes
cost one flush to disk. A job's result is given out only after its transaction is durable.

A server that is out of reach fails the jobs that wait, each with StoreError; later jobs dial again.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Self, TypeVar

from sqlalchemy import Connection

from cocoon_sdk.errors import StoreError
from cocoon_sdk.settings import state_dir
from cocoon_sdk.store import roles
from cocoon_sdk.store.writer import Job, Writer

T = TypeVar("T")

_MAX_GROUP = 64
_ASK_AGAIN = 0.2  # seconds between questions for a role


def default_url(name: str) -> str:
    """The SQLite file `name`.sqlite under the state folder; `name` may hold slashes."""
    return f"sqlite:///{state_dir() / name}.sqlite"


class Database:
    """A SQLite file or a PostgreSQL database, migrated on first use.

    Args:
        url: `sqlite:///path` or `postgresql://…`.
        migrations: the tree of Alembic revisions, as `package:folder`.

    The constructor does no I/O. Methods may be called from any thread or event loop.
    """

    def __init__(self, url: str, *, migrations: str) -> None:
        self._url = url
        self._migrations = migrations
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._required: list[str] = []
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    async def run(self, call: Callable[[Connection], T]) -> T:
        """The result of `call`, durable. If it raises, nothing of it is kept.

        Raises:
            StoreError: the database cannot be opened or written, or is closed.
        """
        return await asyncio.wrap_future(self._submit(call))

    def run_sync(self, call: Callable[[Connection], T]) -> T:
        """As `run`, blocking."""
        return self._submit(call).result()

    async def become(self, role: str, *, patience: float = 0.0) -> bool:
        """Have `role` from now on and write nothing without it, also after a lost connection.

        Returns False if another process keeps it for `patience` seconds.
        """
        had = await self._take(role, patience)
        if had and role not in self._required:
            self._required.append(role)
        return had

    @asynccontextmanager
    async def alone(self, role: str, *, patience: float = 0.0) -> AsyncIterator[bool]:
        """Have `role` while the body runs; False if another process keeps it for `patience` seconds.

        Tasks of one process are not kept apart.
        """
        had = await self._take(role, patience)
        try:
            yield had
        finally:
            if had:
                with suppress(StoreError):  # the end of the connection gives it back as well
                    await self.run(lambda connection: roles.give_back(connection, role))

    async def _take(self, role: str, patience: float) -> bool:
        until = time.monotonic() + patience
        while not await self.run(lambda connection: roles.take(connection, role)):
            if time.monotonic() >= until:
                return False
            await asyncio.sleep(_ASK_AGAIN)
        return True

    def close(self) -> None:
        """Finish the jobs handed in so far and close the connection. Closing twice is harmless."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
            if thread is not None:
                self._jobs.put(None)
        if thread is not None:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def _submit(self, call: Callable[[Connection], T]) -> Future[T]:
        job = Job(call)
        with self._lock:
            if self._closed:
                raise StoreError("the database is closed")
            self._jobs.put(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="cocoon-store", daemon=True)
                self._thread.start()
        return job.future

    def _work(self) -> None:
        writer = Writer(self._url, self._migrations, self._required)
        last = False
        try:
            while not last and (first := self._jobs.get()) is not None:
                group, last = self._gather(first)
                if not group:
                    continue
                try:
                    writer.commit(group)
                except Exception as error:  # noqa: BLE001 - everyone who waits by now gets it
                    for job in group:
                        job.error = error
                    last = self._refuse_waiting(error) or last
                for job in group:
                    job.finish()
        finally:
            writer.close()

    def _gather(self, first: Job) -> tuple[list[Job], bool]:
        """The jobs that wait now, without cancelled ones, and whether the database closes after."""
        group, waiting = [], first
        while True:
            if waiting.future.set_running_or_notify_cancel():
                group.append(waiting)
            if len(group) >= _MAX_GROUP or self._jobs.empty():
                return group, False
            following = self._jobs.get()
            if following is None:
                return group, True
            waiting = following

    def _refuse_waiting(self, error: Exception) -> bool:
        """Fail the jobs that have waited, rather than dial for each; whether the database closes."""
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is None:
                return True
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(error)
        return False
