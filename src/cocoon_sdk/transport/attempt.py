"""One paid request at one provider: REQUEST, DELTAs, METER and VOUCHER, RECEIPT (wire.md, payments.md §3)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from cocoon_sdk.errors import (
    CocoonError,
    DeadlineError,
    ProviderError,
)
from cocoon_sdk.payments.channel import PaymentChannel
from cocoon_sdk.payments.meter import Price
from cocoon_sdk.payments.receipt import Receipt, request_hash
from cocoon_sdk.protocol.messages import (
    Ack,
    Cancel,
    Delta,
    Error,
    Meter,
    Queue,
    Request,
    Result,
    encode_body,
)
from cocoon_sdk.protocol.messages import Receipt as ReceiptFrame
from cocoon_sdk.transport.answer import Answer, Expected
from cocoon_sdk.transport.connection import Connection, Stream
from cocoon_sdk.transport.failures import charge, error_from_frame
from cocoon_sdk.types.events import Event, FirstToken, Queued, ReceiptStored, VoucherSigned

CANCEL_TIMEOUT = 5.0
ZERO_KEY = bytes(32)


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
    """Seconds; `total` counts from the moment the request was made (a `time.monotonic` value)."""

    first_token: float
    idle: float
    total_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is asked of one provider. `network` is the chain's global id, `window_tokens` the offer's K."""

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


@dataclass(frozen=True, slots=True)
class Finish:
    """Why a choice ended."""

    choice: int
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """The verified and stored receipt: the last item of an attempt."""

    receipt: Receipt
    raw: bytes


