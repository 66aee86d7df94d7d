"""One request from the user's side, against a stub: endings, timeouts, failing over, accounts."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cocoon_sdk.errors import (
    BudgetExceededError,
    ConnectError,
    ContextLengthError,
    DeadlineError,
    InsufficientFundsError,
    InvalidRequestError,
    NoProviderError,
    ProviderInternalError,
    ProviderOverloadedError,
    StreamTruncatedError,
    VoucherRejectedError,
)
from cocoon_sdk.payments import ledger
from cocoon_sdk.payments.accounting import ChannelStatus
from cocoon_sdk.payments.budget import Budget
from cocoon_sdk.payments.ledger import CLIENT_MIGRATIONS
from cocoon_sdk.payments.meter import Counts, Price, cost
from cocoon_sdk.payments.receipt import parse_receipt, sign_receipt, verify_receipt
from cocoon_sdk.protocol import messages
from cocoon_sdk.routing.policy import Routing
from cocoon_sdk.store.database import Database
from cocoon_sdk.transport.core import Timeouts
from cocoon_sdk.types.events import AttemptFailed, SessionReady
from tests.stub_provider import PRICE, WORDS, StubProvider, Talk, ask, honest, make_customer

pytestmark = pytest.mark.anyio


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Providers that do not answer a CANCEL are not waited for long."""
    monkeypatch.setattr("cocoon_sdk.transport.attempt.CANCEL_TIMEOUT", 0.2)


async def until_cancelled(talk: Talk) -> None:
    """Says a little, then waits for CANCEL and sends the receipt for what was said."""
    await talk.prefill()
    await talk.say(WORDS)
    await talk.cancelled.wait()
    await talk.receipt(finish=4)


async def silent(talk: Talk) -> None:
    await asyncio.sleep(60)


async def stalls(talk: Talk) -> None:
    """Takes the money, says a little, and nothing more."""
    await talk.prefill()
    await talk.say(WORDS)
    await talk.meter()
    await asyncio.sleep(60)


async def hangs_up(talk: Talk) -> None:
    """The process dies in mid-answer; what it had METERed it will bill."""
    await talk.prefill()
    await talk.say(WORDS)
    await talk.meter()
    await talk.paid()
    talk.stub.books.receipts[1] = _unsent(talk)
    talk.line.socket.transport.abort()


def _unsent(talk: Talk) -> bytes:
    return sign_receipt(talk.stub.identity, talk.make_receipt(finish=5))


def refusing(code: str, **detail: Any) -> Callable[[Talk], Awaitable[None]]:
    async def answer(talk: Talk) -> None:
        await talk.send(messages.Error(code, "so it is", 1500, detail), end=True)

    return answer


