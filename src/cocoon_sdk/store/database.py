"""One database, one writer thread, group commit.

A job is a function of a connection. Jobs run one after another in the order they were handed in; those
that wait together share one transaction, each in a savepoint of its own, so that many small writes
cost one flush to disk. A job's result is given out only after its transaction is durable.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from cocoon_sdk.errors import StoreError
from cocoon_sdk.settings import state_dir
from cocoon_sdk.store.engine import make_engine

T = TypeVar("T")

_MAX_GROUP = 64


def default_url(name: str) -> str:
    """The SQLite file `name`.sqlite under the state folder; `name` may hold slashes."""
    return f"sqlite:///{state_dir() / name}.sqlite"


class _Job:
    __slots__ = ("call", "error", "future", "result")

    def __init__(self, call: Callable[[Connection], Any]) -> None:
        self.call = call
        self.future: Future[Any] = Future()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self, connection: Connection) -> None:
        """Run in a savepoint; what the job wrote stays only if it returns."""
        try:
            with connection.begin_nested():
                self.result = self.call(connection)
        except DBAPIError as error:
            self.error = _store_error(error)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the job
            self.error = error

    def finish(self) -> None:
        """Give the outcome to whoever waits."""
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


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
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
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
        job = _Job(call)
        with self._lock:
            if self._closed:
                raise StoreError("the database is closed")
            self._jobs.put(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="cocoon-store", daemon=True)
                self._thread.start()
        return job.future

    def _work(self) -> None:
        try:
            engine = make_engine(self._url)
        except Exception as error:  # noqa: BLE001 - every waiting caller gets it
            self._refuse_all(error)
            return
        try:
            self._serve_engine(engine)
        finally:
            engine.dispose()

    def _serve_engine(self, engine: Engine) -> None:
        try:
            connection = engine.connect()
        except DBAPIError as error:
            self._refuse_all(_store_error(error))
            return
        with connection:
            try:
                # Alembic takes as long to import as the rest of a client, and only this needs it.
                from cocoon_sdk.store.migrate import migrate

                with connection.begin():
                    migrate(connection, self._migrations)
            except DBAPIError as error:
                self._refuse_all(_store_error(error))
            except Exception as error:  # noqa: BLE001 - every waiting caller gets it
                self._refuse_all(error)
            else:
                self._serve(connection)

    def _serve(self, connection: Connection) -> None:
        while (first := self._jobs.get()) is not None:
            group, last = self._gather(first)
            if group:
                _commit(connection, group)
            for job in group:
                job.finish()
            if last:
                return

    def _gather(self, first: _Job) -> tuple[list[_Job], bool]:
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

    def _refuse_all(self, error: Exception) -> None:
        while (job := self._jobs.get()) is not None:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(error)


def _commit(connection: Connection, group: list[_Job]) -> None:
    try:
        with connection.begin():
            for job in group:
                job.run(connection)
    except Exception as error:  # noqa: BLE001 - nothing of the group is durable, so all of it failed
        for job in group:
            job.error = _store_error(error) if isinstance(error, DBAPIError) else error


def _store_error(error: DBAPIError) -> StoreError:
    # Statements and parameters stay out of the message: they may name users.
    refused = StoreError(f"the database refused a transaction: {error.orig}")
    refused.__cause__ = error
    return refused
