"""A provider that lies in one thing at a time (threats.md, "Honesty"): found, named, never asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cocoon_sdk.errors import (
    CocoonError,
    ConnectError,
    DecryptionError,
    HandshakeError,
    NoProviderError,
    OverchargeError,
    ReceiptMismatchError,
    VerificationError,
)
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.payments.meter import Counts, cost
from cocoon_sdk.protocol import messages
from cocoon_sdk.protocol.messages import Channel, Delta
from tests.stub_provider import (
    PRICE,
    WORDS,
    StubProvider,
    Talk,
    ask,
    honest,
    make_customer,
)

pytestmark = pytest.mark.anyio


def more(talk: Talk, **counts: int) -> Counts:
    """The true counts with something on top."""
    return Counts(*(a + b for a, b in zip(talk.counts, Counts(**counts), strict=True)))


def right(talk: Talk) -> int:
    """The true price."""
    return cost(talk.counts, PRICE)


def cached(talk: Talk) -> Counts:
    """Four tokens declared as found in the cache, which makes the answer cheaper."""
    return talk.counts._replace(prompt=talk.counts.prompt - 4, cached=4)


async def no_end(talk: Talk) -> None:
    """Delivers past max_tokens."""
    await talk.prefill()
    for _ in range(100):
        await talk.say("x" * 16)


async def two_choices(talk: Talk) -> None:
    """Hides paid text in a choice that nobody asked for."""
    await talk.prefill()
    await talk.say("hidden text here", choice=1)


async def gap(talk: Talk) -> None:
    """Leaves out a piece that it hashed."""
    await talk.prefill()
    await talk.say("one ")
    talk.seq += 1
    await talk.say("two")


async def same_receipt_twice(talk: Talk) -> None:
    """Sends the receipt of the first request for the second as well."""
    if talk.stub.books.receipts:
        await talk.prefill()
        await talk.say(WORDS)
        await talk.send(messages.Receipt(talk.stub.books.receipts[1]), end=True)
    else:
        await honest()(talk)


async def empty_pieces(talk: Talk) -> None:
    """Bills tokens that carry no text."""
    await talk.prefill()
    await talk.say("short")
    await talk.deliver(Delta(talk.seq, 0, Channel.CONTENT, "", [65] * 40))
    await talk.finish()
    await talk.receipt()


LIES: dict[str, tuple[Callable[[Talk], Awaitable[None]], type[CocoonError], str]] = {
    "one completion token more": (
        honest(receipt=lambda t: {"counts": more(t, completion=1)}),
        OverchargeError,
        "completion tokens",
    ),
    "one completion token fewer": (
        honest(receipt=lambda t: {"counts": t.counts._replace(completion=t.counts.completion - 1)}),
        OverchargeError,
        "completion tokens",
    ),
    "one prompt token more": (
        honest(receipt=lambda t: {"counts": more(t, prompt=1)}),
        OverchargeError,
        "prompt tokens",
    ),
    "price one nano higher": (
        honest(receipt=lambda t: {"price": right(t) + 1, "spent": 10**9}),
        OverchargeError,
        "costs",
    ),
    "cumulative too high": (
        honest(receipt=lambda t: {"spent": right(t) + 1}),
        ReceiptMismatchError,
        "spent",
    ),
    "cumulative beyond what was signed": (
        honest(receipt={"spent": 10**15}),
        OverchargeError,
        "signed",
    ),
    "sequence number reused": (honest(receipt={"seq": 0}), ReceiptMismatchError, "twice"),
    "another request": (honest(receipt={"request_id": b"r" * 16}), ReceiptMismatchError, "request id"),
    "another request body": (honest(receipt={"request_hash": b"r" * 32}), ReceiptMismatchError, "request hash"),
    "another session": (honest(receipt={"session_id": b"s" * 16}), ReceiptMismatchError, "session id"),
    "another model": (honest(receipt={"model_hash": b"x" * 32}), ReceiptMismatchError, "model hash"),
    "another client": (honest(receipt={"client": b"c" * 32}), ReceiptMismatchError, "client"),
    "another channel": (honest(receipt={"channel": b"c" * 32}), ReceiptMismatchError, "channel"),
    "another epoch": (honest(receipt={"epoch": 41}), ReceiptMismatchError, "epoch"),
    "another network": (honest(receipt={"network": -239}), ReceiptMismatchError, "network"),
    "another answer": (honest(receipt={"response_hash": b"h" * 32}), ReceiptMismatchError, "another answer"),
    "a cached price that was not agreed": (
        honest(receipt=lambda t: {"counts": cached(t), "price": right(t), "spent": 10**8}),
        OverchargeError,
        "costs",
    ),
    "METER above what was delivered": (
        honest(meter=lambda t: {"completion": t.counts.completion + 1, "due": right(t) + 100_000}),
        OverchargeError,
        "delivered",
    ),
    "METER of another answer": (honest(meter={"response_hash": b"h" * 32}), ReceiptMismatchError, "METER"),
    "METER with a due of its own": (honest(meter={"due": 99_999_999}), OverchargeError, "costs"),
    "METER that takes tokens back": (
        honest(meter=lambda t: {"completion": 0, "prompt": t.counts.prompt - 1, "due": (t.counts.prompt - 1) * 20_000}),
        OverchargeError,
        "fell",
    ),
    "more than max_tokens": (no_end, OverchargeError, "400"),
    "a choice not asked for": (two_choices, OverchargeError, "choice 1"),
    "a gap": (gap, ReceiptMismatchError, "gap"),
    "ids of another text": (honest("sixteen letters.", ids=[66] * 16), OverchargeError, "decode"),
    "ids outside the vocabulary": (honest("sixteen letters.", ids=[70_000] * 16), OverchargeError, "no token"),
    "tokens without text": (empty_pieces, OverchargeError, "tokens but has|decode"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
async def test_a_lie_is_found_and_its_teller_never_asked_again(name: str, tmp_path: Path) -> None:
    answer, kind, words = LIES[name]
    async with StubProvider(answer).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            with pytest.raises(kind, match=words) as caught:
                await client.chat.completions.create(**ask())
            assert isinstance(caught.value, VerificationError)
            assert await customer.receipts() == []
            with pytest.raises(NoProviderError, match="quarantined"):
                await client.chat.completions.create(**ask())
        assert len(stub.talks) == 1
        assert stub.books.signed <= await _granted(customer)


async def _granted(customer: Any) -> int:
    """What the ledger says was signed: no voucher beyond it may have left."""
    return (await customer.channel()).signed


async def test_the_stub_itself_can_be_honest(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            reply = await client.chat.completions.create(**ask())
        assert reply.text == WORDS
        assert await customer.receipts() == [reply.receipt.raw]
        channel = await customer.channel()
        assert channel.spent == reply.usage.cost_nano == stub.books.spent
        assert channel.streams == ()


async def test_an_old_receipt_for_a_new_request(tmp_path: Path) -> None:
    async with StubProvider(same_receipt_twice).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            first = await client.chat.completions.create(**ask())
            with pytest.raises(ReceiptMismatchError, match="request id"):
                await client.chat.completions.create(**ask())
        assert await customer.receipts() == [first.receipt.raw]


async def test_a_receipt_by_another_key(tmp_path: Path) -> None:
    forger = Ed25519Key.generate()

    async def answer(talk: Talk) -> None:
        await talk.prefill()
        await talk.say(WORDS)
        await talk.receipt(signer=forger, provider=forger.public_key)

    async with StubProvider(answer).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            with pytest.raises(ReceiptMismatchError, match="names provider"):
                await client.chat.completions.create(**ask())


async def test_a_liar_in_mid_answer_is_not_believed_later(tmp_path: Path) -> None:
    """After a lie nothing is signed, and no receipt is taken, even though one is offered."""

    async def answer(talk: Talk) -> None:
        await talk.prefill()
        await talk.say(WORDS)
        await talk.meter(due=1)
        await talk.cancelled.wait()
        await talk.receipt()

    async with StubProvider(answer).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            with pytest.raises(OverchargeError):
                await client.chat.completions.create(**ask())
            signed = stub.books.signed
            await asyncio.sleep(0.2)
        assert stub.books.signed == signed
        assert await customer.receipts() == []


async def test_a_lie_after_the_user_left_still_leads_to_quarantine(tmp_path: Path) -> None:
    async def answer(talk: Talk) -> None:
        await talk.prefill()
        await talk.say(WORDS)
        await talk.cancelled.wait()
        await talk.receipt(counts=more(talk, completion=1))

    async with StubProvider(answer).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            async with client.chat.completions.stream(**ask()) as stream:
                async for _ in stream.text_stream:
                    break
            async with asyncio.timeout(5):
                while not client.request_settings().core.quarantined:
                    await asyncio.sleep(0.01)
            with pytest.raises(NoProviderError, match="quarantined"):
                await client.chat.completions.create(**ask())


async def test_without_the_bundle_the_prompt_is_bounded_by_its_bytes(tmp_path: Path) -> None:
    inflated = honest(receipt=lambda t: {"counts": more(t, prompt=200)})
    async with StubProvider(inflated, bundle=False).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            with pytest.raises(OverchargeError, match="prompt tokens"):
                await client.chat.completions.create(**ask())


async def test_another_identity_is_a_failed_handshake(tmp_path: Path) -> None:
    stub = StubProvider()
    stub.session_key = Ed25519Key.generate()
    async with stub.listening():
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            with pytest.raises(HandshakeError):
                await client.chat.completions.create(**ask())
        assert stub.talks == []
        assert (await customer.channel()).signed == 0


async def test_offered_compression_ends_the_connection(tmp_path: Path) -> None:
    def select(connection: Any, request: Any, response: Any) -> None:
        response.headers["Sec-WebSocket-Extensions"] = "permessage-deflate"

    async with StubProvider().listening(process_response=select) as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            with pytest.raises(ConnectError, match="does not speak"):
                await client.chat.completions.create(**ask())
        assert stub.talks == []


@pytest.mark.parametrize("kind", ["text", "fragments", "junk", "replay"])
async def test_a_broken_record_ends_the_session_and_all_trust(kind: str, tmp_path: Path) -> None:
    async def answer(talk: Talk) -> None:
        await talk.prefill()
        await talk.say("so far so good. ")
        socket = talk.line.socket
        if kind == "text":
            await socket.send("hello")
        elif kind == "junk":
            await socket.send(b"\x10" + bytes(300))
        else:
            talk.line.session.send(talk.stream, Delta(1, 0, Channel.CONTENT, "more", [1]))
            (record,) = talk.line.session.outgoing()
            if kind == "fragments":
                await socket.send([record[:100], record[100:]])
            else:
                await socket.send(record)
                await socket.send(record)
        await asyncio.sleep(5)

    async with StubProvider(answer).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            with pytest.raises(DecryptionError):
                await client.chat.completions.create(**ask())
            assert stub.id in client.request_settings().core.quarantined


async def test_a_price_of_the_providers_own(tmp_path: Path) -> None:
    """The price in REQUEST governs: it is the signed descriptor's, whatever the provider would like."""
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            await client.chat.completions.create(**ask())
        assert stub.talks[0].request.price == tuple(PRICE)