async def test_text_usage_and_receipt_agree_however_it_is_asked(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            whole = await client.chat.completions.create(**ask())
            chunks = [
                chunk async for chunk in await client.chat.completions.create(**ask(), stream=True)
            ]
            async with client.chat.completions.stream(**ask()) as stream:
                texts = [text async for text in stream.text_stream]
                final = await stream.get_final_completion()
        assert whole.text == final.text == "".join(texts) == WORDS
        assert "".join(chunk.text for chunk in chunks) == WORDS
        assert chunks[0].choices[0].delta.role == "assistant"
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
        raws = {whole.receipt.raw, final.receipt.raw, chunks[-1].receipt and chunks[-1].receipt.raw}
        assert raws == set(await customer.receipts())
        for reply in (whole, final):
            receipt = verify_receipt(reply.receipt.raw, stub.identity.public_key)
            assert reply.usage.cost_nano == receipt.price == cost(receipt.counts, PRICE)
            assert reply.usage.total_tokens == receipt.counts.prefilled + receipt.counts.completion
        assert stub.handshakes == 1


async def test_leaving_the_loop_stops_payment_and_takes_the_receipt(tmp_path: Path) -> None:
    async with StubProvider(until_cancelled).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            async for chunk in await client.chat.completions.create(**ask(), stream=True):
                assert chunk.text
                break
            await until(lambda: stub.talks[0].cancelled.is_set())
            signed = stub.books.signed
            await until(lambda: not client.request_settings().core.live)
            assert stub.books.signed == signed
        channel = await customer.channel()
        assert channel.streams == ()
        assert channel.spent == stub.books.spent > 0
        assert len(await customer.receipts()) == 1


async def test_cancelling_the_task_does_the_same(tmp_path: Path) -> None:
    async with StubProvider(until_cancelled).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client(budget=Budget(total=10**9)) as client:
            task = asyncio.create_task(client.chat.completions.create(**ask()))
            await until(lambda: bool(stub.talks) and stub.talks[0].counts.completion > 0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: not client.request_settings().core.live)
            _, budget = await client.request_settings().core.ledger()
            assert (await budget.spent())["total"] == stub.books.spent
        assert (await customer.channel()).spent == stub.books.spent


async def test_close_reaches_a_stream_that_another_task_reads(tmp_path: Path) -> None:
    async with StubProvider(until_cancelled).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            stream = client.chat.completions.stream(**ask())
            reader = asyncio.create_task(stream.get_final_completion())
            await until(lambda: bool(stub.talks) and stub.talks[0].counts.completion > 0)
            await stream.close()
            with pytest.raises(StreamTruncatedError) as caught:
                await reader
            assert caught.value.partial_text in {"", WORDS}
            await until(lambda: not client.request_settings().core.live)
        assert len(await customer.receipts()) == 1


async def test_closing_the_client_takes_the_receipts_of_forgotten_streams(tmp_path: Path) -> None:
    async with StubProvider(until_cancelled).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        client = customer.client()
        stream = await client.chat.completions.create(**ask(), stream=True)
        async for _ in stream:
            break
        await client.close()
        assert len(await customer.receipts()) == 1
        with pytest.raises(StreamTruncatedError, match="closed"):
            async for _ in stream:
                pass


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    async with StubProvider(until_cancelled).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            async for _ in await client.chat.completions.create(**ask(), stream=True):
                break
            stub.answer = honest()
            await client.chat.completions.create(**ask())
    await until(lambda: asyncio.all_tasks() == before)


@pytest.mark.parametrize(
    ("answer", "timeouts", "phase", "text"),
    [
        (silent, Timeouts(first_token=0.2), "first_token", ""),
        (stalls, Timeouts(idle=0.2), "idle", WORDS),
        # Long enough that a slow disk cannot make it run out before the provider was asked.
        (stalls, Timeouts(total=4), "total", WORDS),
        (silent, Timeouts(total=4), "total", ""),
    ],
)
async def test_each_timeout_has_its_name(
    answer: Any, timeouts: Timeouts, phase: str, text: str, tmp_path: Path, impatient: None
) -> None:
    async with StubProvider(answer).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client(timeouts=timeouts) as client:
            await client.models.list()
            with pytest.raises(DeadlineError, match=phase) as caught:
                await client.chat.completions.create(**ask())
            error = caught.value
            assert (error.phase, error.partial_text, error.attempts) == (phase, text, 1)
            assert error.charged_nano == cost(stub.talks[0].counts, PRICE)
            assert stub.id not in client.request_settings().core.quarantined
            await until(stub.talks[0].cancelled.is_set)


async def test_a_port_that_never_answers_is_a_connect_timeout(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as quiet:
        stub = StubProvider()
        stub.port = quiet.getsockname()[1]
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client(timeouts=Timeouts(connect=0.3)) as client:
            started = time.monotonic()
            many = [client.chat.completions.create(**ask()) for _ in range(5)]
            for error in await asyncio.gather(*many, return_exceptions=True):
                assert isinstance(error, DeadlineError)
                assert error.phase == "connect"
            assert time.monotonic() - started < 2  # they wait together, not in a row
        assert (await customer.channel()).signed == 0


async def test_a_cut_connection_is_truncation_and_the_next_session_fetches_the_receipt(
    tmp_path: Path,
) -> None:
    async with StubProvider(hangs_up).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            with pytest.raises(StreamTruncatedError) as caught:
                await client.chat.completions.create(**ask())
            assert caught.value.partial_text == WORDS
            assert caught.value.charged_nano == cost(stub.talks[0].counts, PRICE)
            await until(lambda: not client.request_settings().core.live)
            lost = await customer.channel()
            assert len(lost.streams) == 1
            stub.answer = honest()
            reply = await client.chat.completions.create(**ask())
        channel = await customer.channel()
        assert channel.streams == ()
        assert (channel.seq, channel.pending) == (2, 0)
        assert channel.spent == stub.books.spent == reply.receipt.spent_nano
        assert len(await customer.receipts()) == 2


async def test_a_fetched_receipt_for_another_answer_is_refused(tmp_path: Path) -> None:
    async def answer(talk: Talk) -> None:
        await hangs_up(talk)
        true = parse_receipt(talk.stub.books.receipts[1])
        lie = dataclasses.replace(true, response_hash=b"h" * 32)
        talk.stub.books.receipts[1] = sign_receipt(talk.stub.identity, lie)

    async with StubProvider(answer).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            with pytest.raises(StreamTruncatedError):
                await client.chat.completions.create(**ask())
            await until(lambda: not client.request_settings().core.live)
            stub.answer = honest()
            with pytest.raises(Exception, match="another answer than was metered"):
                await client.chat.completions.create(**ask())
            assert stub.id in client.request_settings().core.quarantined


async def test_requests_of_one_connection_do_not_share_their_errors(tmp_path: Path) -> None:
    async def answer(talk: Talk) -> None:
        await talk.prefill()
        await talk.say(talk.request.body["messages"][0]["content"])
        if len(talk.stub.talks) == 2 and all(t.counts.completion for t in talk.stub.talks):
            talk.line.socket.transport.abort()
        await asyncio.sleep(60)

    async with StubProvider(answer).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            one, two = await asyncio.gather(
                client.chat.completions.create(**ask("first")),
                client.chat.completions.create(**ask("other")),
                return_exceptions=True,
            )
        assert isinstance(one, StreamTruncatedError)
        assert isinstance(two, StreamTruncatedError)
        assert (one.partial_text, two.partial_text) == ("first", "other")
        assert one.request_id != two.request_id


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusing("overloaded"), ProviderOverloadedError),
        (refusing("internal"), ProviderInternalError),
        (refusing("context_length"), ContextLengthError),
        (refusing("invalid_request"), InvalidRequestError),
        (refusing("voucher_rejected", required=5), VoucherRejectedError),
    ],
)
async def test_a_refusal_is_typed_and_costs_nothing(answer: Any, kind: Any, tmp_path: Path) -> None:
    async with StubProvider(answer).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client(budget=Budget(total=10**9)) as client:
            for _ in range(
                10
            ):  # a refused stream is ended on both sides, or the ninth would not fit
                with pytest.raises(kind, match="so it is"):
                    await client.chat.completions.create(**ask())
            _, budget = await client.request_settings().core.ledger()
            assert (await budget.spent())["total"] == 0
        channel = await customer.channel()
        assert (channel.streams, channel.spent) == ((), 0)
        assert stub.handshakes == 1


