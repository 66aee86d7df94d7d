"""What a stream's inbox keeps and when it wakes the loop."""

from __future__ import annotations

from cocoon_provider.inbox import MAX_VOUCHERS, Inbox
from cocoon_sdk.protocol.messages import Voucher


def test_vouchers_wake_in_order_and_the_oldest_go_first() -> None:
    inbox = Inbox()
    for amount in range(MAX_VOUCHERS + 3):
        inbox.put(Voucher(1, amount, bytes(64), 0))
    assert inbox.wake.is_set()
    assert [voucher.cumulative for voucher in inbox.vouchers] == list(range(3, MAX_VOUCHERS + 3))
    assert not inbox.stopped


def test_a_cancel_leaves_the_connection_and_a_loss_does_not() -> None:
    cancelled, lost = Inbox(), Inbox()
    cancelled.cancel()
    assert (cancelled.stopped, cancelled.lost, cancelled.wake.is_set()) == (True, False, True)
    lost.cancel(lost=True)
    lost.cancel()  # a CANCEL that was read before the loss does not undo it
    assert (lost.stopped, lost.lost) == (True, True)


def test_inboxes_share_nothing() -> None:
    one, other = Inbox(), Inbox()
    one.put(Voucher(1, 1, bytes(64), 0))
    assert (len(other.vouchers), other.wake.is_set()) == (0, False)


def test_an_inbox_that_leads_elsewhere_passes_on_what_it_has_and_gets() -> None:
    one, work = Inbox(), Inbox()
    one.put(Voucher(1, 5, bytes(64), 0))
    one.lead_to(work)
    assert work.wake.is_set()
    one.put(Voucher(1, 6, bytes(64), 0))
    assert [voucher.cumulative for voucher in work.vouchers] == [5, 6]
    assert not one.vouchers
    one.cancel(lost=True)
    assert (work.cancelled, work.lost) == (False, True)
    one.cancel()
    assert work.cancelled


def test_an_inbox_that_leads_nowhere_concerns_nobody() -> None:
    one, work = Inbox(), Inbox()
    one.lead_to(work)
    work.wake.clear()
    one.lead_to(None)
    one.put(Voucher(1, 5, bytes(64), 0))
    one.cancel()
    one.cancel(lost=True)
    assert (list(work.vouchers), work.stopped, work.wake.is_set()) == ([], False, False)
    assert not one.vouchers
