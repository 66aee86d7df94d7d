"""The cooperative close in steps: drain, sign once, give the same again (payments.md §3)."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import Connection

from cocoon_provider.book import ChannelBook
from cocoon_provider.closing import CooperativeClose, authorise_close, reopen, set_draining
from cocoon_provider.refusals import Refusal
from cocoon_provider.tables import AUTHORISED, DRAINING, OPEN, ChannelKey, locked_channel
from cocoon_sdk.errors import WireCode
from cocoon_sdk.payments.meter import Counts
from cocoon_sdk.payments.receipt import FinishReason
from cocoon_sdk.payments.voucher import CloseAuth, verify_close_auth
from cocoon_sdk.protocol import messages
from cocoon_sdk.ton.chain import DEVNET_NETWORK
from tests.unit.provider.books import ADDRESS, EPOCH, IDENTITY, KEY, opening, start, voucher

pytestmark = pytest.mark.anyio


def state(book: ChannelBook) -> int:
    return int(book.database.run_sync(lambda c: locked_channel(c, KEY))["closing"])


def test_nothing_is_signed_while_a_stream_is_open(book: ChannelBook) -> None:
    asyncio.run(start(book, opening(), voucher(1_000)))

    def work(connection: Connection) -> None:
        set_draining(connection, KEY, EPOCH)
        assert authorise_close(connection, KEY, lambda _final: pytest.fail("signed")) is None

    book.database.run_sync(work)
    assert state(book) == DRAINING


def test_a_final_is_signed_once_and_never_another(book: ChannelBook) -> None:
    def work(connection: Connection) -> None:
        signature = b"c" * 64
        assert authorise_close(connection, KEY, lambda final: signature) == (0, signature)
        again = authorise_close(connection, KEY, lambda _final: pytest.fail("signed twice"))
        assert again == (0, signature)
        assert set_draining(connection, KEY, EPOCH) == signature
        reopen(connection, KEY)  # who gives up waiting does not undo a signature

    book.database.run_sync(work)
    assert state(book) == AUTHORISED


def test_only_this_channel_and_epoch_can_be_asked_for(book: ChannelBook) -> None:
    for key, epoch, code in (
        (KEY, EPOCH + 1, WireCode.EPOCH_MISMATCH),
        (ChannelKey(KEY.address, EPOCH + 1), EPOCH + 1, WireCode.CHANNEL_UNKNOWN),
    ):
        with pytest.raises(Refusal) as caught:
            book.database.run_sync(lambda c, k=key, e=epoch: set_draining(c, k, e))
        assert caught.value.code is code
    assert state(book) == OPEN


async def test_the_authorisation_verifies_over_this_network_channel_epoch_and_sum(
    book: ChannelBook,
) -> None:
    begin = opening()
    await start(book, begin, voucher(1_000))
    await book.finish(KEY, begin.request_id, Counts(77), b"1" * 32, FinishReason.STOP)
    auth = await CooperativeClose(book, IDENTITY).authorise(KEY, EPOCH)
    assert (auth.epoch, auth.final) == (EPOCH, 77)
    fields = CloseAuth(DEVNET_NETWORK, ADDRESS, EPOCH, 77)
    assert verify_close_auth(IDENTITY.public_key, fields, auth.signature)


async def test_two_who_ask_at_once_get_the_same(book: ChannelBook) -> None:
    begin = opening()
    await start(book, begin, voucher(1_000))
    close = CooperativeClose(book, IDENTITY)
    asking = [asyncio.create_task(close.authorise(KEY, EPOCH)) for _ in range(2)]
    await asyncio.sleep(0.02)
    await book.finish(KEY, begin.request_id, Counts(50), b"1" * 32, FinishReason.STOP)
    first, second = await asyncio.gather(*asking)
    assert first == second
    assert isinstance(first, messages.CloseAuth)


async def test_one_who_gives_up_does_not_open_the_channel_for_one_who_still_waits(
    book: ChannelBook,
) -> None:
    begin = opening()
    await start(book, begin, voucher(1_000))
    close = CooperativeClose(book, IDENTITY)
    gone, waiting = [asyncio.create_task(close.authorise(KEY, EPOCH)) for _ in range(2)]
    await asyncio.sleep(0.02)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    with pytest.raises(Refusal) as caught:
        await start(book, opening(), voucher(1_000))
    assert caught.value.code is WireCode.CHANNEL_CLOSING
    with pytest.raises(Refusal):  # a wrong question in between changes nothing
        await close.authorise(KEY, EPOCH + 1)
    assert state(book) == DRAINING
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert state(book) == OPEN


async def test_a_stream_that_another_process_ended_is_noticed(
    book: ChannelBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cocoon_provider.closing._POLL_SECONDS", 0.02)
    begin = opening()
    await start(book, begin, voucher(1_000))
    asking = asyncio.create_task(CooperativeClose(book, IDENTITY).authorise(KEY, EPOCH))
    await asyncio.sleep(0.02)
    monkeypatch.setattr(book, "_ring", lambda _key: None)  # no bell from over there
    await book.finish(KEY, begin.request_id, Counts(50), b"1" * 32, FinishReason.STOP)
    assert (await asyncio.wait_for(asking, 5)).final == 50
