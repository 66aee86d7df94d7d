"""Clients that try to hold up the provider's other customers (payments.md §3, wire.md "Limits")."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from cocoon_provider.admission import Client
from cocoon_provider.inbox import Inbox
from cocoon_provider.outcomes import Outcomes
from cocoon_provider.service import Service
from cocoon_sdk.errors import StoreError, WireCode
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.payments.meter import Counts, window_cost
from cocoon_sdk.protocol import messages
from cocoon_sdk.protocol.constants import SUBPROTOCOL
from cocoon_sdk.protocol.session import ChannelId, ClientSession
from cocoon_sdk.store.writer import Writer
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import AccountState
from tests.provider_world import (
    PRICE,
    FakeChain,
    FakeChannel,
    RawClient,
    World,
    build_world,
    buy,
    make_config,
    request,
    running,
)

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

FIRST_WINDOW = window_cost(PRICE, Counts(), prompt_total=100_000, max_tokens=4096)


def one_at_a_time(**changes: object) -> Any:
    """Settings with a single slot and no line before it."""
    return make_config(limits={"requests": 1, "waiting": 0, "hello_burst": 1000}, **changes)


def stranger_at(address: Address) -> FakeChannel:
    """The key of somebody who names a channel that is not theirs, or none at all."""
    return cast("FakeChannel", SimpleNamespace(key=Ed25519Key.generate(), address=address))


class SlowForStrangers(FakeChain):
    """Answers about unknown accounts come only after `release`."""

    def __init__(self) -> None:
        super().__init__()
        self.release = asyncio.Event()
        self.asking = 0

    async def get_account(self, address: Address) -> AccountState:
        if address not in self.accounts:
            self.asking += 1
            await self.release.wait()
        return await super().get_account(address)


async def test_a_channel_in_another_workchain_ends_the_handshake_quietly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with running(build_world(tmp_path)) as world:
        for workchain in (-1, 1, 2**31 - 1, -(2**31)):
            session = ClientSession(
                provider_id=world.identity.public_key,
                signer=Ed25519Key.generate(),
                channel=ChannelId(workchain, bytes(32)),
                registry=None,
                random=secrets.token_bytes,
                clock=time.monotonic,
            )
            async with connect(world.url, subprotocols=[SUBPROTOCOL], compression=None) as socket:
                session.start()
                with pytest.raises(ConnectionClosed) as closed:
                    while True:
                        for message in session.outgoing():
                            await socket.send(message)
                        session.receive(cast("bytes", await socket.recv()))
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4401
    assert not [record for record in caplog.records if record.exc_info]


async def test_vouchers_without_end_do_not_hold_a_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cocoon_provider.serving.VOUCHER_TIMEOUT", 0.5)
    commit = Writer.commit

    def slow_disk(writer: Writer, group: Any) -> None:
        time.sleep(0.004)
        commit(writer, group)

    monkeypatch.setattr(Writer, "commit", slow_disk)
    async with running(build_world(tmp_path, config=one_at_a_time())) as world:
        channel = world.channel()
        async with RawClient.dial(world, channel) as client:
            voucher = channel.voucher(FIRST_WINDOW)  # enough to begin, never enough to go on
            stream = await client.open(request(world, "hello " * 400, voucher=voucher))
            ended = asyncio.create_task(_ending(client, stream))
            async with asyncio.timeout(8):
                while not ended.done():
                    client.session.send(stream, voucher)
                    await client.flush()
                    await asyncio.sleep(0.0005)
            assert ended.result() == WireCode.PAYMENT_REQUIRED


async def _ending(client: RawClient, stream: int) -> str:
    while True:
        message = (await client.next(stream)).message
        if isinstance(message, messages.Error):
            return message.code


class Ended(Service):
    """A stream that has just got its receipt."""

    inbox: Inbox

    async def _run(self, *_: Any) -> bytes:
        self.inbox.put(VOUCHER)
        return RECEIPT


class Busy(Ended):
    async def late_voucher(self, client: Client, voucher: messages.Voucher) -> None:
        self.inbox.put(voucher)


RECEIPT = bytes(352)
VOUCHER = messages.Voucher(1, 1, bytes(64), 0)


@pytest.mark.parametrize("kind", [Busy, Ended])
async def test_late_vouchers_do_not_cost_the_receipt(kind: type[Ended]) -> None:
    """Neither those that arrive while others are kept, nor those that cannot be kept."""
    sent = list[messages.Message]()
    outcomes = Outcomes(time.monotonic)
    outcome = outcomes.begin(b"", bytes(16), bytes(32))

    async def admit(*_: Any) -> Any:
        return SimpleNamespace(outcome=outcome, billing=SimpleNamespace(metered=False))

    async def channel(*_: Any) -> Any:
        raise StoreError("the database is locked")

    async def send(message: messages.Message, *, end: bool = False) -> None:
        assert end
        sent.append(message)

    nothing = cast("Any", None)
    service = kind(
        admission=cast("Any", SimpleNamespace(admit=admit, channel=channel)),
        book=nothing,
        outcomes=outcomes,
        closing=nothing,
        clock=time.monotonic,
    )
    service.inbox = Inbox()
    await service.serve(Client(bytes(16), None, None), nothing, b"", service.inbox, send)
    assert sent == [messages.Receipt(RECEIPT)]


async def test_strangers_without_a_channel_take_no_place_in_line(tmp_path: Path) -> None:
    chain = SlowForStrangers()
    async with running(build_world(tmp_path, config=one_at_a_time(), chain=chain)) as world:
        customer = world.channel()
        nowhere = stranger_at(Address(0, secrets.token_bytes(32)))
        async with RawClient.dial(world, nowhere) as stranger:
            await stranger.open(request(world, "y" * 1000))
            async with RawClient.dial(world, customer) as client:
                while not chain.asking:
                    await asyncio.sleep(0.01)
                served = await buy(client, world, customer, request(world, "honest"))
                assert served.text == "honest"
            chain.release.set()


async def test_a_request_that_names_no_channel_is_not_tokenised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(build_world(tmp_path)) as world:

        def submit(*_: Any, **__: Any) -> Any:
            raise AssertionError("work before payment")

        monkeypatch.setattr(world.backend, "submit", submit)
        async with RawClient.dial(world) as client:
            assert await refused(client, world) == WireCode.PAYMENT_REQUIRED


async def refused(client: RawClient, world: World) -> str:
    stream = await client.open(request(world, "x" * 1000))
    message = (await client.next(stream)).message
    assert isinstance(message, messages.Error)
    return message.code


async def test_vouchers_beyond_the_funds_do_not_have_the_chain_read_at_will(
    tmp_path: Path,
) -> None:
    async with running(build_world(tmp_path)) as world:
        channel = world.channel()
        async with RawClient.dial(world, channel) as client:
            for _ in range(5):
                voucher = channel.voucher(FIRST_WINDOW)
                stream = await client.open(request(world, "hello " * 400, voucher=voucher))
                await client.send(stream, channel.voucher(2**62))
                assert await _ending(client, stream) == WireCode.INSUFFICIENT_FUNDS
                client.session.send(stream, messages.Ack(), end=True)
            assert world.chain.reads <= 2


async def test_cancelling_before_the_first_meter_is_not_free_work_for_ever(
    tmp_path: Path,
) -> None:
    async with running(build_world(tmp_path)) as world:
        channel, other = world.channel(), world.channel()
        voucher = channel.voucher(FIRST_WINDOW)
        seen: list[str] = []
        async with RawClient.dial(world, channel) as client:
            for _ in range(60):
                stream = await client.open(request(world, "hello " * 300, voucher=voucher))
                await client.send(stream, messages.Cancel(), end=True)
                message = (await client.next(stream)).message
                while not isinstance(message, messages.Receipt | messages.Error):
                    message = (await client.next(stream)).message
                seen.append(message.code if isinstance(message, messages.Error) else "receipt")
            assert 32 <= seen.count("receipt") <= 40
            assert set(seen[41:]) == {WireCode.OVERLOADED}
        async with RawClient.dial(world, other) as client:
            served = await buy(client, world, other, request(world, "honest"))
            assert served.text == "honest"
