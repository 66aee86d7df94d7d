"""What is asked of one provider, what comes back, and how long each phase may take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from cocoon_sdk.errors import DeadlineError, VerificationError
from cocoon_sdk.payments.channel import PaymentChannel
from cocoon_sdk.payments.meter import Price
from cocoon_sdk.payments.receipt import NO_CHANNEL, NO_CLIENT, Receipt, request_hash
from cocoon_sdk.protocol.messages import Delta, Request, Result, encode_body
from cocoon_sdk.transport.answer import Expected
from cocoon_sdk.types.events import Event

T = TypeVar("T")


class Codec(Protocol):
    """The part of a tokenizer that checks need."""

    def encode(self, text: str) -> Sequence[int]:
        """Token ids of plain text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds; `total_at` is the `time.monotonic` moment at which the whole request must be over."""

    first_token: float
    idle: float
    total_at: float | None

    async def bound(
        self, work: Coroutine[Any, Any, T], *, started: float, first_token_seen: bool
    ) -> T:
        """The outcome of `work`, if it comes before the limit of the present phase.

        Raises:
            DeadlineError: it did not; `.phase` says which limit passed.
        """
        now = time.monotonic()
        phase, at = "first_token", started + self.first_token
        if first_token_seen:
            phase, at = "idle", now + self.idle
        if self.total_at is not None and self.total_at < at:
            phase, at = "total", self.total_at
        try:
            async with asyncio.timeout(max(0.0, at - now)):
                return await work
        except TimeoutError as error:
            raise DeadlineError(
                f"no {'first token' if phase == 'first_token' else 'frame'} from the provider in time "
                f"({phase} timeout, {time.monotonic() - started:.1f} s after the request); "
                "try another provider or raise the timeout",
                phase=phase,
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request at one provider.

    Attributes:
        network: the chain's global id.
        window_tokens: the offer's K.
        channel: None for a free model.
        store: keeps the verified receipt of a free request, which no channel keeps.
        settle: tells the budget what was charged, in nano; called once.
    """

    request: Request
    provider_id: bytes
    network: int
    window_tokens: int
    prompt_bound: int
    prompt_exact: int | None
    max_tokens: int
    channel: PaymentChannel | None
    codec: Codec | None
    deadlines: Deadlines
    store: Callable[[Receipt, bytes], Awaitable[None]]
    settle: Callable[[int], Awaitable[None]]

    def expected(self, request: Request, session_id: bytes) -> Expected:
        """What the receipt must say. `request` is as it travels, with its voucher."""
        channel = self.channel
        return Expected(
            provider=self.provider_id,
            client=channel.client_key if channel else NO_CLIENT,
            network=self.network,
            channel=channel.address.hash if channel else NO_CHANNEL,
            epoch=channel.epoch if channel else 0,
            session_id=session_id,
            request_id=request.id,
            request_hash=request_hash(encode_body(request)),
            model_hash=request.model_hash,
            price=Price(*request.price),
            prompt_bound=self.prompt_bound,
            prompt_exact=self.prompt_exact,
            max_tokens=self.max_tokens,
        )

    @property
    def tokens_ahead(self) -> int:
        """How many tokens may come before we sign for them: a window, or all of a free answer."""
        return self.max_tokens if self.channel is None else min(self.max_tokens, self.window_tokens)

    def exposure(self) -> int | None:
        """The most, in nano, that the ledger holds open for this request; None where it is not open."""
        if self.channel is None:
            return None
        stream = self.channel.state.stream(self.request.id)
        return None if stream is None else stream.exposure


@dataclass(frozen=True, slots=True)
class Finish:
    """Why a choice ended."""

    choice: int
    reason: str

    @classmethod
    def of(cls, result: Result) -> Finish | None:
        """The finish that a RESULT tells of; its data is the provider's and may be anything."""
        if result.kind != "finish" or not isinstance(result.data, dict):
            return None
        choice, reason = result.data.get("choice", 0), result.data.get("reason")
        if not isinstance(choice, int) or not isinstance(reason, str):
            return None
        return cls(choice, reason)


@dataclass(frozen=True, slots=True)
class Done:
    """The verified and stored receipt: the last item of an attempt."""

    receipt: Receipt
    raw: bytes


Item = Delta | Finish | Done


class Stoppable(Protocol):
    """An attempt, as its host sees it."""

    @property
    def request_id(self) -> bytes:
        """The request's id."""
        ...

    def stop(self) -> None:
        """Stop paying now."""
        ...


class Host(Protocol):
    """What an attempt needs of the client that it runs in."""

    def emit(self, event: Event) -> None:
        """Tell the user's callback."""
        ...

    def enter_attempt(self, attempt: Stoppable) -> None:
        """An attempt begins; closing the client will stop it."""
        ...

    def leave_attempt(self, attempt: Stoppable) -> None:
        """An attempt and all that it left in the background is over."""
        ...

    def background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something to its end even if the request that wants it is cancelled."""
        ...

    def distrust(self, provider: str, error: VerificationError) -> None:
        """Quarantine a provider (hex id)."""
        ...
