"""A client killed at any moment has never let a voucher out that its ledger does not know."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.payments.ledger_kit import add_channel, channel_of, open_ledger

SIGNER = """
import asyncio, sys
from pathlib import Path
from cocoon_sdk.payments.meter import Counts
from tests.unit.payments.ledger_kit import *

async def main():
    with open_ledger(Path(sys.argv[1])) as database:
        channel = channel_of(database, 1)
        first = len(channel.state.streams)
        for number in range(first, first + 1000):
            voucher = await channel.open_stream(
                request_id(number), price=PRICE, prompt_bound=10, max_tokens=10
            )
            sys.stdout.write(f"{voucher.cumulative}\\n")
            sys.stdout.flush()

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_between_any_two_steps(ledger_folder: Path, seed: int):
    with open_ledger(ledger_folder) as database:
        add_channel(database)
    highest = 0
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), *sys.path]),
    }
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", SIGNER, str(ledger_folder)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert process.stdout is not None
        with process:
            emitted = [int(process.stdout.readline())]
            time.sleep(random.Random(seed).random() * 0.1)
            process.kill()
            emitted += [int(line) for line in process.stdout if line.endswith("\n")]
        with open_ledger(ledger_folder) as database:
            state = channel_of(database, 1).state
        assert emitted == sorted(emitted)
        assert emitted[0] > highest
        assert state.signed >= emitted[-1]
        assert state.ceiling >= state.signed
        highest = state.signed