async def test_an_error_with_a_receipt_says_what_it_cost(tmp_path: Path) -> None:
    async def answer(talk: Talk) -> None:
        await talk.prefill()
        await talk.say(WORDS)
        await talk.send(messages.Error("internal", "the engine died"))
        await talk.receipt(finish=5)

    async with StubProvider(answer).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            with pytest.raises(ProviderInternalError, match="engine died") as caught:
                await client.chat.completions.create(**ask())
        assert caught.value.partial_text == WORDS
        assert caught.value.charged_nano == stub.books.spent == (await customer.channel()).spent


async def test_many_requests_at_once_share_sessions_of_eight(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            replies = await asyncio.gather(
                *(client.chat.completions.create(**ask(f"number {n}")) for n in range(20))
            )
        assert {reply.text for reply in replies} == {WORDS}
        assert stub.handshakes == 3
        fresh = [e for e in customer.events if isinstance(e, SessionReady) and not e.reused]
        assert len(fresh) == 3
        channel = await customer.channel()
        assert channel.spent == sum(reply.usage.cost_nano for reply in replies)
        assert (channel.seq, channel.pending, channel.streams) == (20, 0, ())
        assert channel.signed >= channel.spent


async def test_before_the_first_token_the_next_provider_answers(tmp_path: Path) -> None:
    down, up = StubProvider(), StubProvider()
    async with up.listening():
        cheap = Price(PRICE.prompt, PRICE.cached, PRICE.completion // 2)
        customer = make_customer(
            tmp_path, (down, down.descriptor(port=9, price=cheap)), (up, up.descriptor())
        )
        async with customer.client() as client:
            reply = await client.chat.completions.create(**ask())
            assert (reply.provider, reply.text) == (up.id, WORDS)
            only = client.with_options(routing=Routing(only=[down.id]))
            with pytest.raises(ConnectError, match=r"cannot reach .*the provider may be down$"):
                await only.chat.completions.create(**ask())
        failed = [e.provider for e in customer.events if isinstance(e, AttemptFailed)]
        assert failed == [down.id, down.id]


async def test_a_warm_session_that_just_ended_is_no_failure(tmp_path: Path) -> None:
    """The REQUEST crosses the end of an idle session: the same provider is asked on a new one."""

    async def gone(talk: Talk) -> None:
        talk.stub.answer = honest()
        talk.line.socket.transport.abort()

    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            await client.chat.completions.create(**ask())
            stub.answer = gone
            assert (await client.chat.completions.create(**ask())).text == WORDS
            stub.answer = gone  # but on a fresh session it is one
            await stub.lines[-1].socket.close()
            await asyncio.sleep(0.1)
            with pytest.raises(StreamTruncatedError):
                await client.chat.completions.create(**ask())
        assert stub.handshakes == 3


async def test_after_the_first_token_nobody_else_is_asked(tmp_path: Path) -> None:
    cut, other = StubProvider(hangs_up), StubProvider()
    async with cut.listening(), other.listening():
        customer = make_customer(tmp_path, (cut, cut.descriptor()), (other, other.descriptor()))
        async with customer.client(routing=Routing(order=[cut.id])) as client:
            with pytest.raises(StreamTruncatedError):
                await client.chat.completions.create(**ask())
        assert other.talks == []


async def test_a_lying_provider_is_left_for_an_honest_one(tmp_path: Path) -> None:
    async def answer(talk: Talk) -> None:
        await talk.meter(due=10**6)

    liar, other = StubProvider(answer), StubProvider()
    async with liar.listening(), other.listening():
        customer = make_customer(tmp_path, (liar, liar.descriptor()), (other, other.descriptor()))
        async with customer.client(routing=Routing(order=[liar.id])) as client:
            for _ in range(2):
                assert (await client.chat.completions.create(**ask())).provider == other.id
        assert len(liar.talks) == 1


async def test_a_budget_is_held_settled_and_enforced(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client(budget=Budget(total="0.06")) as client:
            reply = await client.chat.completions.create(**ask())
            _, budget = await client.request_settings().core.ledger()
            assert (await budget.spent())["total"] == reply.usage.cost_nano
            with pytest.raises(BudgetExceededError) as caught:
                for _ in range(20):
                    await client.chat.completions.create(**ask())
            assert caught.value.scope == "total"
            assert len(stub.talks) < 20


async def test_funds_that_end_in_mid_answer_are_named(tmp_path: Path) -> None:
    async def answer(talk: Talk) -> None:
        await talk.prefill()
        for _ in range(8):
            await talk.say(WORDS)
            await talk.meter()
            voucher = await talk.paid()
            if voucher.cumulative < talk.stub.owed() + 10**6:
                await talk.send(messages.Error("payment_required", "no sufficient voucher came"))
                await talk.receipt(finish=5)
                return
        await talk.receipt()

    async with StubProvider(answer).listening() as stub:
        descriptor = stub.descriptor()
        customer = make_customer(tmp_path, (stub, descriptor), balance=70_000_000)
        async with customer.client() as client:
            # Two requests that fit one at a time, but not together.
            results = await asyncio.gather(
                *(client.chat.completions.create(**ask()) for _ in range(2)),
                return_exceptions=True,
            )
        kinds = {type(result) for result in results}
        assert InsufficientFundsError in kinds
        channel = await customer.channel()
        assert channel.signed <= channel.limit
        assert "top" in str(next(r for r in results if isinstance(r, InsufficientFundsError)))


async def test_a_free_model_needs_no_channel_and_its_receipt_is_kept(tmp_path: Path) -> None:
    async def answer(talk: Talk) -> None:
        await talk.say(WORDS)
        await talk.finish()
        counts = Counts(talk.prompt, 0, talk.counts.completion)
        await talk.receipt(counts=counts, price=0, spent=0, seq=0, epoch=0)

    async with StubProvider(answer).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor(price=Price(0, 0, 0))))
        async with customer.client(voucher_key=None) as client:
            replies = [await client.chat.completions.create(**ask()) for _ in range(2)]
        assert [reply.usage.cost_nano for reply in replies] == [0, 0]
        assert set(await customer.receipts()) == {reply.receipt.raw for reply in replies}
        assert stub.talks[0].line.client.client_key is None
        assert stub.talks[0].request.voucher is None


async def test_cancelled_at_any_moment_the_books_stay_right(tmp_path: Path) -> None:
    """Cancel after every few event-loop turns: no stream stays open, no slot is lost, all adds up."""
    async with StubProvider(until_cancelled).listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client(budget=Budget(total=2 * 10**9)) as client:
            stub.answer = honest()
            await client.chat.completions.create(**ask())
            stub.answer = until_cancelled
            for turns in (*range(1, 40, 3), 60, 100, 200):
                task = asyncio.create_task(client.chat.completions.create(**ask()))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await until(lambda: not client.request_settings().core.live)
            _, budget = await client.request_settings().core.ledger()
            assert (await budget.spent())["total"] == stub.books.spent
            stub.answer = honest()
            await asyncio.gather(*(client.chat.completions.create(**ask()) for _ in range(8)))
        channel = await customer.channel()
        assert (channel.streams, channel.pending) == ((), 0)
        assert channel.spent == stub.books.spent
        assert stub.handshakes == 1


async def test_a_parameter_that_is_wrong_sends_nothing(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client() as client:
            for wrong in ({"max_tokens": 0}, {"temperature": 9}, {"seed": -1}, {"model": ""}):
                with pytest.raises(InvalidRequestError):
                    await client.chat.completions.create(**(ask() | wrong))
        assert stub.handshakes == 0


async def test_a_channel_opened_meanwhile_is_noticed(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        state = await customer.channel()

        def set_status(status: ChannelStatus) -> None:
            with Database(customer.state_url, migrations=CLIENT_MIGRATIONS) as database:
                changed = dataclasses.replace(state, status=status)
                database.run_sync(lambda c: ledger.save_channel(c, changed))

        set_status(ChannelStatus.OPENING)
        async with customer.client() as client:
            with pytest.raises(NoProviderError, match="is opening; look again"):
                await client.chat.completions.create(**ask())
            set_status(ChannelStatus.OPEN)
            assert (await client.chat.completions.create(**ask())).text == WORDS
