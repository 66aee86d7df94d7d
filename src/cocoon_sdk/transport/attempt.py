"""One paid request at one provider: REQUEST, DELTAs, METER and VOUCHER, RECEIPT (wire.md, payments.md §3)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import suppress
from typing import Any

from msgspec.structs import replace

from cocoon_sdk.errors import (
    CocoonError,
    InvalidRequestError,
    StreamTruncatedError,
    VerificationError,
)
from cocoon_sdk.payments.meter import Price
from cocoon_sdk.protocol.constants import CLIENT_MAX_REQUEST
from cocoon_sdk.protocol.events import MessageReceived
from cocoon_sdk.protocol.messages import (
    Ack,
    Cancel,
    Delta,
    Error,
    Meter,
    Queue,
    Result,
    encode_body,
)
from cocoon_sdk.protocol.messages import Receipt as ReceiptFrame
from cocoon_sdk.transport.answer import Answer
from cocoon_sdk.transport.failures import charge, error_from_frame, explain_refusal
from cocoon_sdk.transport.job import Done, Finish, Host, Item, Job
from cocoon_sdk.transport.slot import Slot
from cocoon_sdk.transport.stream import Stream
from cocoon_sdk.types.events import FirstToken, Queued, ReceiptStored, VoucherSigned

logger = logging.getLogger("cocoon_sdk.transport")

CANCEL_TIMEOUT = 5.0


class Attempt:
    """Runs a `Job` on a connection. Iterate `run()` once; closing it early cancels and stops paying.

    An attempt ends in one of four ways: its receipt, a refusal, a withdrawal before anything was sent, or
    being abandoned. Each runs as a background task of the host, so that cancelling the request loses
    neither a receipt nor an entry in ledger or budget.
    """

    def __init__(self, job: Job, slot: Slot, host: Host) -> None:
        self._job = job
        self._slot = slot
        self._host = host
        self._started = time.monotonic()
        self._answer: Answer | None = None
        self._stream: Stream | None = None
        self._refusal: CocoonError | None = None  # from an ERROR; a receipt may follow it
        self._first_token_seen = False
        self._stopped = False
        self._cancelled = False  # CANCEL was our END on the stream
        self._ending: asyncio.Task[None] | None = None
        self._done: Done | None = None
        self._lacking = 0  # nano that the channel could not sign for
        self._free_of_charge = False
        self._name = job.request.id.hex()

    @property
    def request_id(self) -> bytes:
        """The request's id."""
        return self._job.request.id

    @property
    def charged(self) -> int:
        """Nano that the request costs so far: the receipt's price, or the price of what was delivered."""
        if self._done is not None:
            return self._done.receipt.price
        if self._free_of_charge or self._answer is None:
            return 0
        return self._answer.owed

    async def run(self) -> AsyncGenerator[Item, None]:
        """Send the request and yield what comes, ending with `Done`.

        Raises:
            CocoonError: typed as in `errors`; RequestErrors say what it cost and what had arrived.
        """
        failure: CocoonError | None = None
        self._host.enter_attempt(self)
        try:
            answer, stream = await self._begin()
            while True:
                received = await self._next(stream)
                last = self._last(answer, stream, received)
                if last is not None:
                    await asyncio.shield(self._end(last))
                    break
                for item in await self._take(answer, stream, received):
                    yield item
            if self._refusal is not None:
                raise explain_refusal(self._refusal, self._job.channel, self._lacking)
            if self._done is not None:
                yield self._done
        except CocoonError as error:
            failure = error
            charge(error, self.charged, self._answer.text() if self._answer is not None else "")
            raise
        finally:
            self._slot.release()
            self._stopped = True
            await self._leave(failure)

    def stop(self) -> None:
        """Stop paying now, whoever reads: what waits in `run` gets StreamTruncatedError."""
        self._stopped = True
        if self._answer is not None and self._stream is not None and self._ending is None:
            self._stream.take_over()
            self._end(self._abandon(self._answer, self._stream))

    async def _leave(self, failure: CocoonError | None) -> None:
        if isinstance(failure, VerificationError):
            self._host.distrust(self._job.provider_id.hex(), failure)
        if self._ending is not None:
            await asyncio.wait({self._ending})
        elif self._answer is None or self._stream is None:
            await asyncio.wait({self._end(self._withdraw())})
        else:  # not waited for: it may take as long as the provider does
            self._end(self._abandon(self._answer, self._stream, failure))

    # --- the request

    async def _begin(self) -> tuple[Answer, Stream]:
        job, voucher = self._job, None
        if len(encode_body(job.request)) > CLIENT_MAX_REQUEST:
            raise InvalidRequestError(
                f"the request is larger than {CLIENT_MAX_REQUEST} bytes; shorten its messages"
            )
        if job.channel is not None:
            voucher = await job.channel.open_stream(
                job.request.id,
                price=Price(*job.request.price),
                prompt_bound=job.prompt_bound,
                max_tokens=job.max_tokens,
                window_tokens=job.window_tokens,
            )
            self._host.emit(VoucherSigned(self._name, voucher.cumulative))
        self._check_running()
        request = replace(job.request, voucher=voucher)
        connection = self._slot.connection
        answer = Answer(
            job.expected(request, connection.session.session_id),
            decode=job.codec.decode if job.codec else None,
            encode=job.codec.encode if job.codec else None,
        )
        stream = self._slot.open(request)
        stream.expect(job.tokens_ahead)
        self._answer, self._stream = answer, stream
        await connection.flush()
        return answer, stream

    async def _next(self, stream: Stream) -> MessageReceived:
        self._check_running()
        try:
            return await self._job.deadlines.bound(
                stream.receive(), started=self._started, first_token_seen=self._first_token_seen
            )
        except StreamTruncatedError as error:
            if self._refusal is not None:  # the provider had said why, only its receipt is missing
                raise explain_refusal(self._refusal, self._job.channel, self._lacking) from error
            raise

    def _check_running(self) -> None:
        if self._stopped:
            raise StreamTruncatedError("the stream was closed before its receipt")

    # --- the answer

    async def _take(self, answer: Answer, stream: Stream, received: MessageReceived) -> list[Item]:
        """Any frame but the last one. What is billed is checked here as it comes."""
        match received.message:
            case Delta() as delta:
                answer.on_delta(delta, received.body)
                self._note_first_token()
                return [delta]
            case Result() as result:
                answer.on_result(result, received.body)
                finish = Finish.of(result)
                return [finish] if finish is not None else []
            case Meter() as meter:
                answer.on_meter(meter)
                await self._pay(stream, meter)
            case Queue(position=position, estimated_ms=estimated):
                self._host.emit(Queued(self._name, position, estimated))
        return []

    def _last(
        self, answer: Answer, stream: Stream, received: MessageReceived
    ) -> Coroutine[Any, Any, None] | None:
        """What closes the accounts, if this is the frame that does."""
        match received.message:
            case ReceiptFrame(raw=raw):
                return self._conclude(answer, stream, raw)
            case Error() as frame:
                self._refusal = error_from_frame(frame)
                # With END nothing was billed; without it the receipt is still to come.
                return self._refused(stream) if received.end else None
        return None

    def _note_first_token(self) -> None:
        if not self._first_token_seen:
            self._first_token_seen = True
            elapsed = (time.monotonic() - self._started) * 1000
            self._host.emit(FirstToken(self._name, elapsed))

    async def _pay(self, stream: Stream, meter: Meter) -> None:
        if self._job.channel is None or self._stopped:
            return
        voucher = await self._job.channel.on_meter(self.request_id, meter)
        self._check_running()
        self._lacking = meter.wanted - voucher.cumulative
        self._host.emit(VoucherSigned(self._name, voucher.cumulative))
        await stream.send(voucher)

    # --- the four endings

    def _end(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self._ending = self._host.background(self._close(work))
        return self._ending

    async def _close(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except VerificationError as error:
            self._host.distrust(self._job.provider_id.hex(), error)
            raise
        finally:
            try:
                exposure = self._job.exposure()
                await self._job.settle(self.charged if exposure is None else exposure)
            finally:
                if self._stream is not None:
                    self._slot.connection.forget(self._stream)
                self._host.leave_attempt(self)

    async def _conclude(self, answer: Answer, stream: Stream, raw: bytes) -> None:
        job, session = self._job, self._slot.connection.session
        receipt = answer.on_receipt(raw)
        if job.channel is not None:
            await job.channel.settle(self.request_id, receipt, raw)
        else:
            await job.store(receipt, raw)
        self._done = Done(receipt, raw)
        await self._say_end(stream)
        self._host.emit(
            ReceiptStored(
                self._name,
                receipt.price,
                session.frames_sent + session.frames_received,
                session.bytes_sent + session.bytes_received,
            )
        )

    async def _refused(self, stream: Stream) -> None:
        self._free_of_charge = True
        await self._say_end(stream)
        if self._job.channel is not None:
            await self._job.channel.refuse(self.request_id)

    async def _withdraw(self) -> None:
        """Nothing was sent; the ledger may know of the stream, or be about to."""
        self._free_of_charge = True
        if self._job.channel is not None:
            await self._job.channel.refuse(self.request_id)

    async def _abandon(
        self, answer: Answer, stream: Stream, failure: CocoonError | None = None
    ) -> None:
        """Stop paying, and take the receipt for what was delivered if it comes soon."""
        # Only the provider is waited for with a limit: a receipt that came is entered however slow the
        # disk is.
        patience = asyncio.get_running_loop().time() + CANCEL_TIMEOUT
        try:
            self._cancelled = True
            async with asyncio.timeout_at(patience):
                await stream.send(Cancel(), end=True)
            # A provider that failed a check has nothing more to say that could be believed.
            while not isinstance(failure, VerificationError):
                async with asyncio.timeout_at(patience):
                    received = await stream.receive()
                last = self._last(answer, stream, received)
                if last is not None:
                    await last
                    return
                await self._take(answer, stream, received)
        except VerificationError:
            raise
        except (CocoonError, TimeoutError) as error:
            logger.debug("request %s was abandoned: %s", self._name, type(error).__name__)
        logger.info("request %s has no receipt yet; the next session asks for it", self._name)

    async def _say_end(self, stream: Stream) -> None:
        """Our END, without which the stream would count as open. The answer is complete without it."""
        if not self._cancelled:
            with suppress(CocoonError):
                await stream.send(Ack(), end=True)
