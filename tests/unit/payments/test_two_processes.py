"""Two processes with one ledger: they never sign past each other, and share one budget to the nano."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from postgres_server import PostgresServer

from cocoon_sdk.payments.tables import CLIENT_MIGRATIONS, budget_windows
from tests.unit.payments.ledger_kit import STATE, add_channel, channel_of, open_ledger

EACH = 20
WINDOW = 10 * 20 + 10 * 100  # of one request of 10 and 10 tokens
FUNDS = 25 * WINDOW  # for fewer than both ask for
LIMIT = 30

WORKER = """
import asyncio, sys
from pathlib import Path
from cocoon_sdk.errors import BudgetExceededError, InsufficientFundsError
from cocoon_sdk.payments.budget import Budget, BudgetLedger
from tests.unit.payments.ledger_kit import *
from tests.unit.payments.test_two_processes import EACH, LIMIT

async def main():
    first = int(sys.argv[2])
    with open_ledger(Path(sys.argv[1])) as database:
        channel = channel_of(database, 1)
        budget = BudgetLedger(database, Budget(total=LIMIT))
        print("ready", flush=True)
        sys.stdin.readline()
        for number in range(first, first + EACH):
            try:
                voucher = await channel.open_stream(
                    request_id(number), price=PRICE, prompt_bound=10, max_tokens=10
                )
                assert is_signed(voucher)
                print("signed", voucher.cumulative)
            except InsufficientFundsError:
                print("funds 0")
            try:
                await budget.open(request_id(number), 1, "provider")
                print("reserved 1")
            except BudgetExceededError:
                print("budget 0")

asyncio.run(main())
"""


def run_both(folder: Path) -> list[list[tuple[str, int]]]:
    """What each of the two processes did, in its order."""
    root = Path(__file__).parents[3]
    path = os.pathsep.join([str(root), *sys.path])
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder), str(1000 * number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        for number in (1, 2)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    done = []
    for child in children:
        with child:
            assert child.stdout is not None
            pairs = (line.split() for line in child.stdout)
            done.append([(word, int(number)) for word, number in pairs])
            assert child.wait(60) == 0
    return done


def check(folder: Path) -> None:
    with open_ledger(folder) as database:
        add_channel(database, replace(STATE, balance=12_000_000 + FUNDS))
    done = run_both(folder)
    signed = [[amount for word, amount in one if word == "signed"] for one in done]
    together = sorted(amount for one in signed for amount in one)
    assert all(one == sorted(one) for one in signed)
    assert all(one for one in signed)
    # Each raised it by its own window on top of what the other had signed: no amount comes twice.
    assert together == [WINDOW * number for number in range(1, 26)]
    assert sum(word == "funds" for one in done for word, _ in one) == 2 * EACH - 25
    reserved = sum(word == "reserved" for one in done for word, _ in one)
    assert reserved == LIMIT
    with open_ledger(folder) as database:
        state = channel_of(database, 1).state
        assert (state.signed, state.ceiling, len(state.streams)) == (FUNDS, FUNDS, 25)
        total = database.run_sync(
            lambda c: c.execute(
                budget_windows.select().where(budget_windows.c.window == "total")
            ).one()
        )
        assert total.nano == LIMIT


def test_they_share_a_channel_and_a_budget(ledger_folder: Path) -> None:
    check(ledger_folder)


@pytest.mark.postgres
def test_whatever_the_server_is_set_to(tmp_path: Path, postgres: PostgresServer) -> None:
    """A snapshot taken before the writer's place would show the books as they were for another."""
    name = postgres.prepare(tmp_path, CLIENT_MIGRATIONS)
    for setting in ("default_transaction_isolation = 'serializable'", "synchronous_commit = off"):
        postgres.execute(f"ALTER DATABASE {name} SET {setting}")
    check(tmp_path)
    with open_ledger(tmp_path) as database:
        kept = database.run_sync(
            lambda c: c.exec_driver_sql("SELECT current_setting('synchronous_commit')").scalar()
        )
    assert kept == "on"
