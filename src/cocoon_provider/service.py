"""What the provider does for a client, free of sockets: answers requests and questions."""

from __future__ import annotations

import logging
from collections.abc import Callable

from cocoon_provider.admission import Admission, Admitted, Client, Replay
from cocoon_provider.answer import Answer
from cocoon_provider.attestation import Evidence, no_quotes
from cocoon_provider.book import ChannelBook
from cocoon_provider.closing import CooperativeClose
from cocoon_provider.gossip import RegistryGossip
from cocoon_provider.inbox import Inbox, Send
from cocoon_provider.outcomes import Outcomes
from cocoon_provider.refusals import Refusal
from cocoon_provider.running import Running
from cocoon_provider.serving import Serving
from cocoon_sdk.errors import CocoonError
from cocoon_sdk.payments.receipt import parse_receipt
from cocoon_sdk.protocol import messages
from cocoon_sdk.protocol.params import RegistryRef

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
        evidence: Evidence | None = None,
        gossip: RegistryGossip | None = None,
    ) -> None:
        self._admission = admission
        self._book = book
        self._outcomes = outcomes
        self._closing = closing
        self._clock = clock
        self._evidence = evidence
        self._gossip = gossip

    def gossip(self, used: RegistryRef) -> messages.Error | None:
        """What a client should know about the registry that it uses, as an ERROR on stream 0; or None."""
        hint = None if self._gossip is None else self._gossip.fork_of(used)
        return None if hint is None else hint.frame()

    async def attest(self, exporter: bytes) -> messages.Message:
        """ATTEST_CHALLENGE: a quote over this session, or the ERROR that says why there is none."""
        if self._evidence is None:
            return no_quotes()
        return await self._evidence.answer(exporter)

    async def serve(
        self, client: Client, request: messages.Request, body: bytes, inbox: Inbox, send: Send
    ) -> bool:
        """REQUEST: check, serve, and end with RECEIPT. False where that brought us nothing.

        Raises:
            Refusal: it was not admitted, nothing was charged; or the same request came elsewhere.
            ConnectionLostError: the client is gone.
        """
        admitted = await self._admission.admit(client, request, body)
        del request, body  # they may be large, and nothing needs them any more
        if isinstance(admitted, Replay):
            for frame in admitted.frames:
                await send(frame)
            await send(admitted.receipt, end=True)
            return False
        if isinstance(admitted, Running):
            await admitted.take_over(inbox, send)
            return False
        running = admitted.outcome.running = Running(admitted.outcome)
        return await running.start(self._work(client, admitted, running), inbox, send)

    async def _work(self, client: Client, admitted: Admitted, running: Running) -> bool:
        outcome, inbox = admitted.outcome, running.inbox
        try:
            raw = await self._run(admitted, running)
        except BaseException:
            self._outcomes.forget(outcome)
            raise
        metered = admitted.billing.metered
        billed = metered and raw is not None and parse_receipt(raw).price > 0
        if metered and not billed:
            self._admission.ended_unbilled(client)
        if raw is None:
            self._outcomes.forget(outcome)
            return False
        self._outcomes.end(outcome, raw)
        for voucher in tuple(inbox.vouchers):  # more may arrive while these are kept
            await self.late_voucher(client, voucher)
        if not inbox.lost:
            await running.send(messages.Receipt(raw), end=True)
        return billed or not inbox.stopped

    async def _run(self, admitted: Admitted, running: Running) -> bytes | None:
        serving = Serving(
            generation=admitted.generation,
            billing=admitted.billing,
            answer=Answer(running.send, admitted.outcome, self._clock),
            inbox=running.inbox,
            place=admitted.place,
            send=running.send,
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
