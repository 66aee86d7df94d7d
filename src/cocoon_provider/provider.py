"""The provider put together: from configuration and keys to a serving process and back down."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from cocoon_provider.admission import BYTES_PER_TOKEN, Admission
from cocoon_provider.attestation import Evidence, load_evidence
from cocoon_provider.backends.base import Backend
from cocoon_provider.book import MIGRATIONS, ChannelBook
from cocoon_provider.closing import CooperativeClose
from cocoon_provider.config import Config
from cocoon_provider.gossip import open_gossip
from cocoon_provider.limits import RequestLine
from cocoon_provider.mirror import ChannelMirror
from cocoon_provider.outcomes import Outcomes
from cocoon_provider.pricing import PriceList
from cocoon_provider.public import PublicPages
from cocoon_provider.registration import ChannelPolicy
from cocoon_provider.server import Server
from cocoon_provider.service import Service
from cocoon_provider.settlement import Settlement
from cocoon_sdk.errors import CocoonError, ConfigError
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.payments.amounts import parse_amount
from cocoon_sdk.store.database import Database
from cocoon_sdk.ton.chain import ChainClient
from cocoon_sdk.ton.wallet import Wallet

log = logging.getLogger(__name__)


class Books:
    """The money side alone: what `serve`, `redeem` and `earnings` share."""

    def __init__(
        self,
        config: Config,
        *,
        identity: Ed25519Key,
        wallet_key: Ed25519Key,
        chain: ChainClient,
        database_url: str,
    ) -> None:
        terms = config.channels
        self.chain = chain
        self.wallet = Wallet(wallet_key, chain.network)
        self.database = Database(database_url, migrations=MIGRATIONS)
        self.book = ChannelBook(
            self.database,
            identity=identity,
            network=chain.network,
            clock=time.time,
            instance=config.instance,
        )
        policy = ChannelPolicy(
            provider_key=identity.public_key,
            payout=self.wallet.address,
            min_deposit=parse_amount(terms.min_deposit),
            min_close_delay=terms.min_close_delay,
            max_state_age=terms.max_state_age,
        )
        self.mirror = ChannelMirror(chain, self.book, policy, ttl=terms.mirror_ttl)
        self.settlement = Settlement(
            book=self.book,
            mirror=self.mirror,
            chain=chain,
            wallet=self.wallet,
            threshold=parse_amount(config.settlement.threshold),
            cost=parse_amount(config.settlement.cost),
        )

    async def aclose(self) -> None:
        """Close the database and the chain client."""
        self.database.close()
        await self.chain.aclose()


class Provider:
    """A serving provider. `start` once, then `stop`; stopping twice is harmless."""

    def __init__(
        self, config: Config, *, identity: Ed25519Key, books: Books, backend: Backend
    ) -> None:
        self._config = config
        self._identity = identity
        self._books = books
        self._backend = backend
        self._prices = config.prices()
        self._admission: Admission | None = None
        self._server: Server | None = None
        self._settling: asyncio.Task[None] | None = None
        self._evidence: Evidence | None = None
        self._gossip = open_gossip(config.registries)
        self._gossiping: asyncio.Task[None] | None = None

    @property
    def attested_by(self) -> str | None:
        """Digest of the attestation bundle that is served, hex: the descriptor's `att`."""
        return None if self._evidence is None else self._evidence.digest.hex()

    async def start(self) -> int:
        """Load the backend, end what an earlier run left open, listen; the port.

        Raises:
            ConfigError: a model has no price, or something cannot be used as configured.
            StoreError: the books cannot be opened, or another front end of this name serves from them.
        """
        await self._backend.start()
        for name in self._backend.models:
            if name not in self._prices:
                raise ConfigError(f"no price for the model {name!r}; add it under [models]")
        self._evidence = load_evidence(
            self._config.attestation, self._backend.models.values(), self._identity.public_key
        )
        await self._books.book.claim()
        orphans = await self._books.book.end_orphans()
        if orphans:
            log.warning("receipts issued for requests that a restart cut off: %d", orphans)
        self._admission, self._server = self._assemble()
        port = await self._server.start()
        self._settling = asyncio.create_task(
            self._books.settlement.run(
                self._config.settlement.interval,
                selling=not all(price.free for price in self._prices.values()),
            ),
            name="cocoon-settlement",
        )
        if self._gossip is not None:
            self._gossiping = asyncio.create_task(self._gossip.run(), name="cocoon-gossip")
        return port

    async def stop(self) -> None:
        """Drain: refuse new requests, let streams end, redeem, say CLOSE, free everything."""
        admission, server = self._admission, self._server
        self._admission = self._server = None
        if admission is not None and server is not None:
            admission.draining = True
            if not await server.drained(self._config.limits.drain_seconds):
                log.warning("some requests did not end in time; they are cut off")
            await self._stop_settling()
            await self._redeem_all()
            await server.stop()
        if self._gossiping is not None:
            self._gossiping.cancel()
            await asyncio.gather(self._gossiping, return_exceptions=True)
        await self._backend.aclose()

    async def _stop_settling(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._settling

    async def _redeem_all(self) -> None:
        try:
            await self._books.settlement.redeem(everything=True)
        except CocoonError as error:
            log.warning("not everything could be redeemed before shutdown: %s", error)

    def _assemble(self) -> tuple[Admission, Server]:
        config, book = self._config, self._books.book
        outcomes = Outcomes(time.monotonic)
        admission = Admission(
            identity=self._identity,
            backend=self._backend,
            prices=PriceList(self._prices),
            book=book,
            mirror=self._books.mirror,
            line=RequestLine(active=config.concurrency, waiting=config.limits.waiting),
            outcomes=outcomes,
            window_tokens=config.channels.window,
            clock=time.time,
        )
        service = Service(
            admission=admission,
            book=book,
            outcomes=outcomes,
            closing=CooperativeClose(book, self._identity),
            clock=time.monotonic,
            evidence=self._evidence,
            gossip=self._gossip,
        )
        pages = PublicPages(
            lambda: self._backend.models,
            self._prices,
            lambda: admission.draining,
            attestations=() if self._evidence is None else self._evidence.bundles,
            gossip=self._gossip,
        )
        longest = max(model.context for model in self._backend.models.values())
        server = Server(
            identity=self._identity,
            service=service,
            pages=pages,
            listen=config.listen,
            limits=config.limits,
            max_request_bytes=longest * BYTES_PER_TOKEN,
            clock=time.monotonic,
        )
        return admission, server
