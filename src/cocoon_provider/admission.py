"""From a REQUEST to a job that can be served: every check before anything is charged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cocoon_provider.backends.base import Backend, Generation, ModelInfo
from cocoon_provider.billing import Billing, ChannelBilling, Job
from cocoon_provider.book import ChannelBook
from cocoon_provider.free import FreeBilling
from cocoon_provider.limits import Patience, Place, RequestLine
from cocoon_provider.mirror import ChannelMirror
from cocoon_provider.opening import Ended
from cocoon_provider.outcomes import Outcome, Outcomes
from cocoon_provider.pricing import PriceList
from cocoon_provider.refusals import Refusal, refusal_of
from cocoon_provider.running import Running
from cocoon_provider.steps import first_step
from cocoon_provider.tables import ChannelKey
from cocoon_sdk.errors import CocoonError, WireCode
from cocoon_sdk.keys import Signer
from cocoon_sdk.payments.amounts import MAX_NANO
from cocoon_sdk.payments.meter import Price, highest_cost
from cocoon_sdk.payments.receipt import request_hash
from cocoon_sdk.protocol import messages
from cocoon_sdk.protocol.constants import CLOSE_CLIENT_AUTH
from cocoon_sdk.protocol.errors import RemoteProtocolError
from cocoon_sdk.protocol.events import HandshakeCompleted
from cocoon_sdk.ton.address import Address

BYTES_PER_TOKEN = 8  # wire.md, "Limits": request body ≤ context length × 8


@dataclass(frozen=True, slots=True)
class Client:
    """Who speaks on a connection, as its handshake proved it; `origin` is only where it came from."""

    session_id: bytes
    key: bytes | None
    channel: Address | None
    origin: str = ""

    @classmethod
    def of(cls, event: HandshakeCompleted, origin: str = "") -> Client:
        """The facts of a finished handshake.

        Raises:
            RemoteProtocolError: the channel is in a workchain where none can be accepted.
        """
        channel = event.channel
        if channel is None:
            return cls(event.session_id, event.client_key, None, origin)
        if channel.workchain != 0:
            raise RemoteProtocolError("a channel outside workchain 0", CLOSE_CLIENT_AUTH)
        return cls(event.session_id, event.client_key, Address(0, channel.hash), origin)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may be served. Whoever holds it leaves its place and cancels its generation."""

    generation: Generation
    billing: Billing
    place: Place
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Replay:
    """A request that was answered before: its frames while they are kept, and its receipt."""

    frames: tuple[messages.Delta | messages.Result, ...]
    receipt: messages.Receipt


