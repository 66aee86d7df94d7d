"""What all requests of a client share: registry, sessions, channels, budget, background tasks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.payments.budget import BudgetLedger
from cocoon_sdk.payments.channel import PaymentChannel
from cocoon_sdk.payments.channels import load_channels
from cocoon_sdk.registry.fetch import RegistryClient
from cocoon_sdk.store.database import Database
from cocoon_sdk.transport.pool import Pool
from cocoon_sdk.types.events import Event

logger = logging.getLogger("cocoon_sdk.transport")

BACKGROUND_GRACE = 6.0  # a little more than an abandoned attempt waits for its receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds. `total` None means no limit on the whole request."""

    connect: float = 10.0
    first_token: float = 20.0
    idle: float = 15.0
    total: float | None = 600.0

    def __post_init__(self) -> None:
        for name in ("connect", "first_token", "idle", "total"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"the timeout {name} is {value!r}; it must be above 0 seconds")


class Core:
    """Opened on the first request, on that request's event loop; closed once."""

    def __init__(
        self,
        *,
        registry: RegistryClient,
        database: Callable[[], Database],
        master: Callable[[], Ed25519Key | None],
        budget: Callable[[Database], BudgetLedger],
        on_event: Callable[[Event], None] | None,
        padding: str,
    ) -> None:
        self.registry = registry
        self.pool = Pool(padding=padding)
        self.quarantined: dict[str, str] = {}
        self.salt = secrets.token_bytes(16)
        self._make_database = database
        self._make_master = master
        self._make_budget = budget
        self._on_event = on_event
        self._database: Database | None = None
        self._budget: BudgetLedger | None = None
        self._channels: dict[str, PaymentChannel] | None = None
        self._opening = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    def enter(self) -> None:
        """Bind to the running loop.

        Raises:
            ConfigError: closed, or used from another event loop than before.
        """
        loop = asyncio.get_running_loop()
        if self.closed:
            raise ConfigError("this client is closed; make a new one")
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            raise ConfigError(
                "this client was first used on another event loop; make one client per loop"
            )

    @property
    def opened(self) -> bool:
        """Whether there is anything to close."""
        return self._loop is not None and not self.closed

    async def ledger(self) -> tuple[Mapping[str, PaymentChannel], BudgetLedger]:
        """The open channels by provider id (hex), and the budget; opened on first use."""
        async with self._opening:
            if self._database is None:
                self._database = await asyncio.to_thread(self._make_database)
            if self._budget is None:
                self._budget = self._make_budget(self._database)
            if self._channels is None:
                await self._load(self._database)
            assert self._channels is not None  # noqa: S101 - set by _load
            return self._channels, self._budget

    async def reload_channels(self) -> None:
        """Look into the ledger again, after a channel was opened or closed."""
        async with self._opening:
            if self._database is not None:
                await self._load(self._database)

    async def _load(self, database: Database) -> None:
        master = await asyncio.to_thread(self._make_master)
        known = self._channels or {}
        found = await load_channels(database, master) if master is not None else ()
        self._channels = {}
        for channel in found:
            name = channel.provider_key.hex()
            # An object with open streams keeps its lock and counters.
            old = known.get(name)
            same = old is not None and old.address == channel.address and old.epoch == channel.epoch
            self._channels[name] = old if same and old is not None else channel

    def emit(self, event: Event) -> None:
        """Hand an event to the user's callback; its errors are logged, never raised into a request."""
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:
            logger.exception("the on_event callback failed")

    def background(self, work: Coroutine[Any, Any, None]) -> object:
        """Run something that outlives the request, such as the end of a cancelled one."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Let cancelled requests take their receipts, then close sessions, registry and database."""
        if self.closed:
            return
        self.closed = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BACKGROUND_GRACE):
                while self._tasks:
                    await asyncio.wait(set(self._tasks))
        for task in set(self._tasks):
            task.cancel()
        await self.pool.close()
        await self.registry.aclose()
        if self._database is not None:
            await asyncio.to_thread(self._database.close)


def total_deadline(timeouts: Timeouts) -> float | None:
    """The `time.monotonic` moment at which a request that starts now must be over."""
    return None if timeouts.total is None else time.monotonic() + timeouts.total