class Attempt:
    """Runs a `Job` on a connection. Iterate `run()`; closing it early cancels and stops paying."""

    def __init__(
        self,
        job: Job,
        connection: Connection,
        *,
        emit: Callable[[Event], None],
        background: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._job = job
        self._connection = connection
        self._emit = emit
        self._background = background
        self._started = time.monotonic()
        self._answer: Answer | None = None
        self._stream: Stream | None = None
        self._first_token_seen = False
        self._finished = False
        self._price: int | None = None
        self._name = job.request.id.hex()

    @property
    def text(self) -> str:
        """What has arrived of the first choice."""
        return self._answer.text() if self._answer is not None else ""

    @property
    def due(self) -> int:
        """The highest verified due in nano: what a broken attempt has cost."""
        return self._answer.due if self._answer is not None else 0

    @property
    def charged(self) -> int:
        """For budgets, in nano: the receipt's price, or without one the most that was signed for."""
        if self._price is not None:
            return self._price
        channel = self._job.channel
        stream = channel.state.stream(self._job.request.id) if channel is not None else None
        return stream.exposure if stream is not None else self.due

    async def run(self) -> AsyncGenerator[Delta | Finish | Done, None]:
        """Send the request and yield what comes, ending with `Done`.

        Raises:
            CocoonError: typed as in `errors`; RequestErrors say what it cost and what had arrived.
        """
        try:
            await self._begin()
            async with aclosing(self._receive()) as items:
                async for item in items:
                    yield item
        except CocoonError as error:
            charge(error, self.due, self.text)
            raise
        finally:
            if not self._finished and self._stream is not None:
                self._background(self._abandon(self._stream))
            elif self._stream is not None:
                self._connection.forget(self._stream)

    async def _begin(self) -> None:
        job, request, voucher = self._job, self._job.request, None
        if job.channel is not None:
            voucher = await job.channel.open_stream(
                request.id,
                price=Price(*request.price),
                prompt_bound=job.prompt_bound,
                max_tokens=job.max_tokens,
                window_tokens=job.window_tokens,
            )
            self._emit(VoucherSigned(self._name, voucher.cumulative))
        request = _with_voucher(request, voucher)
        self._answer = Answer(
            self._expected(request),
            decode=job.codec.decode if job.codec else None,
            encode=job.codec.encode if job.codec else None,
        )
        # Nothing may be awaited between the two: stream ids go out in the order they are taken.
        try:
            self._stream = self._connection.open_stream()
        except CocoonError:
            await self._refused()  # nothing was sent
            raise
        await self._stream.send(request)

    def _expected(self, request: Request) -> Expected:
        job, channel = self._job, self._job.channel
        return Expected(
            provider=job.provider_id,
            client=channel.client_key if channel else ZERO_KEY,
            network=job.network,
            channel=channel.address.hash if channel else ZERO_KEY,
            epoch=channel.epoch if channel else 0,
            session_id=self._connection.session.session_id,
            request_id=request.id,
            request_hash=request_hash(encode_body(request)),
            model_hash=request.model_hash,
            price=Price(*request.price),
            prompt_bound=job.prompt_bound,
            prompt_exact=job.prompt_exact,
            max_tokens=job.max_tokens,
        )

    async def _receive(self) -> AsyncGenerator[Delta | Finish | Done, None]:
        assert self._stream is not None  # noqa: S101 - set by _begin
        assert self._answer is not None  # noqa: S101
        failed: CocoonError | None = None
        while True:
            received = await self._next(self._stream)
            match received.message:
                case Delta() as delta:
                    self._answer.on_delta(delta, received.body)
                    self._note_first_token()
                    yield delta
                case Result() as result:
                    self._answer.on_result(result, received.body)
                    if result.kind == "finish" and isinstance(result.data, dict):
                        yield Finish(
                            int(result.data.get("choice", 0)),
                            str(result.data.get("reason", "stop")),
                        )
                case Meter() as meter:
                    await self._pay(meter)
                case Queue(position=position, estimated_ms=estimated):
                    self._emit(Queued(self._name, position, estimated))
                case Error() as frame:
                    failed = error_from_frame(frame)
                    if received.end:  # nothing was billed
                        await self._refused()
                        raise failed
                case ReceiptFrame(raw=raw):
                    receipt = await self._settle(raw)
                    if failed is not None:
                        raise charge(failed, receipt.price, self.text)
                    yield Done(receipt, raw)
                    return
                case other:
                    raise ProviderError(
                        f"the provider sent a {type(other).__name__} frame where none is allowed"
                    )

    async def _next(self, stream: Stream) -> Any:
        deadlines, now = self._job.deadlines, time.monotonic()
        limits = [
            ("idle", now + deadlines.idle)
            if self._first_token_seen
            else ("first_token", self._started + deadlines.first_token)
        ]
        if deadlines.total_at is not None:
            limits.append(("total", deadlines.total_at))
        phase, at = min(limits, key=lambda limit: limit[1])
        try:
            async with asyncio.timeout(max(0.0, at - now)):
                return await stream.receive()
        except TimeoutError as error:
            raise DeadlineError(
                f"no {'first token' if phase == 'first_token' else 'frame'} from the provider in time "
                f"({phase} timeout, {time.monotonic() - self._started:.1f} s after the request); "
                "try another provider or raise the timeout",
                phase=phase,
            ) from error

    def _note_first_token(self) -> None:
        if not self._first_token_seen:
            self._first_token_seen = True
            elapsed = (time.monotonic() - self._started) * 1000
            self._emit(FirstToken(self._name, elapsed))

    async def _pay(self, meter: Meter) -> None:
        assert self._answer is not None  # noqa: S101
        assert self._stream is not None  # noqa: S101
        self._answer.on_meter(meter)
        channel = self._job.channel
        if channel is None:
            return
        voucher = await channel.on_meter(self._job.request.id, meter)
        self._emit(VoucherSigned(self._name, voucher.cumulative))
        await self._stream.send(voucher)

    async def _settle(self, raw: bytes) -> Receipt:
        assert self._answer is not None  # noqa: S101
        assert self._stream is not None  # noqa: S101
        receipt = self._answer.on_receipt(raw)
        if self._job.channel is not None:
            await self._job.channel.settle(self._job.request.id, receipt, raw)
        self._finished, self._price = True, receipt.price
        session = self._connection.session
        with suppress(CocoonError, OSError, TimeoutError):
            await self._stream.send(Ack(), end=True)
        self._emit(
            ReceiptStored(
                self._name,
                receipt.price,
                session.frames_sent + session.frames_received,
                session.bytes_sent + session.bytes_received,
            )
        )
        return receipt

    async def _refused(self) -> None:
        self._finished, self._price = True, 0
        if self._stream is not None:  # our END, without which the stream would count as open
            with suppress(CocoonError, OSError, TimeoutError):
                await self._stream.send(Ack(), end=True)
        if self._job.channel is not None:
            await self._job.channel.refuse(self._job.request.id)

    async def _abandon(self, stream: Stream) -> None:
        """Stop paying, and take the receipt for what was delivered if it comes soon."""
        try:
            async with asyncio.timeout(CANCEL_TIMEOUT):
                await stream.send(Cancel(), end=True)
                await self._collect_receipt(stream)
        except (CocoonError, OSError, TimeoutError):
            pass  # the stream stays open in the ledger, which settles it from the receipt or pessimistically
        finally:
            self._connection.forget(stream)

    async def _collect_receipt(self, stream: Stream) -> None:
        assert self._answer is not None  # noqa: S101
        while True:
            received = await stream.receive()
            match received.message:
                case Delta() as delta:
                    self._answer.on_delta(delta, received.body)
                case Result() as result:
                    self._answer.on_result(result, received.body)
                case Error() if received.end:
                    await self._refused()
                    return
                case ReceiptFrame(raw=raw):
                    receipt = self._answer.on_receipt(raw)
                    if self._job.channel is not None:
                        await self._job.channel.settle(self._job.request.id, receipt, raw)
                    return
                case _:
                    pass


def _with_voucher(request: Request, voucher: Any) -> Request:
    return Request(
        id=request.id,
        kind=request.kind,
        model=request.model,
        model_hash=request.model_hash,
        body=request.body,
        seed=request.seed,
        date=request.date,
        salt=request.salt,
        price=request.price,
        voucher=voucher,
        resume=request.resume,
    )
