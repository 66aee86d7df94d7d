"""What is done ahead of a first request, and what a warm session then costs."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as change

from cocoon_sdk.errors import ConnectError, ModelNotFoundError
from cocoon_sdk.protocol.messages import Ack, Message, Request, StateGet, Voucher
from cocoon_sdk.routing.policy import Routing
from cocoon_sdk.transport import rest
from cocoon_sdk.transport.connection import Connection
from cocoon_sdk.transport.core import Timeouts
from cocoon_sdk.types.events import SessionReady
from tests.stub_provider import StubProvider, ask, make_customer

pytestmark = pytest.mark.anyio


async def test_the_first_request_after_it_finds_everything_ready(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            assert await client.prewarm(model="stub") == stub.id
            assert await client.prewarm(model="stub") == stub.id  # again: nothing more to do
            assert stub.handshakes == 1
            assert [type(one) for one in stub.questions] == [StateGet]
            assert stub.talks == []
            pages = list(stub.pages)
            await client.chat.completions.create(**ask())
            assert stub.pages == pages
            assert stub.handshakes == 1
        ready = [event for event in customer.events if isinstance(event, SessionReady)]
        assert [event.reused for event in ready] == [False, True, True]
        channel = await customer.channel()
        assert channel.spent == stub.books.spent  # by the request alone


async def test_a_warm_session_costs_no_round_trip_and_no_look_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REQUEST is the first thing on the wire, and nothing is asked of anybody before."""
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            await client.prewarm(model="stub")
            asked: list[Any] = []
            loop = asyncio.get_running_loop()
            monkeypatch.setattr(loop, "getaddrinfo", lambda *a, **k: asked.append(a))
            monkeypatch.setattr(loop, "sock_connect", lambda *a, **k: asked.append(a))
            monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: asked.append(a))
            sent: list[Message] = []
            seal = stub.lines[0].take

            def take(event: Any) -> None:
                if hasattr(event, "message"):
                    sent.append(event.message)
                seal(event)

            monkeypatch.setattr(stub.lines[0], "take", take)
            before = stub.lines[0].session.frames_received
            await client.chat.completions.create(**ask())
            assert [type(one) for one in sent][:1] == [Request]
            assert {type(one) for one in sent[1:]} <= {Voucher, Ack}
            assert stub.lines[0].session.frames_received - before == len(sent)  # one record each
            assert asked == []
            assert len(stub.lines) == 1


async def test_a_provider_that_is_down_leaves_it_to_the_next(tmp_path: Path) -> None:
    async with StubProvider().listening() as one, StubProvider().listening() as two:
        down = change(one.descriptor(port=1))
        customer = make_customer(tmp_path, (one, down), (two, two.descriptor()))
        async with customer.client() as client:
            assert await client.prewarm(model="stub") == two.id


async def test_why_nobody_can_be_warmed_is_said(tmp_path: Path) -> None:
    stub = StubProvider()
    async with stub.listening():
        customer = make_customer(tmp_path, (stub, stub.descriptor(port=1)))
        async with customer.client() as client:
            with pytest.raises(ModelNotFoundError):
                await client.prewarm(model="unknown")
            with pytest.raises(ConnectError, match="cannot reach"):
                await client.prewarm(model="stub")


async def test_all_endpoints_of_a_descriptor_are_tried(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        several = change(
            stub.descriptor(), endpoints=["ws://127.0.0.1:1", f"ws://127.0.0.1:{stub.port}"]
        )
        customer = make_customer(tmp_path, (stub, several))
        async with customer.client() as client:
            assert (await client.chat.completions.create(**ask())).text
        assert stub.handshakes == 1


async def test_an_idle_session_is_closed_by_us_and_the_next_request_opens_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            await client.prewarm(model="stub")
            monkeypatch.setattr(rest, "IDLE_LIMIT", 0.1)
            await client.chat.completions.create(**ask())  # still on the first
            assert stub.handshakes == 1
            await asyncio.sleep(0.2)
            await client.chat.completions.create(**ask())
            assert stub.handshakes == 2
            async with asyncio.timeout(5):  # and the first is not kept open
                await stub.lines[0].socket.wait_closed()


async def test_running_streams_end_on_the_old_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A successor takes new requests over without a pause for those at work."""
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            await client.prewarm(model="stub")
            release, honest = asyncio.Event(), stub.answer

            async def slow(talk: Any) -> None:
                await release.wait()
                await honest(talk)

            stub.answer = slow
            first = asyncio.create_task(client.chat.completions.create(**ask()))
            while not stub.talks:
                await asyncio.sleep(0.01)
            old = stub.talks[0].line
            with monkeypatch.context() as patched:
                patched.setattr(Connection, "ageing", True)
                second = asyncio.create_task(client.chat.completions.create(**ask()))
                while stub.handshakes < 2:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.05)
                patched.setattr(
                    Connection, "ageing", property(lambda one: one.session.frames_sent > 4)
                )
                release.set()
                assert (await first).text
                assert (await second).text
            assert stub.talks[0].line is old
            assert stub.handshakes == 2


async def test_a_provider_that_takes_the_question_and_says_nothing_is_left_in_time(
    tmp_path: Path,
) -> None:
    async with StubProvider().listening() as one, StubProvider().listening() as two:
        one.state = lambda: None  # type: ignore[method-assign]
        customer = make_customer(tmp_path, (one, one.descriptor()), (two, two.descriptor()))
        async with customer.client(
            timeouts=Timeouts(connect=0.5), routing=Routing(order=[one.id])
        ) as client:
            async with asyncio.timeout(10):
                assert await client.prewarm(model="stub") == two.id
            assert [type(question) for question in one.questions] == [StateGet]
