"""What a channel's state means, in sentences whose amounts and times are those of the ledger."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cocoon_sdk.cli.wallet_story import channel_story
from cocoon_sdk.payments.accounting import ChannelState, ChannelStatus
from tests.unit.payments.ledger_kit import STATE

NOW = 1_800_000_000
CLOSING = replace(
    STATE, status=ChannelStatus.CLOSING, close_at=NOW + 3600, signed=30_000_000, redeemed=10_000_000
)


def commands(story: dict) -> list[str]:
    return [one["command"].split()[2] for one in story["choices"]]


@pytest.mark.parametrize(
    ("state", "says", "can"),
    [
        (
            replace(STATE, status=ChannelStatus.OPENING, created_at=NOW - 60, epoch=0),
            ["on the way", "9 minutes", "still in the wallet"],
            ["show"],
        ),
        (
            replace(STATE, signed=30_000_000, spent=20_000_000),
            ["0.2 coins", "earned 0.02", "0.03 are signed", "0.17 or more come back"],
            ["topup", "close", "close"],
        ),
        (
            CLOSING,
            ["1 hour more", "up to 0.02", "0.18 or more", "not happen by itself"],
            ["finalize", "close", "cancel-close"],
        ),
        (
            replace(CLOSING, close_at=NOW),
            ["delay is over", "still take up to 0.02", "0.18 or more"],
            ["finalize"],
        ),
        (
            replace(STATE, status=ChannelStatus.CLOSED, redeemed=5_000_000, balance=0),
            ["gone from the chain", "taken 0.005"],
            [],
        ),
        (replace(STATE, status=ChannelStatus.CLOSED, epoch=0), ["never opened"], []),
    ],
    ids=["opening", "open", "closing", "due", "closed", "never"],
)
def test_each_state(state: ChannelState, says: list[str], can: list[str]) -> None:
    story = channel_story(state, NOW)
    text = f"{story['what']} {story['next']}"
    for one in says:
        assert one in text
    assert commands(story) == can
    assert story["status"] == str(state.status)


def test_when_is_said_where_there_is_a_when() -> None:
    assert channel_story(CLOSING, NOW)["at"] == "2027-01-15T09:00:00+00:00"
    assert channel_story(STATE, NOW)["at"] is None


def test_requests_without_a_receipt_are_counted() -> None:
    from tests.unit.cli.test_wallet_report import BUSY

    assert "1 request(s) have no receipt" in channel_story(BUSY, NOW)["what"]
