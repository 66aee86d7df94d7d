"""The one connection that writes: opened when needed, replaced when lost, one transaction per group of jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from cocoon_sdk.errors import StoreError
from cocoon_sdk.store import roles
from cocoon_sdk.store.engine import in_transaction, is_lost, make_engine
from cocoon_sdk.store.watchdog import watched


class Job:
    """A function of a connection, and who waits for its result."""

    __slots__ = ("call", "error", "future", "result")

    def __init__(self, call: Callable[[Connection], Any]) -> None:
        self.call = call
        self.future: Future[Any] = Future()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self, connection: Connection, *, alone: bool) -> None:
        """Run in a savepoint: what the job wrote stays only if it returns. Alone it needs none."""
        said: SQLAlchemyError | None = None
        try:
            with nullcontext() if alone else connection.begin_nested():
                try:
                    self.result = self.call(connection)
                except SQLAlchemyError as error:
                    said = error  # where the transaction is gone the savepoint fails too, and says less
                    raise
        except SQLAlchemyError as error:
            self.error = _store_error(said or error)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the job
            self.error = error

    def finish(self) -> None:
        """Give the outcome to whoever waits."""
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Writer:
    """Writes to one database; used by one thread. Opens nothing before the first jobs.

    Args:
        migrations: the tree of revisions, as `package:folder`.
        required: roles without which nothing is written; the list may grow.
    """

    def __init__(self, url: str, migrations: str, required: Sequence[str]) -> None:
        self._url = url
        self._migrations = migrations
        self._required = required
        self._engine: Engine | None = None
        self._connection: Connection | None = None

    def commit(self, group: Sequence[Job]) -> None:
        """Run the jobs and make them durable together: each has a result or an error afterwards.

        Raises:
            Exception: the database cannot be opened; no job was run.
        """
        # A server that went away and came back is noticed when the next transaction begins. Nothing
        # has been asked of it then, so that this and only this is tried again.
        if not self._try(group, last=self._connection is None):
            self._try(group, last=True)

    def close(self) -> None:
        """Give the connection back, and with it all roles."""
        self._drop()
        if self._engine is not None:
            self._engine.dispose()

    def _try(self, group: Sequence[Job], *, last: bool) -> bool:
        """Whether the jobs have got their outcome."""
        connection = self._connected()
        began = worked = False
        alone = len(group) == 1
        try:
            with watched(connection), connection.begin():
                began = True
                for job in group:
                    job.run(connection, alone=alone)
                    if (alone and job.error is not None) or not in_transaction(connection):
                        raise job.error or StoreError("the database ended a transaction")
                worked = True
        except BaseException as error:  # noqa: BLE001 - nothing of the group is known to be durable
            lost = is_lost(connection)
            if lost:
                self._drop()
                if not began and not last:
                    return False
            failure = _failure(error, committing=worked and lost)
            for job in group:
                job.error = failure
        return True

    def _connected(self) -> Connection:
        if self._connection is None:
            try:
                self._engine = self._engine or make_engine(self._url)
                self._connection = self._open(self._engine)
            except SQLAlchemyError as error:
                raise _store_error(error) from error
        return self._connection

    def _open(self, engine: Engine) -> Connection:
        # Alembic takes as long to import as the rest of a client, and only this needs it.
        from cocoon_sdk.store.migrate import migrate

        connection = engine.connect()
        try:
            with connection.begin():
                for role in self._required:
                    if not roles.take(connection, role):
                        raise StoreError(
                            f"another process became {role} while the database was out of reach; "
                            "this one writes nothing more: stop it"
                        )
                migrate(connection, self._migrations)
        except BaseException:
            _release(connection)
            raise
        return connection

    def _drop(self) -> None:
        if self._connection is not None:
            _release(self._connection)
            self._connection = None


def _release(connection: Connection) -> None:
    if not is_lost(connection):
        roles.give_back_all(connection)
    connection.close()


def _failure(error: BaseException, *, committing: bool) -> BaseException:
    if committing:
        lost = StoreError(
            "the connection to the database was lost during a commit; whether the changes were kept "
            "will be seen when it is back"
        )
        lost.__cause__ = error
        return lost
    return _store_error(error) if isinstance(error, SQLAlchemyError) else error


def _store_error(error: SQLAlchemyError) -> StoreError:
    # Statements and parameters stay out of the message: they may name users.
    said = error.orig if isinstance(error, DBAPIError) else type(error).__name__
    refused = StoreError(f"the database refused a transaction: {said}")
    refused.__cause__ = error
    return refused
