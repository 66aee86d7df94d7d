"""CLOSE_REQUEST: who is asked, when nobody is, and what answers mean (payments.md §3)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from cocoon_sdk.errors import ChannelDesyncError, DeadlineError, ProviderOverloadedError
from cocoon_sdk.payments.channel import PaymentChannel
from cocoon_sdk.protocol.messages import CloseAuth, CloseRequest, Error, Pong
from cocoon_sdk.transport import consent
from cocoon_sdk.transport.consent import provider_consent
from tests.unit.payments.ledger_kit import (
    CLIENT,
    PRICE,
    STATE,
    add_channel,
    open_ledger,
    request_id,
)

pytestmark = pytest.mark.anyio

AUTH = CloseAuth(STATE.epoch, 0, bytes(64))


class FakeConnection:
    """One session whose answer to the only question is given."""

    def __init__(self, answer: object, *, full: bool = False) -> None:
        self.answer, self.full = answer, full
        self.asked: list[tuple[object, bool]] = []
        self.closed = False

    def slot(self):
        return None if self.full else self

    def open(self, message, *, end=False):
        self.asked.append((message, end))
        return self

    async def flush(self) -> None:
        pass

    async def receive(self):
        if self.answer is None:
            await asyncio.Event().wait()
        return SimpleNamespace(message=self.answer)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[PaymentChannel]:
    with open_ledger(tmp_path) as database:
        yield add_channel(database, replace(STATE))


def listed():
    origin = SimpleNamespace(
        allow_loopback=True, registry_id=bytes(32), version=3, digest=bytes(32)
    )
    descriptor = SimpleNamespace(
        endpoints=["ws://127.0.0.1:1"], public_key=STATE.provider_key, suites=[1]
    )
    entry = SimpleNamespace(verify=lambda now: descriptor, origin=origin)
    return SimpleNamespace(chosen=lambda now: entry)


@pytest.fixture
def meet(monkeypatch: pytest.MonkeyPatch):
    """Makes `provider_consent` meet a connection; remembers as whom."""

    def use(connection: FakeConnection, recovered=None):
        async def dial(peer, *, limit):
            connection.peer = peer
            return connection

        async def recover(*arguments):
            if recovered is not None:
                await recovered()

        monkeypatch.setattr(consent, "open_connection", dial)
        monkeypatch.setattr(consent, "recover_receipts", recover)
        return connection

    return use


async def test_the_channels_own_key_asks_for_its_epoch(channel, meet) -> None:
    connection = meet(FakeConnection(AUTH))
    assert await provider_consent(listed(), channel) == AUTH
    assert connection.asked == [(CloseRequest(STATE.epoch), True)]
    assert connection.closed
    peer = connection.peer
    assert (peer.signer.public_key, peer.provider_id) == (CLIENT.public_key, STATE.provider_key)
    assert peer.channel.hash == STATE.address.hash


async def test_nobody_is_asked_while_a_request_has_no_receipt(channel, meet) -> None:
    """Afterwards the provider would take no voucher for it, and its price would be in nobody's books."""
    await channel.open_stream(request_id(1), price=PRICE, prompt_bound=1, max_tokens=1)
    connection = meet(FakeConnection(AUTH))
    with pytest.raises(ChannelDesyncError, match="have no receipt"):
        await provider_consent(listed(), channel)
    assert (connection.asked, connection.closed) == ([], True)
    connection = meet(FakeConnection(AUTH), recovered=lambda: channel.refuse(request_id(1)))
    assert await provider_consent(listed(), channel) == AUTH  # it came with the session


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (Error("draining", "going", 0, {}), ProviderOverloadedError, "going"),
        (Error("epoch_mismatch", "old", 0, {}), ChannelDesyncError, "differently"),
        (Pong(b""), ChannelDesyncError, "something else"),
    ],
)
async def test_answers_that_are_no_consent(channel, meet, answer, error, says) -> None:
    connection = meet(FakeConnection(answer))
    with pytest.raises(error, match=says):
        await provider_consent(listed(), channel)
    assert connection.closed


async def test_silence_and_a_full_session_end(channel, meet, monkeypatch) -> None:
    monkeypatch.setattr(consent, "CONSENT_LIMIT", 0.05)
    connection = meet(FakeConnection(None))
    with pytest.raises(DeadlineError, match="did not agree"):
        await provider_consent(listed(), channel)
    assert connection.closed
    connection = meet(FakeConnection(AUTH, full=True))
    with pytest.raises(ChannelDesyncError, match="no more requests"):
        await provider_consent(listed(), channel)
    assert connection.closed
