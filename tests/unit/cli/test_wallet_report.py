"""What the wallet's commands say: exact amounts for programs, coins and next steps for people."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import typer

from cocoon_sdk.cli.wallet_report import (
    confirm,
    describe_channel,
    describe_wallet,
    say_channel,
    say_channels,
    show_wallet,
)
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.payments.accounting import ChannelStatus, OpenStream
from cocoon_sdk.payments.meter import Price
from cocoon_sdk.payments.moves import MoveKind
from cocoon_sdk.payments.transfers import StoredMove, StoredTransfer
from cocoon_sdk.ton.chain import DEVNET_NETWORK, MAINNET
from cocoon_sdk.ton.transfer import SignedTransfer
from tests.unit.payments.ledger_kit import STATE

STREAM = OpenStream(
    request_id=b"r" * 16, opened_at=0, price=Price(0, 0, 0), prompt_bound=0, max_tokens=0,
    window_tokens=64,
)  # fmt: skip
BUSY = replace(STATE, signed=900, spent=500, pending=30, redeemed=100, streams=(STREAM,))
CLOSING = replace(STATE, status=ChannelStatus.CLOSING, close_at=1_800_000_000)


def desk(network: int) -> SimpleNamespace:
    return SimpleNamespace(
        chain=SimpleNamespace(network=network), wallet=SimpleNamespace(address=STATE.client)
    )


def test_a_channel_in_nano() -> None:
    assert describe_channel(BUSY) == {
        "address": STATE.address.raw,
        "provider": STATE.provider_key.hex(),
        "status": "open",
        "open_requests": 1,
        "closing_until": None,
        "deposit_nano": 200_000_000,
        "balance_nano": 200_000_000,
        "signed_nano": 900,
        "spent_nano": 530,  # receipts that wait for their predecessors are spent too
        "redeemed_nano": 100,
        "refundable_nano": 200_000_000 - 800,
        "available_nano": BUSY.available,
    }
    assert describe_channel(CLOSING)["closing_until"] == "2027-01-15T08:00:00+00:00"


def asking(answer: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit status after this answer to the question; 0 goes ahead."""
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    try:
        confirm("Lock 1 coin?", yes=False, as_json=False)
    except typer.Exit as left:
        return left.exit_code
    return 0


def test_money_moves_only_after_a_yes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    confirm("Lock 1 coin?", yes=True, as_json=True)
    with pytest.raises(ConfigError, match="--yes"):
        confirm("Lock 1 coin?", yes=False, as_json=True)
    assert capsys.readouterr() == ("", "")
    assert asking("y\n", monkeypatch) == 0
    assert "nothing was sent" not in capsys.readouterr().err
    for refusal in ("n\n", "\n", ""):
        assert asking(refusal, monkeypatch) == 1
        assert "nothing was sent" in capsys.readouterr().err


CONFIRM = """
import asyncio, typer
from cocoon_sdk.cli.wallet_report import confirm
async def main():
    confirm("Lock 1 coin?", yes=False, as_json=False)
try:
    asyncio.run(main())
except typer.Exit as left:
    raise SystemExit(left.exit_code)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_at_the_question_sends_nothing() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CONFIRM], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stderr is not None
        asked = b""
        while not asked.endswith(b"[y/N]:"):
            asked += child.stderr.read(1)
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=10) == 130
        assert b"nothing was sent" in child.stderr.read()


UNFINISHED = StoredTransfer(
    1,
    SignedTransfer(b"", 0, 0),
    1_800_000_000,
    (StoredMove(MoveKind.TOP_UP, STATE.address, STATE.address.raw, 5, 1),),
)


def test_a_wallet_for_programs() -> None:
    past = replace(STATE, status=ChannelStatus.CLOSED, balance=7)
    told = describe_wallet(desk(DEVNET_NETWORK), 2**60, [BUSY, past], unfinished=[UNFINISHED])
    assert told == {
        "network": DEVNET_NETWORK,
        "address": STATE.client.raw,
        "balance_nano": 2**60,
        "locked_nano": 200_000_000,
        "refundable_nano": 200_000_000 - 800,
        "offline": None,
        "channels": [describe_channel(BUSY), describe_channel(past)],
        "unfinished": [{"kind": "topup", "subject": STATE.address.raw, "nano": 5}],
    }


@pytest.mark.parametrize(("network", "testnet"), [(MAINNET, False), (DEVNET_NETWORK, True)])
def test_a_wallet_for_people(
    capsys: pytest.CaptureFixture[str], network: int, testnet: bool
) -> None:
    wallet = desk(network)
    show_wallet(wallet, describe_wallet(wallet, 1_500_000_000, [CLOSING]))
    out, err = capsys.readouterr()
    assert STATE.client.friendly(bounceable=False, testnet=testnet) in out
    for text in ("1.5", "closing", "2027-01-15", "0.2"):
        assert text in out
    assert err == ""


def test_a_wallet_without_the_chain(capsys: pytest.CaptureFixture[str]) -> None:
    wallet = desk(DEVNET_NETWORK)
    show_wallet(
        wallet,
        describe_wallet(wallet, None, [BUSY], unfinished=[UNFINISHED], offline="no\x1b answer"),
    )
    out, err = capsys.readouterr()
    assert "unknown" in out
    assert "as the ledger last saw it: no\\x1b answer" in err
    assert f"not known to have ended: topup of {STATE.address.raw}" in err


def test_many_channels_and_none(capsys: pytest.CaptureFixture[str]) -> None:
    say_channels([BUSY, CLOSING], as_json=True, many=True)
    assert json.loads(capsys.readouterr().out) == {
        "channels": [describe_channel(BUSY), describe_channel(CLOSING)]
    }
    say_channels([], as_json=False, many=True)
    assert "nothing to do" in capsys.readouterr().err
    say_channels([BUSY], as_json=True, many=False)
    assert json.loads(capsys.readouterr().out) == describe_channel(BUSY)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (STATE, "is open; 0.188 coins can be spent"),
        (CLOSING, "run the same command again after that"),
        (replace(STATE, status=ChannelStatus.CLOSED), "is closed"),
    ],
)
def test_what_to_do_next(capsys: pytest.CaptureFixture[str], state: object, said: str) -> None:
    say_channel(state, as_json=False)
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err.replace("\n", " ")
    say_channel(state, as_json=True)
    out, err = capsys.readouterr()
    assert json.loads(out) == describe_channel(state)
    assert err == ""
