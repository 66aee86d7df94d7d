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

from cocoon_sdk.errors import CocoonError, ConfigError, VerificationError
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.payments import ledger
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus
from cocoon_sdk.payments.budget import BudgetLedger
from cocoon_sdk.payments.channel import PaymentChannel
from cocoon_sdk.payments.channels import list_channels, load_channels
from cocoon_sdk.payments.receipt import Receipt
from cocoon_sdk.registry.union import Registry
from cocoon_sdk.store.database import Database
from cocoon_sdk.transport.attest import Attestations
from cocoon_sdk.transport.bundle import Bundles
from cocoon_sdk.transport.gossip import Gossip
from cocoon_sdk.transport.job import Stoppable
from cocoon_sdk.transport.pool import Pool
from cocoon_sdk.transport.sites import Sites
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
            if value is None and name == "total":
                continue
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not value > 0:
                raise ConfigError(f"the timeout {name} is {value!r}; it must be above 0 seconds")


class Core:
    """Opened on the first request, on that request's event loop; closed once."""

    def __init__(
        self,
        *,
        registry: Registry,
        database: Callable[[], Database],
        master: Callable[[], Ed25519Key | None],
        budget: Callable[[Database], BudgetLedger],
        on_event: Callable[[Event], None] | None,
        padding: str,
        attestations: Attestations | None = None,
    ) -> None:
        self.registry = registry
        self.pool = Pool(padding=padding)
        self.sites = Sites()
        self.bundles = Bundles()
        self.gossip = Gossip(registry)
        self.attestations = attestations  # None exactly where `operator` was chosen
        self.quarantined: dict[str, str] = {}
        self.unopened: Mapping[str, ChannelState] = {}  # no use now, by provider id (hex)
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
        self._attempts: dict[bytes, Stoppable] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    def enter(self) -> None:
        """Bind to the running loop.

        Raises:
            ConfigError: closed, or used from another event loop than before.
        """
        if self.closed:
            raise ConfigError("this client is closed; make a new one")
        self._bind()

    def _bind(self) -> None:
        loop = asyncio.get_running_loop()
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

    @property
    def live(self) -> Mapping[bytes, Stoppable]:
        """The attempts that run now, or whose receipt is still awaited, by request id."""
        return self._attempts

    async def ledger(self) -> tuple[Mapping[str, PaymentChannel], BudgetLedger]:
        """The open channels by provider id (hex), and the budget; opened on first use."""
        async with self._opening:
            database = await self._open()
            if self._budget is None:
                self._budget = self._make_budget(database)
            if self._channels is None:
                self._channels = await self._load(database)
            return self._channels, self._budget

    async def reload_channels(self) -> Mapping[str, PaymentChannel]:
        """Look into the ledger again: channels may have been opened, topped up or closed elsewhere."""
        async with self._opening:
            self._channels = await self._load(await self._open())
            return self._channels

    async def store_receipt(self, receipt: Receipt, raw: bytes) -> None:
        """Keep the verified receipt of a free request."""
        async with self._opening:
            database = await self._open()
        await database.run(lambda c: ledger.add_receipt(c, receipt, raw, channel_id=None))

    async def _open(self) -> Database:
        if self._database is None:
            self._database = await asyncio.to_thread(self._make_database)
        return self._database

    async def _load(self, database: Database) -> dict[str, PaymentChannel]:
        master = await asyncio.to_thread(self._make_master)
        known = self._channels or {}
        channels: dict[str, PaymentChannel] = {}
        for found in [] if master is None else await load_channels(database, master):
            name = found.provider_key.hex()
            # The object that running requests use stays the one that is asked for their accounts.
            old, channel = known.get(name), found
            if old is not None and (old.address, old.epoch) == (found.address, found.epoch):
                await old.reload()
                channel = old
            best = channels.get(name)
            if best is None or channel.available > best.available:
                channels[name] = channel
        self.unopened = {
            state.provider_key.hex(): state
            for state in await list_channels(database)
            if state.status is not ChannelStatus.CLOSED
        }
        return channels

    def emit(self, event: Event) -> None:
        """Hand an event to the user's callback; its errors are logged, never raised into a request."""
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:
            logger.exception("the on_event callback failed")

    def distrust(self, provider: str, error: VerificationError) -> None:
        """Quarantine a provider: it is not asked again by this client."""
        if provider not in self.quarantined:
            logger.warning("provider %s is quarantined: %s", provider, error)
            self.quarantined[provider] = str(error)

    def enter_attempt(self, attempt: Stoppable) -> None:
        """An attempt begins; `close` will stop it."""
        self._attempts[attempt.request_id] = attempt

    def leave_attempt(self, attempt: Stoppable) -> None:
        """An attempt and all that it left in the background is over."""
        self._attempts.pop(attempt.request_id, None)

    def background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something that outlives the request, such as the end of a cancelled one."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()  # whoever waits for the task has it, too
        if isinstance(error, CocoonError):
            logger.debug("the end of a request failed: %s", error.code)
        elif error is not None:
            logger.error("the end of a request failed: %s", type(error).__name__)

    async def close(self) -> None:
        """Let cancelled requests take their receipts, then close sessions, registry and database.

        Raises:
            ConfigError: called from another event loop than the one the client was used on.
        """
        if self.closed:
            return
        self._bind()
        self.closed = True
        async with contextlib.AsyncExitStack() as stack:
            if self._database is not None:
                stack.push_async_callback(asyncio.to_thread, self._database.close)
            stack.push_async_callback(self.registry.aclose)
            stack.push_async_callback(self.pool.close)
            stack.push_async_callback(self.gossip.aclose)
            for attempt in list(self._attempts.values()):
                attempt.stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BACKGROUND_GRACE):
                    while self._tasks:
                        await asyncio.wait(set(self._tasks))
            left = set(self._tasks)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)


def total_deadline(timeouts: Timeouts) -> float | None:
    """The `time.monotonic` moment at which a request that starts now must be over."""
    return None if timeouts.total is None else time.monotonic() + timeouts.total