class Admission:
    """Checks requests against what this provider offers, and enters them into the books.

    Attributes:
        draining: Set before shutdown; nothing new is admitted from then on.
    """

    def __init__(
        self,
        *,
        identity: Signer,
        backend: Backend,
        prices: PriceList,
        book: ChannelBook,
        mirror: ChannelMirror,
        line: RequestLine,
        outcomes: Outcomes,
        window_tokens: int,
        clock: Callable[[], float],
    ) -> None:
        self._identity = identity
        self._backend = backend
        self._prices = prices
        self._book = book
        self._mirror = mirror
        self._line = line
        self._outcomes = outcomes
        self._window_tokens = window_tokens
        self._clock = clock
        self._patience = Patience(clock)
        self.draining = False

    async def admit(
        self, client: Client, request: messages.Request, body: bytes
    ) -> Admitted | Replay | Running:
        """Check a request; on success its stream is entered and its first step reserved.

        `body` is the REQUEST body as it travelled. The same request may run already, or have ended.

        Raises:
            Refusal: why it is not served. Nothing was charged.
        """
        digest = request_hash(body)
        owner = client.key or b""
        known = self._outcomes.find(owner, request.id, digest)
        if known is not None and known.receipt is not None:
            return Replay(tuple(known.messages()), known.receipt)
        if known is not None and known.running is not None:
            return known.running
        if self.draining:
            raise Refusal(
                WireCode.DRAINING, "this provider is shutting down; use another one or try later"
            )
        model = self._model(request, len(body))
        price = self._prices.accept(model.id, request.price)
        if not price.free:
            self._patience.check(owner)
        outcome = self._outcomes.begin(owner, request.id, digest)
        place: Place | None = None
        generation: Generation | None = None
        try:
            # Before any place is taken or text tokenised: a stranger holds up no customer.
            key = await self._payer(client, request, price)
            place = self._line.enter(client.origin)
            generation = self._submit(request, client)
            _check_magnitude(price, generation)
            job = Job(
                request_id=request.id,
                request_hash=digest,
                session_id=client.session_id,
                model_hash=model.hash,
                price=price,
                prompt_tokens=generation.prompt_tokens,
                max_tokens=generation.max_tokens,
                window_tokens=self._window_tokens,
            )
            billing = self._billing(client, key, job)
            ended = await billing.open(first_step(generation.prompt_tokens), request.voucher)
        except BaseException:
            self._outcomes.forget(outcome)
            _abandon(place, generation)
            raise
        if isinstance(ended, Ended):
            _abandon(place, generation)
            self._outcomes.end(outcome, ended.raw)
            return Replay((), messages.Receipt(ended.raw))
        return Admitted(generation, billing, place, outcome)

    def ended_unbilled(self, client: Client) -> None:
        """A paid request of this client ended before it cost anything; that may not happen at will."""
        self._patience.count(client.key or b"")

    async def channel(self, client: Client, *, cover: int | None = None) -> ChannelKey:
        """The channel that this client's session is bound to, checked and fresh.

        Raises:
            Refusal: none was named, or it is not acceptable.
        """
        if client.channel is None or client.key is None:
            raise Refusal(
                WireCode.PAYMENT_REQUIRED,
                "this session names no payment channel; open one and connect with its voucher key",
            )
        return await self._mirror.usable(client.channel, client.key, cover=cover)

    def _model(self, request: messages.Request, size: int) -> ModelInfo:
        model = self._backend.models.get(request.model)
        if model is None:
            raise Refusal(WireCode.MODEL_NOT_FOUND, "this model is not offered here")
        if model.hash != request.model_hash:
            raise Refusal(
                WireCode.MODEL_NOT_FOUND,
                f"the offered {model.id} has hash {model.hash.hex()}, the request wants another; "
                "fetch the registry again",
            )
        if size > model.context * BYTES_PER_TOKEN:
            raise Refusal(
                WireCode.CONTEXT_LENGTH,
                f"the request has {size} bytes, at most {model.context * BYTES_PER_TOKEN} are taken "
                f"for a context of {model.context} tokens; shorten it",
            )
        return model

    def _submit(self, request: messages.Request, client: Client) -> Generation:
        try:
            return self._backend.submit(request, client_key=client.key)
        except CocoonError as error:
            raise refusal_of(error) from error

    async def _payer(
        self, client: Client, request: messages.Request, price: Price
    ) -> ChannelKey | None:
        """The channel that a request is charged to; None for a free one without a channel."""
        if price.free and client.channel is None:
            return None
        cover = None if request.voucher is None else request.voucher.cumulative
        return await self.channel(client, cover=cover)

    def _billing(self, client: Client, key: ChannelKey | None, job: Job) -> Billing:
        if key is None or client.key is None:  # a channel is never named anonymously
            return FreeBilling(
                self._identity,
                network=self._book.network,
                client_key=client.key,
                job=job,
                clock=self._clock,
            )
        return ChannelBilling(self._book, self._mirror, key, client.key, job)


def _check_magnitude(price: Price, generation: Generation) -> None:
    """Amounts travel and are stored as signed 64-bit numbers; the price may come from the client."""
    highest = highest_cost(
        price, prompt_total=generation.prompt_tokens, max_tokens=generation.max_tokens
    )
    if highest > MAX_NANO // 2:
        raise Refusal(
            WireCode.INVALID_REQUEST,
            f"at this price the request could cost {highest} nano, more than any channel can hold",
        )


def _abandon(place: Place | None, generation: Generation | None) -> None:
    if place is not None:
        place.leave()
    if generation is not None:
        generation.cancel()
