"""What the provider does for a client, free of sockets: answers requests and questions."""

from __future__ import annotations

import logging
from collections.abc import Callable

from cocoon_provider.admission import Admission, Admitted, Client, Replay
from cocoon_provider.answer import Answer
from cocoon_provider.book import ChannelBook
from cocoon_provider.closing import CooperativeClose
from cocoon_provider.inbox import Inbox, Send
from cocoon_provider.outcomes import Outcomes
from cocoon_provider.refusals import Refusal
from cocoon_provider.serving import Serving
from cocoon_sdk.errors import CocoonError
from cocoon_sdk.payments.receipt import parse_receipt
from cocoon_sdk.protocol import messages

log = logging.getLogger(__name__)


class Service:
    """The verbs of the wire, one method each."""

    def __init__(
        self,
        *,
        admission: Admission,
        book: ChannelBook,
        outcomes: Outcomes,
        closing: CooperativeClose,
        clock: Callable[[], float],
    ) -> None:
        self._admission = admission
        self._book = book
        self._outcomes = outcomes
        self._closing = closing
        self._clock = clock

    async def serve(
        self, client: Client, request: messages.Request, body: bytes, inbox: Inbox, send: Send
    ) -> None:
        """REQUEST: check, serve, and end with RECEIPT.

        Raises:
            Refusal: it was not admitted; nothing was charged.
            ConnectionLostError: the client is gone.
        """
        admitted = await self._admission.admit(client, request, body)
        if isinstance(admitted, Replay):
            for frame in admitted.frames:
                await send(frame)
            await send(admitted.receipt, end=True)
            return
        try:
            raw = await self._run(admitted, inbox, send)
        except BaseException:
            self._outcomes.forget(admitted.outcome)
            raise
        if admitted.billing.metered and (raw is None or not parse_receipt(raw).price):
            self._admission.ended_unbilled(client)
        if raw is None:
            self._outcomes.forget(admitted.outcome)
            return
        self._outcomes.end(admitted.outcome, raw)
        for voucher in tuple(inbox.vouchers):  # more may arrive while these are kept
            await self.late_voucher(client, voucher)
        if not inbox.lost:
            await send(messages.Receipt(raw), end=True)

    async def _run(self, admitted: Admitted, inbox: Inbox, send: Send) -> bytes | None:
        answer = Answer(send, self._outcomes, admitted.outcome, self._clock)
        serving = Serving(
            generation=admitted.generation,
            billing=admitted.billing,
            answer=answer,
            inbox=inbox,
            place=admitted.place,
            send=send,
            clock=self._clock,
        )
        return await serving.run()

    async def late_voucher(self, client: Client, voucher: messages.Voucher) -> None:
        """A VOUCHER that crossed the end of its stream: kept if it is good and can be, otherwise ignored.

        The next request brings the highest one again; nothing here may cost the client its receipt.
        """
        try:
            key = await self._admission.channel(client)
            await self._book.take_voucher(key, b"", voucher, client.key or b"", 0)
        except Refusal:
            return
        except CocoonError as error:
            log.warning("a late voucher was not kept: %s", error.code)

    async def state(self, client: Client) -> messages.State:
        """STATE_GET: our view of the client's channel."""
        return await self._book.state(await self._admission.channel(client))

    async def receipt(self, client: Client, question: messages.ReceiptGet) -> messages.Receipt:
        """RECEIPT_GET: a stored receipt of the client's channel."""
        key = await self._admission.channel(client)
        return messages.Receipt(await self._book.receipt(key, question))

    async def close(self, client: Client, question: messages.CloseRequest) -> messages.CloseAuth:
        """CLOSE_REQUEST: wait for the channel's streams, then authorise `final = spent`."""
        key = await self._admission.channel(client)
        return await self._closing.authorise(key, question.epoch)
