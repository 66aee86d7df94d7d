"""The formulas of payments.md §3 on plain values: ceiling, limit, credit, windows, and what METER may say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cocoon_sdk.errors import InsufficientFundsError, OverchargeError
from cocoon_sdk.payments.accounting import ChannelStatus, OpenStream
from cocoon_sdk.payments.meter import Counts, cost, window_cost
from tests.unit.payments.ledger_kit import BALANCE, PRICE, STATE, meter, receipt, request_id

KEPT = 10_000_000 + 1_000_000  # rent reserve of the contract, and the cushion of redeemable_limit


def stream(number: int = 1, **changes: object) -> OpenStream:
    made = OpenStream(
        request_id=request_id(number),
        opened_at=1000,
        price=PRICE,
        prompt_bound=5000,
        max_tokens=100,
        window_tokens=64,
    )
    return replace(made, **changes).with_window()


def test_the_first_window_is_two_prompt_steps_and_k_tokens() -> None:
    opened = stream()
    assert (opened.due, opened.window) == (0, 2 * 2048 * 20 + 64 * 100)
    assert stream(prompt_bound=10, max_tokens=3).window == 10 * 20 + 3 * 100


def test_a_meter_moves_due_window_and_hash_together() -> None:
    counts = Counts(prompt=2048, cached=1000)
    after = stream().metered(meter(counts))
    assert (after.counts, after.due) == (counts, 2048 * 20 + 1000 * 2)
    assert after.window == (5000 - 3048) * 20 + 64 * 100
    assert after.response_hash == b"r" * 32
    assert after.exposure == after.due + after.window


def test_the_window_ends_where_the_request_does() -> None:
    last = stream(prompt_bound=10).metered(meter(Counts(10, completion=64)))
    last = last.metered(meter(Counts(10, completion=90)))
    assert last.window == 10 * 100
    done = last.metered(meter(Counts(10, completion=100)))
    assert (done.window, done.exposure) == (0, done.due)


@given(
    st.lists(st.tuples(st.integers(0, 2048), st.integers(0, 400), st.integers(0, 64)), max_size=8),
    st.integers(0, 9000),
    st.integers(0, 300),
)
def test_an_honest_provider_is_never_refused(
    steps: list[tuple[int, int, int]], bound: int, most: int
) -> None:
    """Prompt steps of at most 2,048 while prefilling, at most K tokens between vouchers."""
    now = stream(prompt_bound=bound, max_tokens=most)
    for prompt, cached, completion in steps:
        if now.counts.completion:
            prompt = cached = 0
        left = bound - now.counts.prefilled
        prompt = min(prompt, left)
        cached = min(cached, left - prompt)
        completion = min(completion, most - now.counts.completion)
        counts = now.counts.advance(prompt=prompt, cached=cached, completion=completion)
        after = now.metered(meter(counts))
        assert now.due <= after.due <= now.exposure
        assert after.due == cost(counts, PRICE)
        after.check_receipt(receipt(1, counts, seq=1, spent=after.due))
        now = after


@pytest.mark.parametrize(
    ("counts", "due", "said"),
    [
        (Counts(5001), None, "5001 prompt tokens; 5000"),
        (Counts(4000, 1001), None, "5001 prompt tokens"),
        (Counts(completion=101), None, "101 completion tokens; 100"),
        (Counts(1), 21, "agreed price is 20"),
        (Counts(1), 19, "agreed price is 20"),
        (Counts(4097, completion=64), None, "beyond the window"),
    ],
)
def test_meter_and_receipt_are_held_to_the_same(counts: Counts, due: int | None, said: str) -> None:
    with pytest.raises(OverchargeError, match=f"a METER .*{said}"):
        stream().metered(meter(counts, due=due))
    price = cost(counts, PRICE) if due is None else due
    with pytest.raises(OverchargeError, match=f"the receipt .*{said}"):
        stream().check_receipt(receipt(1, counts, seq=1, spent=price, price=price))


def test_an_older_meter_is_no_news_and_a_sideways_one_is_a_lie() -> None:
    now = stream().metered(meter(Counts(100, 10, 5)))
    assert now.metered(meter(Counts(100, 10, 5))) is now
    assert now.metered(meter(Counts(100, 9, 4))) is now
    with pytest.raises(OverchargeError, match="moved tokens"):
        now.metered(meter(Counts(110, 0, 5)))


def test_ceiling_is_spent_plus_dues_and_windows() -> None:
    one, two = stream(1), stream(2).metered(meter(Counts(100)))
    state = replace(STATE, spent=1000, pending=50).with_stream(one).with_stream(two)
    assert state.ceiling == 1050 + one.window + two.due + two.window
    assert replace(state, signed=5000).credit == 5000 - 1050 - two.due
    assert replace(state, signed=10).credit == 0
    assert state.available == state.limit - state.ceiling
    again = state.with_stream(two.metered(meter(Counts(200))))
    assert [item.due for item in again.streams] == [0, 4000]
    assert again.without(request_id(1)).streams == (again.stream(request_id(2)),)
    assert again.without(request_id(1)).stream(request_id(1)) is None


@pytest.mark.parametrize("status", [s for s in ChannelStatus if s is not ChannelStatus.OPEN])
def test_nothing_more_is_signed_unless_the_channel_is_open(status: ChannelStatus) -> None:
    state = replace(STATE, status=status, signed=70).with_stream(stream())
    assert (state.limit, state.available) == (0, 0)
    assert state.sign_up_to(state.ceiling).signed == 70


def test_limit_leaves_what_the_contract_keeps_and_rent() -> None:
    assert STATE.limit == BALANCE - KEPT - 1_000_000
    assert replace(STATE, redeemed=500).limit == STATE.limit + 500
    poor = replace(STATE, balance=KEPT, redeemed=500, spent=500)
    assert poor.limit == 500
    assert poor.available == 0


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 3))
def test_signed_never_falls_and_never_passes_ceiling_or_limit(
    signed: int, wanted: int, streams: int
) -> None:
    state = replace(STATE, signed=signed)
    for number in range(streams):
        state = state.with_stream(stream(number))
    after = state.sign_up_to(wanted)
    assert after.signed >= signed
    if after.signed > signed:
        assert after.signed == min(wanted, state.ceiling, state.limit)


def test_refundable_assumes_that_everything_signed_is_redeemed() -> None:
    state = replace(STATE, balance=1000, signed=300, redeemed=100)
    assert state.refundable == 800
    assert replace(state, signed=50).refundable == 1000
    assert replace(state, signed=5000).refundable == 0


def test_missing_funds_are_named_to_the_nano() -> None:
    state = replace(STATE, balance=KEPT + 1_000_000).with_stream(stream())
    with pytest.raises(InsufficientFundsError, match="top it up") as caught:
        state.require_funds()
    assert caught.value.needed == state.ceiling == stream().window
    replace(state, balance=state.balance + state.ceiling).require_funds()
    with pytest.raises(InsufficientFundsError):
        replace(state, balance=state.balance + state.ceiling - 1).require_funds()
    replace(state, signed=state.ceiling).require_funds()  # paid for already


def test_windows_are_those_of_the_provider() -> None:
    counts = Counts(2048, 0, 0)
    mine = stream().metered(meter(counts)).window
    assert mine == window_cost(PRICE, counts, prompt_total=5000, max_tokens=100, k=64)
