"""Spending limits that survive restarts (payments.md §5).

Before a request its highest possible cost is reserved in every scope, in one transaction; on the receipt
it settles to what was charged. A reservation whose outcome nobody reported counts as spent in full. Hours
and days are those of UTC, so that a crash loop cannot reset them.

Accounts: `""` is the client's own; each user of `for_user` has one more, and counts in both.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields

from sqlalchemy import Connection, delete, insert, select, update

from cocoon_sdk.errors import BudgetExceededError
from cocoon_sdk.payments.amounts import format_amount, parse_amount
from cocoon_sdk.payments.tables import budget_reservations, budget_windows
from cocoon_sdk.store.database import Database

HOUR = 3600
DAY = 24 * HOUR
STALE_AFTER = DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits: strings are coins (`"0.02"`), integers nano, None means no limit.

    Attributes:
        request: one request.
        user: everything that any one user of `for_user` spends.
        hour: one hour of the clock, in UTC.
        day: one day, in UTC.
        total: for ever.
    """

    request: str | int | None = None
    user: str | int | None = None
    hour: str | int | None = None
    day: str | int | None = None
    total: str | int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            self.limit(field.name)

    def limit(self, scope: str) -> int | None:
        """The limit of a scope in nano.

        Raises:
            ConfigError: it is not an amount.
        """
        value: str | int | None = getattr(self, scope)
        return None if value is None else parse_amount(value)


class Reservation:
    """A reserved amount, while its request runs. Without `settle` it is released."""

    def __init__(self, nano: int) -> None:
        self.nano = nano
        self.charged = 0

    def settle(self, nano: int) -> None:
        """Say what was charged, in nano; the last word counts."""
        self.charged = nano


class BudgetLedger:
    """Reserves and settles in one account and, for a user, in the client's own as well.

    Args:
        database: the client's ledger.
        budget: limits of the client's own account.
        user: name of a user's account; empty for the client itself.
        user_budget: further limits of that user.
        clock: unix seconds.
    """

    def __init__(
        self,
        database: Database,
        budget: Budget,
        *,
        user: str = "",
        user_budget: Budget | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._clock = clock
        self._scopes: list[tuple[str, Budget]] = [("", budget)]
        if user:
            self._scopes.append((user, user_budget or Budget()))
            self._user_cap = budget.limit("user")
        else:
            self._user_cap = None

    @asynccontextmanager
    async def reserve(
        self, reservation: bytes, nano: int, provider: str
    ) -> AsyncIterator[Reservation]:
        """Reserve while the body runs, then settle what it said was charged.

        Raises:
            BudgetExceededError: a scope has too little left; nothing was reserved.
        """
        await self.open(reservation, nano, provider)
        held = Reservation(nano)
        try:
            yield held
        finally:
            await self.settle(reservation, held.charged)

    async def open(self, reservation: bytes, nano: int, provider: str) -> None:
        """Reserve `nano` in every scope, or in none.

        Raises:
            BudgetExceededError: a scope has too little left.
        """
        now = int(self._clock())

        def work(connection: Connection) -> None:
            _settle_stale(connection, now)
            for account, budget in self._scopes:
                _check_request(budget, nano, account)
                limits = self._limits(account, budget)
                for window in _windows(now):
                    _add(connection, account, window, nano, limits.get(window.partition(":")[0]))
                connection.execute(
                    insert(budget_reservations).values(
                        reservation=reservation,
                        account=account,
                        provider=provider,
                        reserved_at=now,
                        nano=nano,
                    )
                )

        await self._database.run(work)

    async def settle(self, reservation: bytes, nano: int) -> None:
        """Replace a reservation by what was charged; settled twice, the second changes nothing."""

        def work(connection: Connection) -> None:
            table = budget_reservations
            mine = table.c.reservation == reservation
            for row in connection.execute(select(table).where(mine)).all():
                for window in _windows(row.reserved_at):
                    _add(connection, row.account, window, nano - row.nano, None)
            connection.execute(delete(table).where(mine))

        await self._database.run(work)

    async def spent(self, account: str = "") -> dict[str, int]:
        """Nano settled and reserved in the present hour, the present day, and in total."""
        now = int(self._clock())

        def work(connection: Connection) -> dict[str, int]:
            return {
                window.partition(":")[0]: _spent(connection, account, window) or 0
                for window in _windows(now)
            }

        return await self._database.run(work)

    def _limits(self, account: str, budget: Budget) -> dict[str, tuple[str, int]]:
        """Per window: the name of the scope that limits it, and the limit."""
        limits = {
            scope: (scope, limit)
            for scope in ("hour", "day", "total")
            if (limit := budget.limit(scope)) is not None
        }
        if account and self._user_cap is not None:
            total = limits.get("total")
            if total is None or self._user_cap < total[1]:
                limits["total"] = ("user", self._user_cap)
        return limits


def _windows(now: int) -> Sequence[str]:
    return (f"hour:{now // HOUR}", f"day:{now // DAY}", "total")


def _check_request(budget: Budget, nano: int, account: str) -> None:
    limit = budget.limit("request")
    if limit is not None and nano > limit:
        raise _exceeded("request", account, limit, 0, nano)


def _add(
    connection: Connection, account: str, window: str, nano: int, limit: tuple[str, int] | None
) -> None:
    before = _spent(connection, account, window)
    after = (before or 0) + nano
    if limit is not None and after > limit[1]:
        raise _exceeded(limit[0], account, limit[1], before or 0, nano)
    if before is None:
        connection.execute(
            insert(budget_windows).values(account=account, window=window, nano=after)
        )
    else:
        connection.execute(
            update(budget_windows)
            .where(budget_windows.c.account == account, budget_windows.c.window == window)
            .values(nano=after)
        )


def _spent(connection: Connection, account: str, window: str) -> int | None:
    return connection.execute(
        select(budget_windows.c.nano).where(
            budget_windows.c.account == account, budget_windows.c.window == window
        )
    ).scalar_one_or_none()


def _settle_stale(connection: Connection, now: int) -> None:
    # Their amount stays in the windows: without an outcome the worst is assumed.
    old = budget_reservations.c.reserved_at < now - STALE_AFTER
    connection.execute(delete(budget_reservations).where(old))


def _exceeded(scope: str, account: str, limit: int, spent: int, needed: int) -> BudgetExceededError:
    whose = f" of {account}" if account else ""
    wait = f", wait for the next {scope}" if scope in {"hour", "day"} else ""
    return BudgetExceededError(
        f"the {scope} budget{whose} allows {format_amount(limit)} coins, {format_amount(spent)} are "
        f"spent or reserved, and this request may cost {format_amount(needed)}; raise the budget"
        f"{wait} or ask for fewer tokens",
        scope=scope,
        limit=limit,
        spent=spent,
        needed=needed,
    )
