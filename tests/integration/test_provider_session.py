"""A provider on loopback and a client by hand: every way a request can go (wire.md, payments.md §3)."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cocoon_provider.backends.base import Event
from cocoon_provider.backends.echo import EchoBackend, EchoGeneration
from cocoon_provider.opening import Opening
from cocoon_sdk.errors import WireCode
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.payments.meter import Counts, Price, cost
from cocoon_sdk.payments.receipt import FinishReason, ResponseHash, verify_receipt
from cocoon_sdk.payments.voucher import CloseAuth, verify_close_auth
from cocoon_sdk.protocol import messages
from cocoon_sdk.protocol.constants import SUBPROTOCOL
from cocoon_sdk.protocol.messages import frame_type
from cocoon_sdk.ton.chain import DEVNET_NETWORK
from tests.provider_world import (
    PRICE,
    FakeChain,
    RawClient,
    build_world,
    buy,
    make_config,
    request,
    running,
)

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def test_a_paid_answer_is_delivered_metered_and_receipted(tmp_path: Path) -> None:
    async with running(build_world(tmp_path)) as world:
        channel = world.channel()
        async with RawClient.dial(world, channel) as client:
            text = "The quick brown fox jumps over the lazy dog. " * 5
            asked = request(world, text)
            outcome = await buy(client, world, channel, asked)
            assert outcome.text == text
            receipt = outcome.receipt(world)
            assert receipt.finish is FinishReason.STOP
            assert receipt.counts.completion == len(outcome.ids) == len(text)
            assert receipt.price == cost(receipt.counts, PRICE) == receipt.spent
            assert (receipt.seq, receipt.client) == (1, channel.key.public_key)
            running_hash = ResponseHash()
            for event in outcome.frames:
                running_hash.update(frame_type(event.message), event.body)
            assert receipt.response_hash == running_hash.digest()
            assert len(outcome.meters) >= len(text) // 32
            assert all(len(event.body) <= 246 for event in outcome.frames)
            results = [e.message for e in outcome.frames if isinstance(e.message, messages.Result)]
            assert [(r.kind, r.data) for r in results] == [
                ("finish", {"choice": 0, "reason": "stop"})
            ]
            assert receipt.session_id == client.session.session_id


async def test_a_free_model_is_served_anonymously(tmp_path: Path) -> None:
    async with running(build_world(tmp_path)) as world, RawClient.dial(world) as client:
        stream = await client.open(request(world, "hello free world", model="free"))
        text, raw = await _collect(client, stream)
        assert text == "hello free world"
        receipt = verify_receipt(raw, world.identity.public_key)
        assert (receipt.client, receipt.channel) == (bytes(32), bytes(32))
        assert (receipt.price, receipt.spent, receipt.seq, receipt.epoch) == (0, 0, 0, 0)
        assert receipt.counts.completion == len("hello free world")
        assert receipt.counts.prompt > 0


async def test_a_free_and_a_paid_model_share_one_channels_receipts(tmp_path: Path) -> None:
    async with running(build_world(tmp_path)) as world:
        channel = world.channel()
        async with RawClient.dial(world, channel) as client:
            paid = await buy(client, world, channel, request(world, "paid"))
            stream = await client.open(request(world, "free", model="free"))
            _, raw = await _collect(client, stream)
            free = verify_receipt(raw, world.identity.public_key)
            first = paid.receipt(world)
            assert (free.seq, free.price, free.spent) == (2, 0, first.spent)
            assert free.channel == channel.address.hash


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model": "nope"}, WireCode.MODEL_NOT_FOUND),
        ({"price": Price(1, 1, 1)}, WireCode.PRICE_CHANGED),
        (
            {"price": Price(PRICE.prompt, PRICE.cached, PRICE.completion - 1)},
            WireCode.PRICE_CHANGED,
        ),
        (
            {"price": Price(PRICE.prompt, 2 * PRICE.prompt, PRICE.completion)},
            WireCode.INVALID_REQUEST,
        ),
        ({"price": Price(2**63 - 1, 0, 2**63 - 1)}, WireCode.PRICE_CHANGED),
        ({"temperature": "warm"}, WireCode.INVALID_REQUEST),
        ({"max_tokens": 10_000_000}, WireCode.CONTEXT_LENGTH),
        ({}, WireCode.PAYMENT_REQUIRED),
    ],
)
async def test_what_cannot_be_served_is_refused_and_costs_nothing(
    tmp_path: Path, change: dict[str, object], code: WireCode
) -> None:
    async with running(build_world(tmp_path)) as world:
        channel = world.channel()
        async with RawClient.dial(world, channel) as client:
            stream = await client.open(request(world, "x", **change))  # type: ignore[arg-type]
            answer = await client.next(stream)
            assert isinstance(answer.message, messages.Error)
            assert (answer.message.code, answer.end) == (code, True)
            if code is WireCode.PRICE_CHANGED:
                assert answer.message.detail["price"] == list(PRICE)
            good = await buy(client, world, channel, request(world, "still served"))
            assert good.receipt(world).seq == 1


async def test_an_anonymous_client_cannot_use_a_paid_model(tmp_path: Path) -> None:
    async with running(build_world(tmp_path)) as world, RawClient.dial(world) as client:
        stream = await client.open(request(world, "x"))
        answer = (await client.next(stream)).message
        assert isinstance(answer, messages.Error)
        assert answer.code == WireCode.PAYMENT_REQUIRED


async def test_a_session_of_another_key_cannot_use_a_channel(tmp_path: Path) -> None:
    async with running(build_world(tmp_path)) as world:
        channel = world.channel()
        async with RawClient.dial(world, channel, key=Ed25519Key.generate()) as client:
            for question in (messages.StateGet(), messages.ReceiptGet(None, 1)):
                answer = await client.ask(question)
                assert isinstance(answer, messages.Error)
                assert answer.code == WireCode.CHANNEL_UNKNOWN


async def test_a_client_that_stops_paying_is_cut_off_and_billed_what_it_got(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cocoon_provider.serving.VOUCHER_TIMEOUT", 0.3)
    async with running(build_world(tmp_path)) as world:
        channel = world.channel()
        async with RawClient.dial(world, channel) as client:
            outcome = await buy(client, world, channel, request(world, "a" * 500), pay=False)
            assert outcome.error is not None
            assert outcome.error.code == WireCode.PAYMENT_REQUIRED
            receipt = outcome.receipt(world)
            assert receipt.finish is FinishReason.ERROR
            assert receipt.counts.completion == len(outcome.ids) == 64  # one window, no more
            assert receipt.spent <= channel.signed


async def test_a_cancel_is_billed_for_what_was_delivered(tmp_path: Path) -> None:
    world = build_world(tmp_path, backend=EchoBackend(("echo", "free"), delay=0.01))
    async with running(world):
        channel = world.channel()
        async with RawClient.dial(world, channel) as client:
            voucher = channel.voucher(50_000_000)
            stream = await client.open(request(world, "b" * 400, voucher=voucher))
            while not isinstance((await client.next(stream)).message, messages.Delta):
                pass
            await client.send(stream, messages.Cancel(), end=True)
            ids, raw = 1, b""
            while not raw:
                match (await client.next(stream)).message:
                    case messages.Delta(ids=more):
                        ids += len(more)
                    case messages.Receipt(raw=raw):
                        pass
            receipt = verify_receipt(raw, world.identity.public_key)
            assert receipt.finish is FinishReason.CANCELLED
            assert receipt.counts.completion == ids < 64
            assert receipt.counts.prompt > 400
            assert receipt.price == cost(receipt.counts, PRICE)


async def test_a_cancel_with_the_request_costs_nothing(tmp_path: Path) -> None:
    world = build_world(tmp_path, backend=_Stuck(("echo", "free")))
    async with running(world):
        channel = world.channel()
        async with RawClient.dial(world, channel) as client:
            stream = await client.open(request(world, "b", voucher=channel.voucher(50_000_000)))
            await client.send(stream, messages.Cancel(), end=True)
            answer = await client.next(stream)
            assert isinstance(answer.message, messages.Receipt)
            receipt = verify_receipt(answer.message.raw, world.identity.public_key)
            assert (receipt.price, receipt.finish) == (0, FinishReason.CANCELLED)


async def test_the_same_request_again_is_answered_from_memory_and_charged_once(
    tmp_path: Path,
) -> None:
    async with running(build_world(tmp_path)) as world:
        channel = world.channel()
        asked = request(world, "once", voucher=channel.voucher(100_000_000))
        async with RawClient.dial(world, channel) as client:
            first = await buy(client, world, channel, asked)
            again = await buy(client, world, channel, asked)
            assert again.raw == first.raw
            assert [e.body for e in again.frames] == [e.body for e in first.frames]
            state = await client.ask(messages.StateGet())
            assert isinstance(state, messages.State)
            assert (state.seq, state.spent) == (1, first.receipt(world).price)
            other = request(world, "twice", voucher=asked.voucher, request_id=asked.id)
            stream = await client.open(other)
            answer = (await client.next(stream)).message
            assert isinstance(answer, messages.Error)
            assert answer.code == WireCode.DUPLICATE_REQUEST


async def test_a_request_id_is_not_charged_again_after_a_restart(tmp_path: Path) -> None:
    chain = FakeChain()
    world = build_world(tmp_path, chain=chain)
    channel = world.channel()
    asked = request(world, "once", voucher=channel.voucher(100_000_000))
    async with running(world), RawClient.dial(world, channel) as client:
        first = await buy(client, world, channel, asked)
    async with (
        running(build_world(tmp_path, chain=chain)) as world,
        RawClient.dial(world, channel) as client,
    ):
        again = await buy(client, world, channel, asked)
        assert (again.raw, again.frames) == (first.raw, [])


async def test_state_and_receipts_can_be_asked_for(tmp_path: Path) -> None:
    async with running(build_world(tmp_path)) as world:
        channel = world.channel()
        async with RawClient.dial(world, channel) as client:
            before = await client.ask(messages.StateGet())
            assert before == messages.State(channel.data.epoch, 0, bytes(64), 0, 0)
            outcome = await buy(client, world, channel, request(world, "hello"))
            state = await client.ask(messages.StateGet())
            assert isinstance(state, messages.State)
            receipt = outcome.receipt(world)
            assert (state.seq, state.spent) == (1, receipt.spent)
            while state.signed < channel.signed:  # the last voucher crossed the receipt
                state = await client.ask(messages.StateGet())
                assert isinstance(state, messages.State)
            assert state.signature == channel.voucher(channel.signed).signature
            for question in (
                messages.ReceiptGet(receipt.request_id, None),
                messages.ReceiptGet(None, 1),
                messages.ReceiptGet(),
            ):
                assert await client.ask(question) == messages.Receipt(outcome.raw or b"")
            for question in (
                messages.ReceiptGet(bytes(16), None),
                messages.ReceiptGet(None, 2),
                messages.ReceiptGet(None, 2**64 - 1),
            ):
                answer = await client.ask(question)
                assert isinstance(answer, messages.Error)
                assert answer.code == WireCode.NOT_FOUND


async def test_streams_in_parallel_share_one_channel_over_two_connections(tmp_path: Path) -> None:
    async with running(build_world(tmp_path)) as world:
        channel = world.channel()
        async with RawClient.dial(world, channel) as one, RawClient.dial(world, channel) as two:
            channel.signed = 400_000_000  # covers all windows of both
            voucher = channel.voucher(channel.signed)
            asked = [request(world, f"stream {i} " * 20, voucher=voucher) for i in range(2)]
            outcomes = await asyncio.gather(
                buy(one, world, channel, asked[0]), buy(two, world, channel, asked[1])
            )
            receipts = sorted((o.receipt(world) for o in outcomes), key=lambda r: r.seq)
            assert [r.seq for r in receipts] == [1, 2]
            assert receipts[1].spent == receipts[0].price + receipts[1].price


async def test_one_voucher_does_not_pay_for_two_requests(tmp_path: Path) -> None:
    world = build_world(tmp_path, backend=EchoBackend(("echo", "free"), delay=0.02))
    async with running(world):
        channel = world.channel()
        async with RawClient.dial(world, channel) as client:
            text = "c" * 200
            prompt_cost = cost(Counts(prompt=len(text) + 30), PRICE)
            voucher = channel.voucher(prompt_cost + 64 * PRICE.completion // 1_000_000)
            first = await client.open(request(world, text, voucher=voucher))
            while not isinstance((await client.next(first)).message, messages.Meter):
                pass
            second = await client.open(request(world, text, voucher=voucher))
            answer = await client.next(second)
            assert isinstance(answer.message, messages.Error)
            assert answer.message.code == WireCode.PAYMENT_REQUIRED
            assert answer.message.detail["required"] > answer.message.detail["accepted"]
            await client.send(first, messages.Cancel(), end=True)


async def test_a_top_up_is_noticed_when_a_voucher_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cocoon_provider.mirror._REREAD_SECONDS", 0.0)
    async with running(build_world(tmp_path)) as world:
        channel = world.channel(balance=80_000_000)
        async with RawClient.dial(world, channel) as client:
            voucher = channel.voucher(90_000_000)
            stream = await client.open(request(world, "x", voucher=voucher))
            answer = (await client.next(stream)).message
            assert isinstance(answer, messages.Error)
            assert answer.code == WireCode.INSUFFICIENT_FUNDS
            assert answer.detail["available"] < 80_000_000
            channel.balance = 200_000_000
            channel.put(world.chain)
            outcome = await buy(client, world, channel, request(world, "x", voucher=voucher))
            assert outcome.raw is not None


async def test_a_closing_channel_takes_no_new_request(tmp_path: Path) -> None:
    async with running(
        build_world(tmp_path, config=make_config(channels={"mirror_ttl": 0.01}))
    ) as w:
        channel = w.channel()
        async with RawClient.dial(w, channel) as client:
            await buy(client, w, channel, request(w, "before"))
            channel.data = dataclasses.replace(channel.data, close_at=int(time.time()) + 86_400)
            channel.put(w.chain)
            await asyncio.sleep(0.02)
            voucher = channel.voucher(channel.signed + 1)
            stream = await client.open(request(w, "after", voucher=voucher))
            answer = (await client.next(stream)).message
            assert isinstance(answer, messages.Error)
            assert answer.code == WireCode.CHANNEL_CLOSING


async def test_a_cooperative_close_is_authorised_once_and_ends_the_epoch(tmp_path: Path) -> None:
    async with running(build_world(tmp_path)) as world:
        channel = world.channel()
        async with RawClient.dial(world, channel) as client:
            outcome = await buy(client, world, channel, request(world, "hello"))
            spent = outcome.receipt(world).spent
            auth = await client.ask(messages.CloseRequest(channel.data.epoch))
            assert isinstance(auth, messages.CloseAuth)
            assert (auth.epoch, auth.final) == (channel.data.epoch, spent)
            fields = CloseAuth(DEVNET_NETWORK, channel.address, auth.epoch, auth.final)
            assert verify_close_auth(world.identity.public_key, fields, auth.signature)
            assert await client.ask(messages.CloseRequest(channel.data.epoch)) == auth
            voucher = channel.voucher(channel.signed + 10_000_000)
            stream = await client.open(request(world, "more", voucher=voucher))
            answer = (await client.next(stream)).message
            assert isinstance(answer, messages.Error)
            assert answer.code == WireCode.CHANNEL_CLOSING
            wrong = await client.ask(messages.CloseRequest(channel.data.epoch + 1))
            assert isinstance(wrong, messages.Error)
            assert wrong.code == WireCode.EPOCH_MISMATCH


async def test_a_cooperative_close_waits_for_the_running_stream(tmp_path: Path) -> None:
    world = build_world(tmp_path, backend=EchoBackend(("echo", "free"), delay=0.005))
    async with running(world):
        channel = world.channel()
        async with (
            RawClient.dial(world, channel) as client,
            RawClient.dial(world, channel) as other,
        ):
            serving = asyncio.create_task(buy(client, world, channel, request(world, "d" * 150)))
            await asyncio.sleep(0.2)
            closing = asyncio.create_task(other.ask(messages.CloseRequest(channel.data.epoch)))
            outcome = await serving
            auth = await closing
            assert isinstance(auth, messages.CloseAuth)
            assert outcome.text == "d" * 150  # its vouchers were still taken
            assert auth.final == outcome.receipt(world).spent


async def test_a_lost_connection_ends_the_request_and_its_receipt_can_be_fetched(
    tmp_path: Path,
) -> None:
    world = build_world(tmp_path, backend=EchoBackend(("echo", "free"), delay=0.01))
    async with running(world):
        channel = world.channel()
        asked = request(world, "e" * 400, voucher=channel.voucher(100_000_000))
        async with RawClient.dial(world, channel) as client:
            stream = await client.open(asked)
            while not isinstance((await client.next(stream)).message, messages.Delta):
                pass
            client.socket.transport.abort()
        async with RawClient.dial(world, channel) as client:
            for _ in range(100):
                answer = await client.ask(messages.ReceiptGet(asked.id, None))
                if isinstance(answer, messages.Receipt):
                    break
                await asyncio.sleep(0.05)
            assert isinstance(answer, messages.Receipt)
            receipt = verify_receipt(answer.raw, world.identity.public_key)
            assert receipt.finish is FinishReason.CANCELLED
            assert 0 < receipt.counts.completion < 100


async def test_a_restart_issues_receipts_from_the_durable_due(tmp_path: Path) -> None:
    chain = FakeChain()
    world = build_world(tmp_path, chain=chain)
    channel = world.channel()
    crashed = build_world(tmp_path, chain=chain)
    facts = await crashed.books.mirror._first_look(channel.address)
    voucher = channel.voucher(100_000_000)
    start = Opening(
        request_id=b"r" * 16,
        request_hash=b"h" * 32,
        session_id=b"s" * 16,
        model_hash=b"m" * 32,
        price=PRICE,
        window=50_000_000,
        first=Counts(prompt=100),
        response_hash=b"0" * 32,
    )
    book = crashed.books.book
    await book.open_stream(facts.key, start, voucher, channel.key.public_key)
    done = Counts(prompt=100, completion=16)
    await book.advance(
        facts.key, start.request_id, done, b"1" * 32, window=1, granted=done, targets=[]
    )
    await crashed.books.aclose()  # without finishing: as after a kill
    async with running(world), RawClient.dial(world, channel) as client:
        answer = await client.ask(messages.ReceiptGet(start.request_id, None))
        assert isinstance(answer, messages.Receipt)
        receipt = verify_receipt(answer.raw, world.identity.public_key)
        assert (receipt.counts, receipt.response_hash) == (done, b"1" * 32)
        assert (receipt.finish, receipt.price) == (FinishReason.ERROR, cost(done, PRICE))


async def test_draining_refuses_new_requests_and_finishes_running_ones(tmp_path: Path) -> None:
    world = build_world(tmp_path, backend=EchoBackend(("echo", "free"), delay=0.01))
    async with running(world):
        channel = world.channel()
        async with RawClient.dial(world, channel) as client:
            voucher = channel.voucher(100_000_000)
            stream = await client.open(request(world, "f" * 60, voucher=voucher))
            while not isinstance((await client.next(stream)).message, messages.Delta):
                pass
            stopping = asyncio.create_task(world.provider.stop())
            await asyncio.sleep(0.05)
            refused = await client.open(request(world, "late", model="free"))
            answer = (await client.next(refused)).message
            assert isinstance(answer, messages.Error)
            assert answer.code == WireCode.DRAINING
            _, raw = await _collect(client, stream)
            assert verify_receipt(raw, world.identity.public_key).finish is FinishReason.STOP
            while client.closed is None:
                await client.pull()
            assert client.closed.reason == messages.CloseReason.GOING_AWAY
            await stopping


async def test_requests_wait_in_line_and_the_line_has_an_end(tmp_path: Path) -> None:
    config = make_config(limits={"requests": 1, "waiting": 1, "hello_burst": 1000})
    world = build_world(tmp_path, config=config, backend=EchoBackend(("echo", "free"), delay=0.02))
    async with running(world), RawClient.dial(world) as client:
        one = await client.open(request(world, "g" * 20, model="free"))
        while not isinstance((await client.next(one)).message, messages.Delta):
            pass
        two = await client.open(request(world, "h", model="free"))
        queued = (await client.next(two)).message
        assert isinstance(queued, messages.Queue)
        assert queued.position == 1
        three = await client.open(request(world, "i", model="free"))
        answer = (await client.next(three)).message
        assert isinstance(answer, messages.Error)
        assert answer.code == WireCode.OVERLOADED
        assert answer.retry_after_ms > 0
        text, _ = await _collect(client, two)
        assert text == "h"


async def test_a_backend_that_fails_is_an_error_without_its_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = build_world(tmp_path, backend=_Broken(("echo", "free")))
    async with running(world):
        channel = world.channel()
        async with RawClient.dial(world, channel) as client:
            outcome = await buy(client, world, channel, request(world, "SECRET-CANARY"))
            assert outcome.error is not None
            assert outcome.error.code == WireCode.INTERNAL
            assert outcome.raw is None  # nothing was billed, so ERROR ends the stream
            assert "SECRET-CANARY" not in caplog.text
            assert "SECRET-CANARY" not in outcome.error.message


async def test_prompts_and_answers_never_reach_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="cocoon_provider")
    caplog.set_level("DEBUG", logger="cocoon_sdk")
    async with running(build_world(tmp_path)) as world:
        channel = world.channel()
        async with RawClient.dial(world, channel) as client:
            await buy(client, world, channel, request(world, "SECRET-CANARY " * 20))
    assert "SECRET-CANARY" not in caplog.text


async def test_the_public_pages(tmp_path: Path) -> None:
    async with running(build_world(tmp_path)) as world, httpx.AsyncClient() as web:
        base = f"http://127.0.0.1:{world.port}"
        assert (await web.get(f"{base}/healthz")).json() == {"status": "ok"}
        listed = (await web.get(f"{base}/v1/models")).json()["data"]
        assert [model["id"] for model in listed] == ["echo", "free"]
        info = world.backend.models["echo"]
        bundle = await web.get(f"{base}/tokens/{info.tokens_hash.hex()}")
        assert hashlib.sha256(bundle.content).digest() == info.tokens_hash
        assert (await web.get(f"{base}/tokens/{'0' * 64}")).status_code == 404
        assert (await web.get(f"{base}/../etc/passwd")).status_code == 404


async def test_text_and_fragmented_messages_end_the_connection(tmp_path: Path) -> None:
    async with running(build_world(tmp_path)) as world:
        for bad in ("text", [b"one", b"two"]):
            async with connect(world.url, subprotocols=[SUBPROTOCOL]) as socket:
                await socket.send(bad)
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.recv()
                assert closed.value.rcvd is not None
                assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4400, "")


async def test_an_address_that_connects_too_often_is_refused(tmp_path: Path) -> None:
    config = make_config(limits={"hello_burst": 3, "hellos_per_second": 0.001})
    async with running(build_world(tmp_path, config=config)) as world, httpx.AsyncClient() as web:
        codes = [
            (await web.get(f"http://127.0.0.1:{world.port}/healthz")).status_code for _ in range(4)
        ]
        assert codes == [200, 200, 200, 429]


async def test_compression_and_a_missing_subprotocol_are_not_accepted(tmp_path: Path) -> None:
    async with running(build_world(tmp_path)) as world:
        async with connect(world.url, subprotocols=[SUBPROTOCOL]) as socket:
            assert socket.protocol.extensions == []
        with pytest.raises(InvalidStatus):
            await connect(world.url)


async def _collect(client: RawClient, stream: int) -> tuple[str, bytes]:
    """Text and receipt of a stream that needs no vouchers."""
    text = ""
    while True:
        event = await client.next(stream)
        match event.message:
            case messages.Delta() as delta:
                text += delta.text
            case messages.Receipt(raw=raw):
                assert event.end
                return text, raw
            case messages.Error() as error:
                pytest.fail(f"{error.code}: {error.message}")
            case _:
                pass


class _Stuck(EchoBackend):
    """Accepts requests and never produces anything."""

    def submit(self, request: messages.Request, *, client_key: bytes | None) -> EchoGeneration:
        generation = super().submit(request, client_key=client_key)
        generation.grant = lambda **_: None  # type: ignore[method-assign]
        return generation


class _Broken(EchoBackend):
    """Fails while answering, with the prompt in its message."""

    def submit(self, request: messages.Request, *, client_key: bytes | None) -> EchoGeneration:
        class Failing(EchoGeneration):
            async def _events(self) -> AsyncIterator[Event]:
                raise RuntimeError(str(request.body))
                yield  # pragma: no cover

        made = super().submit(request, client_key=client_key)
        made.__class__ = Failing
        return made
