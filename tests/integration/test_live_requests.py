"""Real processes on loopback: what is read, what is paid, and that both sides agree to the nano."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from cocoon_sdk.errors import (
    BudgetExceededError,
    DeadlineError,
    StreamTruncatedError,
)
from cocoon_sdk.payments.budget import Budget
from cocoon_sdk.payments.receipt import verify_receipt
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import DEVNET_NETWORK
from cocoon_sdk.ton.contract.channel import parse_channel_data
from cocoon_sdk.ton.toncenter import ToncenterClient
from cocoon_sdk.transport.core import Timeouts
from cocoon_sdk.types.events import SessionReady, VoucherSigned
from tests.live import COIN, FREE, Account, LiveSystem

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.xdist_group("live")]

POEM = "Über allen Gipfeln ist Ruh, in allen Wipfeln spürest du 🌲 kaum einen Hauch. "


def ask(text: str = POEM, model: str = "echo", max_tokens: int = 400) -> dict[str, object]:
    messages = [{"role": "user", "content": text}]
    return {"model": model, "messages": messages, "max_tokens": max_tokens, "seed": 7}


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def redeemed(system: LiveSystem, channel: Address) -> int:
    """What the contract has paid out."""
    chain = ToncenterClient(system.chain_url, network=DEVNET_NETWORK)
    try:
        account = await chain.get_account(channel)
    finally:
        await chain.aclose()
    assert account.data is not None
    return parse_channel_data(account.data).redeemed


@pytest.fixture
async def buyer(live: LiveSystem) -> Account:
    """An account with a channel at `echo`."""
    account = live.account()
    await account.open(live.providers["echo"])
    return account


@pytest.fixture
async def patient(live: LiveSystem) -> Account:
    """An account with a channel at `slow`."""
    account = live.account()
    await account.open(live.providers["slow"])
    return account


async def test_three_ways_to_ask_one_answer(live: LiveSystem, buyer: Account) -> None:
    async with buyer.client() as client:
        whole = await client.chat.completions.create(**ask())
        chunks = [
            chunk async for chunk in await client.chat.completions.create(**ask(), stream=True)
        ]
        async with client.chat.completions.stream(**ask()) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            final = await stream.get_final_completion()
    assert whole.text == final.text == text == POEM
    assert "".join(chunk.text for chunk in chunks) == POEM
    last = chunks[-1].receipt
    assert last is not None
    raws = [whole.receipt.raw, last.raw, final.receipt.raw]
    assert sorted(await buyer.receipts()) == sorted(raws)
    key = bytes.fromhex(live.providers["echo"].id)
    for raw, usage in zip(raws, (whole.usage, chunks[-1].usage, final.usage), strict=True):
        receipt = verify_receipt(raw, key)
        assert usage is not None
        assert usage.cost_nano == receipt.price > 0
        assert usage.prompt_tokens == receipt.counts.prefilled
        assert usage.completion_tokens == receipt.counts.completion == len(POEM.encode())


async def test_a_warm_session_needs_no_handshake(buyer: Account) -> None:
    async with buyer.client() as client:
        replies = [await client.chat.completions.create(**ask(f"number {n}")) for n in range(20)]
    assert [reply.text for reply in replies] == [f"number {n}" for n in range(20)]
    sessions = [event.reused for event in buyer.events if isinstance(event, SessionReady)]
    assert sessions == [False] + [True] * 19
    channel = await buyer.channel()
    assert channel.spent == sum(reply.usage.cost_nano for reply in replies)
    assert (channel.seq, channel.streams) == (20, ())


async def test_many_at_once_add_up_and_are_redeemed_to_the_nano(live: LiveSystem) -> None:
    buyer, provider = live.account(), live.providers["echo"]
    address = await buyer.open(provider, 2 * COIN)
    before = await provider.earned()
    async with buyer.client() as client:
        replies = await asyncio.gather(
            *(client.chat.completions.create(**ask(f"{n}: {POEM}" * 3)) for n in range(12))
        )
    assert [reply.text for reply in replies] == [f"{n}: {POEM}" * 3 for n in range(12)]
    channel = await buyer.channel()
    assert channel.spent == sum(reply.usage.cost_nano for reply in replies)
    assert channel.signed >= channel.spent
    assert (channel.seq, channel.pending, channel.streams) == (12, 0, ())
    after = await asyncio.to_thread(provider.command, "earnings", "--json")
    assert after["earned_nano"] - before == channel.spent
    assert after["due_nano"] == 0
    paid = await asyncio.to_thread(provider.command, "redeem", "--json")
    assert paid["redeemed_nano"] >= channel.spent
    assert await redeemed(live, address) == channel.spent


async def test_credit_left_over_serves_the_next_request(buyer: Account) -> None:
    async with buyer.client() as client:
        await client.chat.completions.create(**ask("x"))
        signed = (await buyer.channel()).signed
        assert (await buyer.channel()).credit > 0
        await client.chat.completions.create(**ask("x"))
        channel = await buyer.channel()
    assert channel.signed - signed < channel.spent  # less than it cost: the rest was there


@pytest.mark.parametrize("how", ["break", "close", "cancel", "exit"])
async def test_leaving_early_stops_payment(how: str, live: LiveSystem, patient: Account) -> None:
    long = "40 " + POEM
    async with patient.client() as client:
        if how == "break":
            async for _ in await client.chat.completions.create(**ask(long, "slow"), stream=True):
                break
        elif how == "close":
            stream = client.chat.completions.stream(**ask(long, "slow"))
            async for _ in stream.text_stream:
                await stream.close()
                break
        elif how == "cancel":
            task = asyncio.create_task(client.chat.completions.create(**ask(long, "slow")))
            await until(lambda: sum(isinstance(e, VoucherSigned) for e in patient.events) >= 3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            stream = await client.chat.completions.create(**ask(long, "slow"), stream=True)
            async for _ in stream:
                break
    channel = await patient.channel()
    assert channel.streams == ()
    (raw,) = await patient.receipts()
    receipt = verify_receipt(raw, bytes.fromhex(live.providers["slow"].id))
    assert channel.spent == receipt.price
    assert 0 < receipt.counts.completion < 400
    # No more was signed than one window beyond what the user got.
    assert channel.signed <= channel.spent + 64 * 100_000 + 4_096 * 20_000
    vouchers = [event.cumulative for event in patient.events if isinstance(event, VoucherSigned)]
    assert max(vouchers) == channel.signed


async def test_a_first_token_that_comes_too_late(patient: Account) -> None:
    async with patient.client(timeouts=Timeouts(first_token=0.01)) as client:
        with pytest.raises(DeadlineError, match="first_token") as caught:
            await client.chat.completions.create(**ask(model="slow"))
        assert (caught.value.partial_text, caught.value.phase) == ("", "first_token")
        await until(lambda: not client.request_settings().core.live)
        calm = client.with_options(timeouts=Timeouts())
        assert (await calm.chat.completions.create(**ask("hi", "slow"))).text == "hi"
    channel = await patient.channel()
    assert channel.streams == ()


async def test_a_total_limit_keeps_what_came(patient: Account) -> None:
    async with patient.client(timeouts=Timeouts(total=1.0)) as client:
        with pytest.raises(DeadlineError, match="total") as caught:
            await client.chat.completions.create(**ask("40 " + POEM, "slow"))
    assert caught.value.partial_text
    assert (POEM * 40).startswith(caught.value.partial_text)
    channel = await patient.channel()
    assert 0 < caught.value.charged_nano <= channel.spent


async def test_a_budget_stops_before_anything_is_sent(buyer: Account) -> None:
    async with buyer.client(budget=Budget(request="0.001")) as client:
        with pytest.raises(BudgetExceededError, match="request budget") as caught:
            await client.chat.completions.create(**ask())
    assert caught.value.scope == "request"
    assert (await buyer.channel()).signed == 0
    assert not [event for event in buyer.events if isinstance(event, SessionReady)]


class TestKilled:
    """A provider that dies by SIGKILL and comes back with its books."""

    @pytest.mark.parametrize("when", ["before the first token", "in mid-answer"])
    async def test_both_sides_agree_after_a_restart(self, when: str, live: LiveSystem) -> None:
        name = "dies-early" if when.startswith("before") else "dies-late"
        delay = "5" if when.startswith("before") else "0.01"
        provider = live.add_provider(name, "--delay", delay)
        live.publish()
        account = live.account()
        await account.open(provider)
        async with account.client() as client:
            got = ""
            with pytest.raises(StreamTruncatedError) as caught:
                async with client.chat.completions.stream(**ask("9 " + POEM, name)) as stream:
                    if when.startswith("before"):
                        asyncio.get_running_loop().call_later(0.7, provider.kill)
                    async for piece in stream.text_stream:
                        got += piece
                        if (
                            len(got) > 60
                            and provider.child
                            and provider.child.process.poll() is None
                        ):
                            provider.kill()
            error = caught.value
            assert error.partial_text == got
            assert error.request_id is not None
            await until(lambda: not client.request_settings().core.live)
            assert len((await account.channel()).streams) == 1
            provider.arguments = ()
            provider.start()
            reply = await client.chat.completions.create(**ask("and on", name))
            assert reply.text == "and on"
        channel = await account.channel()
        assert (channel.streams, channel.pending) == ((), 0)
        assert channel.spent == await provider.earned()
        assert len(await account.receipts()) == channel.seq == 2
        assert channel.spent - reply.usage.cost_nano >= error.charged_nano - 16 * 100_000
        provider.close()


async def test_a_free_model_without_any_channel(live: LiveSystem) -> None:
    provider = live.add_provider("free", prices=FREE)
    live.publish()
    account = live.account()
    async with account.client(voucher_key=None) as client:
        reply = await client.chat.completions.create(**ask(model="free"))
    assert (reply.text, reply.usage.cost_nano) == (POEM, 0)
    assert await account.receipts() == [reply.receipt.raw]
    provider.close()


async def test_a_real_model_counts_alike_on_both_sides(live: LiveSystem) -> None:
    """A tiny random model on the real engine: tokens, text and prompt are recounted by the client."""
    from reference.tiny import write_tiny_gguf

    gguf = await asyncio.to_thread(write_tiny_gguf, live.folder / "tiny.gguf")
    provider = live.add_provider("tiny", "--gguf", str(gguf))
    live.publish()
    account = live.account()
    await account.open(provider)
    question = ask("hello world, hello the world", "tiny", 100) | {"temperature": 0.9}
    async with account.client() as client:
        first, second = [await client.chat.completions.create(**question) for _ in range(2)]
        many = await asyncio.gather(*(client.chat.completions.create(**question) for _ in range(4)))
    assert first.text == second.text  # the same seed
    assert first.usage.completion_tokens > 0
    channel = await account.channel()
    assert channel.spent == sum(reply.usage.cost_nano for reply in (first, second, *many))
    provider.close()
