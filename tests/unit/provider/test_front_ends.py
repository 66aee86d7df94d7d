"""Several front ends on one database: one lock per channel, names of their own, and what the dead leave."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from cocoon_provider import instances
from cocoon_provider.book import ChannelBook
from cocoon_provider.refusals import Refusal
from cocoon_provider.settlement import Settlement
from cocoon_sdk.errors import StoreError, WireCode
from cocoon_sdk.payments.meter import Counts
from cocoon_sdk.payments.receipt import FinishReason, verify_receipt
from cocoon_sdk.protocol import messages
from cocoon_sdk.ton.address import Address
from tests.unit.provider.books import FACTS, IDENTITY, KEY, open_book, opening, start, voucher

pytestmark = pytest.mark.anyio

HASH = b"1" * 32
PAYOUT = Address(0, b"p" * 32)

SERVING = """
import asyncio, sys
from pathlib import Path
from cocoon_sdk.payments.meter import Counts
from tests.unit.provider.books import *

async def main():
    book = open_book(Path(sys.argv[1]), instance="b")
    await book.claim()
    begin = opening(request_id=b"r" * 16)
    await start(book, begin, voucher(10_000))
    done = Counts(prompt=100, completion=16)
    await book.advance(
        KEY, begin.request_id, done, b"1" * 32, window=0, granted=done, targets=[]
    )
    print("serving", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


@asynccontextmanager
async def front_end(folder: Path, instance: str) -> AsyncIterator[ChannelBook]:
    book = open_book(folder, instance=instance)
    try:
        await book.claim()
        yield book
    finally:
        book.database.close()


@contextmanager
def other_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The front end `b`, with one stream open, until it is killed."""
    root = Path(__file__).parents[3]
    path = os.pathsep.join([str(root), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", SERVING, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "serving\n"
            yield process
        finally:
            process.kill()


async def test_two_of_one_name_are_refused(
    book_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "PATIENCE", 0.3)
    async with front_end(book_folder, "main"):
        with pytest.raises(StoreError, match="another provider serves as 'main'"):
            async with front_end(book_folder, "main"):
                pass
        async with front_end(book_folder, "second"):
            pass
    async with front_end(book_folder, "main"):
        pass


async def test_a_replacement_waits_for_the_one_that_ends(book_folder: Path) -> None:
    old = open_book(book_folder, instance="main")
    await old.claim()
    asyncio.get_running_loop().call_later(0.3, lambda: asyncio.ensure_future(close(old)))
    async with front_end(book_folder, "main"):
        pass


async def close(book: ChannelBook) -> None:
    await asyncio.to_thread(book.database.close)


async def test_together_they_never_work_beyond_what_is_signed(book_folder: Path) -> None:
    """Vouchers for ten first steps; both ask for eight at the same time."""
    async with front_end(book_folder, "a") as one, front_end(book_folder, "b") as two:
        await one.register(FACTS)

        refusals = set()

        async def ask(book: ChannelBook) -> bool:
            try:
                await start(book, opening(prompt=100), voucher(1_000))
            except Refusal as refusal:
                refusals.add(refusal.code)
                return False
            return True

        done = await asyncio.gather(*(ask(book) for _ in range(8) for book in (one, two)))
        assert sum(done) == 10
        assert refusals == {WireCode.PAYMENT_REQUIRED}
        assert (await two.state(KEY)).signed == 1_000


async def test_receipts_of_both_make_one_chain(book_folder: Path) -> None:
    async with front_end(book_folder, "a") as one, front_end(book_folder, "b") as two:
        await one.register(FACTS)
        begun = [opening(prompt=100) for _ in range(10)]
        for begin in begun:
            await start(one, begin, voucher(10_000))
        ended = await asyncio.gather(
            *(
                (one, two)[number % 2].finish(
                    KEY, begin.request_id, Counts(100), HASH, FinishReason.STOP
                )
                for number, begin in enumerate(begun)
            )
        )
        receipts = sorted(
            (verify_receipt(raw, IDENTITY.public_key) for raw in ended), key=lambda r: r.seq
        )
        assert [(r.seq, r.spent) for r in receipts] == [(n, 100 * n) for n in range(1, 11)]


async def test_the_living_end_what_the_dead_left_open_and_nothing_else(book_folder: Path) -> None:
    async with front_end(book_folder, "a") as book:
        await book.register(FACTS)
        own = opening()
        await start(book, own, voucher(10_000))
        with other_process(book_folder) as process:
            assert await book.end_abandoned() == 0  # it lives
            process.kill()
            process.wait()
            while not await book.end_abandoned():  # until the server has noticed
                await asyncio.sleep(0.05)
        raw = await book.receipt(KEY, messages.ReceiptGet(b"r" * 16, None))
        receipt = verify_receipt(raw, IDENTITY.public_key)
        assert (receipt.counts, receipt.price) == (Counts(prompt=100, completion=16), 132)
        assert await book.end_abandoned() == 0
        await book.finish(KEY, own.request_id, Counts(1), HASH, FinishReason.STOP)
        async with front_end(book_folder, "b") as again:  # the name is free again
            assert await again.end_orphans() == 0


class Wallet:
    """Counts how many redeem with it at the same time."""

    address = PAYOUT

    def __init__(self) -> None:
        self.sending = self.most = self.sent = 0

    async def send(self, *_arguments: object, **_options: object) -> tuple[()]:
        self.sending += 1
        self.most = max(self.most, self.sending)
        await asyncio.sleep(0.1)
        self.sending -= 1
        self.sent += 1
        return ()


class Mirror:
    """A chain on which nothing ever changes."""

    async def refresh(self, _address: Address) -> None:
        return


class Chain:
    async def get_account(self, _address: Address) -> SimpleNamespace:
        return SimpleNamespace(balance=10**12)


def settlement(book: ChannelBook, wallet: Wallet) -> Settlement:
    parts = {"mirror": Mirror(), "chain": Chain(), "wallet": wallet}
    return Settlement(book=book, threshold=1, cost=1, **parts)  # type: ignore[arg-type]


async def test_one_at_a_time_sends_from_the_wallet(book_folder: Path) -> None:
    async with front_end(book_folder, "a") as one, front_end(book_folder, "b") as two:
        await one.register(FACTS)
        begin = opening()
        await start(one, begin, voucher(10_000))
        await one.finish(KEY, begin.request_id, Counts(5_000), HASH, FinishReason.STOP)
        wallet = Wallet()
        pair = [settlement(book, wallet) for book in (one, two)]
        await asyncio.gather(*(each.redeem() for each in pair))
        assert (wallet.sent, wallet.most) == (1, 1)  # the other one leaves it to the first
        await asyncio.gather(*(each.redeem(everything=True) for each in pair))
        assert (wallet.sent, wallet.most) == (3, 1)  # on demand it waits for its turn
