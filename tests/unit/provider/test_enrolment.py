"""What the chain says turns into mirror and income, once (payments.md §3, "settling")."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import Connection, RowMapping, select

from cocoon_provider.book import ChannelBook
from cocoon_provider.enrolment import mark_gone, register, reopen_all
from cocoon_provider.registration import ChannelFacts
from cocoon_provider.tables import (
    AUTHORISED,
    DRAINING,
    OPEN,
    ChannelKey,
    channels,
    income,
    locked_channel,
)
from tests.unit.provider.books import ADDRESS, EPOCH, FACTS, KEY, NOW

REBORN = ChannelKey(KEY.address, EPOCH + 1)
OTHER = ChannelKey("0:" + "09" * 32, EPOCH)


def run(book: ChannelBook, *calls: Callable[[Connection], object]) -> None:
    for call in calls:
        book.database.run_sync(call)


def incomes(book: ChannelBook) -> list[tuple[int, int]]:
    query = select(income.c.amount, income.c.at).order_by(income.c.id)
    return book.database.run_sync(lambda c: [tuple(row) for row in c.execute(query)])


def row(book: ChannelBook, key: ChannelKey = KEY) -> RowMapping:
    return book.database.run_sync(lambda c: locked_channel(c, key))


def books(book: ChannelBook, **values: object) -> None:
    book.database.run_sync(lambda c: c.execute(channels.update().values(values)))


def seen(redeemed: int, *, at: int = NOW) -> Callable[[Connection], None]:
    facts: ChannelFacts = replace(FACTS, redeemed=redeemed, checked_at=at)
    return lambda c: register(c, facts)


def test_what_was_redeemed_before_we_knew_the_channel_is_not_our_income(tmp_path, book) -> None:
    run(book, lambda c: register(c, replace(FACTS, key=OTHER, redeemed=700)))
    assert incomes(book) == []
    run(book, lambda c: register(c, replace(FACTS, key=OTHER, redeemed=750)))
    assert incomes(book) == [(50, NOW)]


def test_income_is_booked_once_and_only_for_growth(book: ChannelBook) -> None:
    run(book, seen(100), seen(100, at=NOW + 1), seen(60, at=NOW + 2), seen(130, at=NOW + 3))
    assert incomes(book) == [(100, NOW), (30, NOW + 3)]


def test_the_age_of_what_is_left_starts_with_a_partial_payout_and_ends_with_the_rest(
    book: ChannelBook,
) -> None:
    books(book, spent=100, unredeemed_since=5)
    run(book, seen(0, at=NOW))
    assert row(book)["unredeemed_since"] == 5
    run(book, seen(99, at=NOW + 1))
    assert row(book)["unredeemed_since"] == NOW + 1
    run(book, seen(100, at=NOW + 2))
    assert row(book)["unredeemed_since"] == 0


def test_the_mirror_follows_the_chain_and_the_vouchers_stay(book: ChannelBook) -> None:
    books(book, signed=500, spent=400, seq=3, gone=1)
    facts = replace(FACTS, balance=9, close_at=NOW + 7, checked_at=NOW + 1)
    run(book, lambda c: register(c, facts))
    after = row(book)
    assert (after["balance"], after["close_at"], after["checked_at"]) == (9, NOW + 7, NOW + 1)
    assert (after["signed"], after["spent"], after["seq"], after["gone"]) == (500, 400, 3, 0)


def test_a_new_life_ends_the_old_one_at_this_address_only(book: ChannelBook) -> None:
    run(
        book,
        lambda c: register(c, replace(FACTS, key=OTHER)),
        lambda c: register(c, replace(FACTS, key=REBORN)),
    )
    assert [row(book, key)["gone"] for key in (KEY, REBORN, OTHER)] == [1, 0, 0]
    assert row(book, REBORN)["signed"] == 0


@pytest.mark.parametrize(
    ("values", "later", "booked"),
    [
        ({"closing": AUTHORISED}, 10, [(60, NOW + 10)]),
        ({"closing": AUTHORISED}, FACTS.close_delay - 1, [(60, NOW + FACTS.close_delay - 1)]),
        ({"closing": AUTHORISED}, FACTS.close_delay, []),  # it may as well have gone alone by now
        ({"closing": AUTHORISED, "close_at": NOW + 5}, 10, []),
        ({"closing": DRAINING}, 10, []),
        ({}, 10, []),
    ],
)
def test_a_channel_that_vanished_paid_us_only_if_the_close_we_signed_was_used(
    book: ChannelBook, values: dict[str, int], later: int, booked: list[tuple[int, int]]
) -> None:
    books(book, spent=100, booked=40, redeemed=40, **values)
    run(book, lambda c: mark_gone(c, ADDRESS.raw, NOW + later))
    assert incomes(book) == booked
    after = row(book)
    assert (after["gone"], after["redeemed"]) == (1, 100 if booked else 40)
    run(book, lambda c: mark_gone(c, ADDRESS.raw, NOW + later))
    assert incomes(book) == booked  # noticed twice, booked once


def test_a_close_that_left_nothing_more_to_come_is_no_income(book: ChannelBook) -> None:
    books(book, spent=100, booked=100, redeemed=100, closing=AUTHORISED)
    run(book, lambda c: mark_gone(c, ADDRESS.raw, NOW))
    assert (incomes(book), row(book)["gone"]) == ([], 1)


def test_a_restart_reopens_what_drained_but_not_what_was_signed(book: ChannelBook) -> None:
    run(book, lambda c: register(c, replace(FACTS, key=OTHER)))
    for state, after in ((DRAINING, OPEN), (AUTHORISED, AUTHORISED), (OPEN, OPEN)):
        books(book, closing=state)
        run(book, reopen_all)
        assert [row(book, key)["closing"] for key in (KEY, OTHER)] == [after, after]
