"""Billing of free models for clients without a channel: only the receipt remains."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from cocoon_provider.billing import Job
from cocoon_provider.ledger import Progress
from cocoon_provider.opening import Ended
from cocoon_sdk.keys import Signer
from cocoon_sdk.payments.meter import Counts
from cocoon_sdk.payments.receipt import (
    NO_CHANNEL,
    NO_CLIENT,
    FinishReason,
    Receipt,
    sign_receipt,
)
from cocoon_sdk.protocol import messages


class FreeBilling:
    """A free model for a client without a channel: only the receipt remains."""

    metered = False

    def __init__(
        self,
        identity: Signer,
        *,
        network: int,
        client_key: bytes | None,
        job: Job,
        clock: Callable[[], float],
    ) -> None:
        self._identity = identity
        self._network = network
        self._client_key = client_key or NO_CLIENT
        self._job = job
        self._clock = clock

    async def open(self, first: Counts, voucher: messages.Voucher | None) -> Ended | None:
        """Nothing is entered anywhere."""

    async def voucher(self, voucher: messages.Voucher) -> None:
        """Nothing to pay: a voucher is no error, and not kept."""

    async def advance(
        self,
        counts: Counts,  # noqa: ARG002 - every count costs nothing
        response_hash: bytes,  # noqa: ARG002 - nothing of a free stream is durable
        targets: Sequence[Counts],
    ) -> Progress:
        """Every step is free."""
        return Progress(0, 0, targets[0] if targets else None)

    async def finish(self, counts: Counts, response_hash: bytes, reason: FinishReason) -> bytes:
        """A receipt over what was delivered, price 0."""
        return sign_receipt(
            self._identity,
            Receipt(
                finish=reason,
                provider=self._identity.public_key,
                client=self._client_key,
                network=self._network,
                channel=NO_CHANNEL,
                epoch=0,
                session_id=self._job.session_id,
                request_id=self._job.request_id,
                request_hash=self._job.request_hash,
                response_hash=response_hash,
                model_hash=self._job.model_hash,
                counts=counts,
                price=0,
                spent=0,
                seq=0,
                time_ms=int(self._clock() * 1000),
            ),
        )

    async def drop(self) -> None:
        """Nothing was entered."""

    def listening(self, wake: asyncio.Event) -> AbstractContextManager[None]:  # noqa: ARG002 - nothing ever wakes it
        """Nothing to wait for."""
        return nullcontext()
